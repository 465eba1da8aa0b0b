# SPDX-License-Identifier: LGPL-2.1-or-later
"""What machines start from, made once and kept in build/vm/images/NAME while nothing that it is made of has changed."""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

from . import BUILD, REPO, VM, VM_TESTS

IMAGES = VM / "images"
SCRIPTS = VM_TESTS / "images"
GUEST = VM_TESTS / "guest"
DEST = BUILD / "vm" / "dest"


class Image:
    """One cached image: `script ARGUMENTS...` makes it in an empty directory, out of `needs`, `files` and the product."""

    def __init__(self, script, arguments=(), needs=(), files=(), product=False):
        self.script, self.arguments, self.needs = SCRIPTS / script, tuple(arguments), needs
        self.files, self.product = [self.script, *files], product


PIN_CREDENTIAL = "tallyboot.pin"    # one that is not there must do no harm
SOFTHSM, OPENSC = "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"


def initramfs(*arguments):
    """An initramfs with these arguments of initramfs.sh."""
    return Image("initramfs.sh", arguments, needs=["debian", "kernel"], files=[GUEST, IN_TREE], product=True)


IN_TREE, LUKS = SCRIPTS / "in-tree", [SCRIPTS / "luks.sh", SCRIPTS / "passphrase"]
CATALOG = {
    "tpm-ca": Image("tpm-ca.sh"),
    "debian": Image("debian.sh", files=[SCRIPTS / "debian.packages", SCRIPTS / "suite"]),
    "kernel": Image("kernel.sh", needs=["debian"], files=[IN_TREE]),
    "debian-root": Image("debian-root.sh", needs=["debian", "kernel"], files=[GUEST, IN_TREE, *LUKS], product=True),
    "tiny-root": Image("tiny-root.sh", files=[SCRIPTS / "tiny-init.c", *LUKS]),
    "initramfs": initramfs(),
    "initramfs-lvm": initramfs("lvm"),
    "initramfs-resume": initramfs("resume"),
    # As a configured node makes it: with a TPM; with a token.
    "initramfs-node": initramfs("root=yes"),
    "initramfs-softhsm": initramfs(f"token-module={SOFTHSM}", "token-key=pkcs11:object=node", "offline-key=pkcs11:object=wrap",
                                   f"token-pin=credential:{PIN_CREDENTIAL}"),
    "initramfs-opensc": initramfs(f"token-key=pkcs11:object=node?module-path={OPENSC}"),
    "lvm-volume": Image("lvm-volume.py", needs=["kernel", "initramfs-lvm", "tpm-ca"], files=LUKS),
}
# What the images' scripts gave their volumes and file systems.
DEBIAN_UUID, DEBIAN_FILE_SYSTEM = "7a11b007-0000-4000-8000-000000000001", "7a11b007-0000-4000-8000-0000000000e1"
TINY_UUID, TINY_FILE_SYSTEM = "7a11b007-0000-4000-8000-000000000002", "7a11b007-0000-4000-8000-0000000000e2"
# Options of a volume in crypttab: an emulated machine that shares its CPUs may find its disks after systemd's 90 s.
CRYPTTAB = "luks,x-systemd.device-timeout=400"


def path(name, file=""):
    """A file of an image that was made before, or its directory."""
    return IMAGES / name / file


def passphrase():
    """The passphrase of every LUKS volume that the images have."""
    return (SCRIPTS / "passphrase").read_text()


def root_command_line(device="/dev/mapper/root", *more):
    """The kernel command line that machines are booted with, for this root device, and more words.

    In it is more patience than systemd's 90 s, as in CRYPTTAB above."""
    words = (GUEST / "etc/kernel/cmdline").read_text().split()
    return " ".join([f"root={device}" if word.startswith("root=") else word for word in words] + list(more))


def shell_command_line(*more):
    """The same, of a machine that gives a shell where something fails."""
    words = root_command_line("/dev/mapper/root", *more).split()
    return " ".join(word for word in words if word not in ("rd.shell=0", "rd.emergency=poweroff"))


@contextmanager
def lock():
    """One run at a time makes images; another waits and then finds them made."""
    VM.mkdir(parents=True, exist_ok=True)
    with open(VM / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tree_digest(top):
    """A digest of the names, modes and contents of a file or of all below a directory."""
    digest = hashlib.sha256()
    for file in [top] if top.is_file() else sorted(top.rglob("*")):
        info = file.lstat()
        content = os.readlink(file) if file.is_symlink() else ""
        digest.update(f"{file.relative_to(top.parent)}\0{info.st_mode:o}\0{content}\0".encode())
        if file.is_file() and not file.is_symlink():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def product():
    """Install the product into build/vm/dest and return that; None where there is no dracut module to install yet."""
    if not (REPO / "dracut/90tallyboot/module-setup.sh").exists() or not (REPO / "Makefile").exists():
        return None
    shutil.rmtree(DEST, ignore_errors=True)
    # Not a part of a make that started the tests: its job server would not be reachable.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    made = subprocess.run(["make", "-s", "-C", REPO, "install", f"DESTDIR={DEST}"], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode:
        sys.exit(f"{made.stdout}\nmake install failed: machines need the product's files")
    return DEST


class Builder:
    """Makes what is missing or out of date. `say` is told what takes time."""

    def __init__(self, say):
        self.say, self.keys, self.installed = say, {}, None

    def build(self, names):
        with lock():
            self.installed = product()
            for name in names:
                self._ensure(name)

    def _key(self, name):
        """What the image is made of, as a digest. Its needs are in it by their own keys."""
        image = CATALOG[name]
        parts = [name, os.environ.get("DEBIAN_SUITE", ""), *image.arguments]
        parts += [self._ensure(need) for need in image.needs] + [tree_digest(file) for file in image.files]
        if image.product and self.installed:
            parts.append(tree_digest(self.installed))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _ensure(self, name):
        """Make the image unless it is there; return its key."""
        if name not in self.keys:
            key, stamp = self._key(name), path(name, ".key")
            if not stamp.exists() or stamp.read_text() != key:
                self._make(name, key)
            self.keys[name] = key
        return self.keys[name]

    def _make(self, name, key):
        image, target, start = CATALOG[name], IMAGES / name, time.monotonic()
        making = IMAGES / f"{name}.new"
        self.say(f"making {name} ...")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        environment = os.environ | {"VM": str(VM), "IMAGES": str(IMAGES), "LC_ALL": "C"}
        if image.product and self.installed:
            environment["PRODUCT"] = str(self.installed)
        log = VM / f"{name}.log"
        with open(log, "w") as output:
            made = subprocess.run([image.script, *image.arguments], cwd=making, env=environment, stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=subprocess.STDOUT, check=False)
        if made.returncode:
            sys.exit(f"{log.read_text()[-2000:]}\nimage {name} was not made, see {log}")
        (making / ".key").write_text(key)
        shutil.rmtree(target, ignore_errors=True)
        making.rename(target)
        self.say(f"made {name} in {time.monotonic() - start:.0f} s")
