# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyboot unlock --test against real services, a software TPM and LUKS2 files.

    with Unlocking() as lab:
        lab.volume("root")                    a LUKS2 file, enrolled with the node's key, in the manifest
        lab.ready()                           confirmed, approved, first boot captured, powered on anew
        lab.unlock()                          -> Done(status, text)
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from node import PARTIES, Node, Refused
from services import BUILD, Fleet

PASSPHRASE = "correct horse"
EXIT = {"ok": 0, "failed": 1, "usage": 2, "refused": 3, "unreachable": 4, "tpm": 5, "volume": 6, "config": 7, "pending": 8}


class Done:
    def __init__(self, done):
        self.status = done.returncode
        self.text = done.stdout

    def __repr__(self):
        return f"exit {self.status}: {self.text}"


def check(done, status, *words):
    """status: a name of EXIT; words: regular expressions."""
    assert done.status == EXIT[status], f"expected {status}, got {done}"
    for word in words:
        assert re.search(word, done.text), f"{word!r} not in {done.text}"
    return done


def make_volume(path, *options, size="24M"):
    subprocess.run(["truncate", "-s", size, path], check=True)
    subprocess.run(["cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
                    *options, path, "-"], input=PASSPHRASE.encode(), check=True, stdout=subprocess.DEVNULL)
    return str(path)


class EnrolledNode(Node):
    """A node whose manifests describe real volumes."""

    volumes = ()
    manifests = None

    def manifest(self, key, generation):
        self.manifests = self.manifests or {}
        if (key, generation) not in self.manifests:
            command = [str(BUILD / "tests/tools/luks-enroll"), PASSPHRASE, self.id, key, str(generation),
                       self.keys[key][generation].hex(), *(f"{path}:{name}:{role}" for path, name, role in self.volumes)]
            self.manifests[key, generation] = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        return self.manifests[key, generation]


class Unlocking:
    def __init__(self, **fleet):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-", dir="/tmp"))
        self.fleet = Fleet(**fleet)
        self.node = EnrolledNode(self.fleet)
        self.node.volumes = []
        self.settings = {
            "registrar": self.fleet.registrar.url, "tenant": self.fleet.tenant.url, "verifier": self.fleet.verifier.url,
            "ca": str(self.fleet.pki.ca), "tpm": self.node.swtpm.tcti, "connect-timeout": "60", "exchange-timeout": "120"}

    def volume(self, name="root", role="root", *options):
        path = make_volume(self.directory / f"{name}.img", *options)
        self.node.volumes.append((path, name, role))
        return path

    def enroll(self):
        assert self.node.register().status == 201
        self.node.key_ids = self.node.enroll(("volumes",), join=self.fleet.join_token("default"))
        self.node.confirm(self.node.key_ids[0])

    def power_on(self):
        """A new boot; the node's own connection to its TPM is closed, the program needs it."""
        self.node.swtpm.reset()
        self.run_dir = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=self.directory))

    def ready(self):
        self.enroll()
        self.node.reboot()
        for party in PARTIES:
            try:
                self.node.ask("boot", order=(party,))
            except Refused as refused:
                assert refused.problem in ("pending-policy", "policy-refused"), refused
        self.node.approve(capture="first")
        self.power_on()

    def configuration(self, **changes):
        settings = {**self.settings, **{key.replace("_", "-"): value for key, value in changes.items()}}
        path = self.directory / "tallyboot.conf"
        path.write_text("[node]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items() if value is not None))
        return str(path)

    def command(self, *arguments, **changes):
        return [*os.environ.get("WRAPPER", "").split(), str(BUILD / "tallyboot"), "--config", self.configuration(**changes),
                "--run-dir", str(self.run_dir), *arguments]

    def run(self, *arguments, timeout=240, **changes):
        return Done(subprocess.run(self.command(*arguments, **changes), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, check=False))

    def unlock(self, *paths, **changes):
        paths = paths or [path for path, _, _ in self.node.volumes]
        return self.run("unlock", "--test", *(word for path in paths for word in ("--device", path)), **changes)

    def destroy(self):
        self.fleet.destroy()
        self.node.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()
