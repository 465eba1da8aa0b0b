# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine's PKCS#11 token in software: SoftHSM's, made on the host; its folder goes into the guest's initramfs or onto a
disk."""
import hashlib
import os
from pathlib import Path

from . import disk, probes, process

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
# Where a guest's SoftHSM looks, as its package configures it.
GUEST_FOLDER = "var/lib/softhsm/tokens"
PIN, WRONG_PIN, SO_PIN = "481516", "000000", "23424815"
LABEL = "node"
# As soon as somebody is asked for something; the last step is one: a token is there as a whole or not at all.
PLUG = f"""exec > /dev/console 2>&1
shopt -s nullglob
until asked=(/run/systemd/ask-password/ask.*) && [ ${{#asked[@]}} -gt 0 ]; do sleep 1; done
sleep 3
mkdir /stick /tokens
mount -o ro /dev/vdb /stick && cp -r /stick/tokens/* /tokens
mv /tokens/* /{GUEST_FOLDER}/
echo
echo PLUGGED
"""
SIGN, WRAP = f"pkcs11:token={LABEL};object=sign", f"pkcs11:token={LABEL};object=wrap"


def plug_at_the_prompt():
    """Files of a machine whose second disk is token.disk(): the token comes when the passphrase was asked for. PLUGGED is
    said."""
    return probes.service("plug", PLUG, "sysinit.target", kind="simple")


class Token:
    """One token, in the run directory's NAME/, with a key `sign` for evidence (EC) and a key `wrap` for the offline way (AES).
    keys: {label: file} of RSA keys that it has instead."""

    def __init__(self, name="token", keys=None):
        self.directory = Path(name).resolve()
        (self.directory / "tokens").mkdir(parents=True)
        conf = self.directory / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = os.environ | {"SOFTHSM2_CONF": str(conf)}
        self._command("softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", SO_PIN, "--pin", PIN)
        for i, (label, file) in enumerate((keys or {}).items()):
            self._command("softhsm2-util", "--import", file, "--token", LABEL, "--pin", PIN, "--label", label, "--id",
                          f"0{i + 1}")
        if not keys:
            self._tool("--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--label", "sign", "--id", "01")
            self._tool("--keygen", "--key-type", "AES:32", "--usage-wrap", "--sensitive", "--label", "wrap", "--id", "02")

    def _command(self, *words):
        return process.command(*words, env=self.environment).decode()

    def _tool(self, *words):
        return self._command("pkcs11-tool", "--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN, *words)

    def settings(self, **more):
        """Of a node's tallyboot.conf: no TPM is waited for long, and the token signs."""
        return {"tpm_timeout": 1, "token_module": MODULE, "token_key": SIGN} | more

    def offline_settings(self, **more):
        """The same, and the volume's key lies wrapped by the token in its header. No other token is believed."""
        return self.settings(unlock="offline", offline_key=WRAP, offline_mechanism="key-wrap-pad",
                             token_key_sha256=self.key_digest()) | more

    def key_digest(self):
        """The SHA-256 of the key that signs, in hex."""
        public = self.directory / "sign.der"
        self._tool("--read-object", "--type", "pubkey", "--label", "sign", "--output-file", public)
        return hashlib.sha256(public.read_bytes()).hexdigest()

    def on_host(self, settings):
        """Settings of the node's program on the host, which is not asked for a PIN and has a TPM of its own perhaps."""
        pin = self.directory / "pin"
        pin.write_text(PIN + "\n")
        pin.chmod(0o600)
        return self.settings() | settings | {"evidence": "token", "token_module": MODULE, "token_pin": f"file:{pin}"}

    def files(self, folder=GUEST_FOLDER):
        """{path: content} of the token in the guest."""
        top = self.directory / "tokens"
        return {f"{folder}/{file.relative_to(top)}": (file, 0o600) for file in top.rglob("*") if file.is_file()}

    def disk(self, name="token.img"):
        """The token on a disk."""
        return disk.ext4(name, {path: file.read_bytes() for path, (file, _) in self.files("tokens").items()})
