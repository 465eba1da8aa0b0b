# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd finds no ordering cycle among the units of the initramfs, and does find one that is put there."""
import shutil
import subprocess
from pathlib import Path

from vmtest import images, process

NEEDS = ["initramfs", "initramfs-opensc"]
LIMIT = 200
GENERATOR = "/usr/lib/systemd/system-generators/systemd-cryptsetup-generator"
TARGETS = ["initrd.target", "sysinit.target", "cryptsetup.target", "initrd-switch-root.target", "emergency.target",
           "systemd-cryptsetup@root.service"]


def unpack(tree, name):
    """The initramfs of a configured machine, with the unit of its volume as the generator makes it."""
    tree.mkdir()
    image = images.path(name, "initramfs.img")
    process.command("sh", "-c", f"zstd -dcq {image} | cpio -idm --quiet -D {tree}")
    (tree / "etc/tallyboot").mkdir(exist_ok=True)
    (tree / "etc/tallyboot/tallyboot.conf").touch()
    (tree / "etc/crypttab").write_text(f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}\n")
    for name in ("normal", "early", "late"):
        (tree / name).mkdir()
    process.command(images.SCRIPTS / "in-tree", tree, GENERATOR, "/normal", "/early", "/late")
    shutil.copytree(tree / "normal", tree / "etc/systemd/system", symlinks=True, dirs_exist_ok=True)


def verify(t, tree):
    """(exit status, what is said) of systemd-analyze."""
    units = tree / "usr/lib/systemd/system"
    ours = sorted({file.name for pattern in ("tallyboot-*.*", "pcscd.*")
                   for file in units.glob(pattern)} - {"tallyboot-unlock.service.d"})
    t.check("tallyboot-unlock.service" in ours, "the units are in the initramfs")
    done = subprocess.run(["systemd-analyze", f"--root={tree.resolve()}", "verify", "--recursive-errors=yes", "--man=no",
                           *TARGETS, *ours], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def run(t):
    for name in NEEDS:
        tree = Path(name)
        unpack(tree, name)
        status, said = verify(t, tree)
        t.say(said.strip())
        t.check(status == 0 and not said.strip(), f"{name}: nothing to complain of: {said[:500]}")

    units = tree / "usr/lib/systemd/system"    # of the machine with a card reader
    for unit in ("tallyboot-unlock.service", "pcscd.socket"):
        text = (units / unit).read_text()
        (units / unit).write_text(text.replace("DefaultDependencies=no", "DefaultDependencies=yes"))
        status, said = verify(t, tree)
        t.check(status != 0 and "cycle" in said, f"{unit}: a cycle is found where there is one")
        (units / unit).write_text(text)
    for name in NEEDS:
        shutil.rmtree(name)
