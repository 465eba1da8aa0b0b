# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that opens its volumes with a PKCS#11 token (SoftHSM) and without the servers, in tests of the real program."""

import json
import subprocess

from cases import skip
from enrolled import header
from services import BUILD
from softhsm import MODULE, PIN
from token_machine import TokenMachine

DEAD = {role: "https://127.0.0.1:1" for role in ("tenant", "verifier", "registrar")}


def key(name):
    return f"pkcs11:token=node;object={name}"


class OfflineMachine(TokenMachine):
    """With a key of each kind to wrap with."""

    def __init__(self, fleet, group=None, **settings):
        super().__init__(fleet, group, **{"unlock": "online-then-offline", "offline_key": key("aes"), **settings})
        for kind, use, label in (("aes", "wrap", "aes"), ("generic", "mac", "mac"), ("rsa", "wrap", "rsa"),
                                 ("p256", "wrap", "ec")):
            self.make_key(kind, use, label)

    def make_key(self, kind, use, label, token="node"):
        self.hsm.run(BUILD / "tests/tools/token-key", MODULE, token, PIN, kind, use, label)

    def mechanisms(self):
        return self.hsm.run(BUILD / "tests/tools/token-key", MODULE, "node", PIN, "mechanisms").split()

    def set(self, **changes):
        return super().set(**{"unlock": "online-then-offline", "offline_key": key("aes"), **changes})

    def offline(self, *images, **changes):
        """A boot with all servers dead; what else is configured since."""
        self.set(**{**DEAD, **changes})
        return self.unlock(*images)


def kept(image):
    """The tokens of the offline way, by number."""
    return {number: token for number, token in header(image)["tokens"].items() if token["type"] == "tallyboot-offline"}


def put(image, number, token):
    """Into the header, as anybody with the disk can; None: away."""
    subprocess.run(["cryptsetup", "--disable-external-tokens", "token", "remove", "--token-id", number, image], check=False,
                   stderr=subprocess.DEVNULL)
    if token is not None:
        subprocess.run(["cryptsetup", "--disable-external-tokens", "token", "import", "--token-id", number, "--json-file", "-",
                        image],
                       input=json.dumps(token).encode(), check=True)


# A boot as the initramfs has it, but for device-mapper: /etc/crypttab is the test's.
INSIDE = """
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" && mount -t overlay -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" none /etc &&
{ echo "root $1 none luks" && printf "$MORE"; } >/etc/crypttab && shift && exec "$@"
"""


def namespaces():
    if subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "-o", "lowerdir=/etc:/usr", "none", "/mnt"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip("no mount namespaces with overlays here")


class BootMachine(OfflineMachine):
    volume, more = None, ""

    def environment(self, **extra):
        return super().environment(MORE=self.more, **extra)

    def command(self, *words):
        return super().command(*words) if self.volume is None else \
            ["unshare", "-m", "sh", "-c", INSIDE, str(self.directory / "over"), str(self.volume), *super().command(*words)]


def booting(fleet):
    """A machine that is enrolled, with a volume that is not there yet."""
    namespaces()
    machine = BootMachine(fleet)
    image = machine.image()
    machine.enrolled(image)
    (machine.directory / "over").mkdir()
    machine.volume = machine.directory / "late"
    return machine, image
