# SPDX-License-Identifier: LGPL-2.1-or-later
"""A smart card (CAC) in a USB reader that QEMU emulates: keys in an NSS database, which is the card's memory. OpenSC takes it."""
from pathlib import Path

from . import process, softhsm

MODULE = "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"
SIGN, WRAP = "pkcs11:object=CAC%20ID%20Certificate", "pkcs11:object=CAC%20Email%20Encryption%20Certificate"
NAMES = ("id", "signature", "encryption")    # a CAC has these three


class Card:
    """In the run directory's NAME/. The card's keys are those of a softhsm.Token too, for the host, which has no reader."""

    def __init__(self, name="card"):
        self.directory = Path(name).resolve()
        self.directory.mkdir()
        pin = self._file("pin", softhsm.PIN)
        process.command("certutil", "-N", "-d", f"sql:{self.directory}", "-f", pin)
        for name in NAMES:
            key, certificate, bundle = (self.directory / f"{name}.{suffix}" for suffix in ("key", "pem", "p12"))
            process.command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "30",
                            "-keyout", key, "-out", certificate)
            process.command("openssl", "pkcs12", "-export", "-name", name, "-inkey", key, "-in", certificate, "-out", bundle,
                            "-passout", "pass:")
            process.command("pk12util", "-i", bundle, "-d", f"sql:{self.directory}", "-k", pin, "-w", self._file("empty", ""))
        self.token = softhsm.Token("card-token", {"sign": self.directory / "id.key", "wrap": self.directory / "encryption.key"})

    def _file(self, name, text):
        (self.directory / name).write_text(text + "\n")
        return self.directory / name

    def settings(self, **more):
        return {"tpm_timeout": 1, "token_module": MODULE, "token_key": SIGN} | more

    def offline_settings(self, **more):
        return self.settings(unlock="offline", offline_key=WRAP, token_key_sha256=self.token.key_digest()) | more

    def on_host(self, settings):
        there = {"token_key": softhsm.SIGN, "offline_key": softhsm.WRAP}
        return self.token.on_host(settings | {name: uri for name, uri in there.items() if name in settings})

    @property
    def environment(self):
        return self.token.environment

    def devices(self):
        """QEMU's words. UHCI: behind xHCI the reader loses answers of 64 bytes."""
        certificates = ",".join(f"cert{i + 1}={name}" for i, name in enumerate(NAMES))
        return ("-device ich9-usb-uhci1,id=usb -device usb-ccid,bus=usb.0 "
                f"-device ccid-card-emulated,backend=certificates,{certificates},db=sql:{self.directory}")
