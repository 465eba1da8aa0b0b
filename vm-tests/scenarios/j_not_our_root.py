# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plain file system with the root's UUID, and an attacker's LUKS volume, in the root's place: stopped, nothing of ours is left
open."""
from pathlib import Path

from vmtest import disk, images, probes, process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 900
EVIL = "of the attacker"    # not the passphrase of our volumes: systemd tries what was typed on the next one, too
WATCH = "while sleep 2; do bash /test/look watch; done\n"


def evil_luks(node):
    """The attacker's own volume: the root's UUIDs, a key of the attacker's, and our token, copied."""
    name = disk.copy(images.path("tiny-root", "plain.img"), node.file("evil.img"))
    key, token = images.SCRIPTS / "passphrase", Path(node.file("token.json"))
    process.command(images.SCRIPTS / "luks.sh", name, images.TINY_UUID)
    own = Path(node.file("evil-passphrase"))
    own.write_text(EVIL)
    quick = ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file"]
    process.command("cryptsetup", "luksAddKey", *quick, key, "--key-slot", "1", name, own)
    process.command("cryptsetup", "luksChangeKey", *quick, key, "--key-slot", "0", name, own)
    process.command("cryptsetup", "token", "export", "--token-id", "0", "--json-file", token, node.file("root.img"))
    process.command("cryptsetup", "token", "import", "--token-id", "0", "--json-file", token, name)
    return name


def plain_root(t, node):
    t.say("a plain file system with the root's UUID")
    node.disks[0] = disk.copy(images.path("tiny-root", "plain.img"), node.file("plain.img"))
    node.start()
    node.expect("data: opened with both halves")
    node.expect("The root is not ours, the boot stops")
    probes.check_look(t, node, "emergency.service")
    node.off()
    node.never(r"^ROOT")


def luks_root(t, node):
    t.say("the attacker's LUKS volume, with our token; nobody types")
    node.disks[0] = evil_luks(node)
    node.start()
    node.expect("enter passphrase for disk .*root", seconds=200)
    t.check(node.seen("data: opened with both halves") and node.seen("root: not opened, a passphrase is needed"),
            "data is open, the attacker's volume is refused", node.log)
    node.never(r"^LOOK watch DM root")
    t.say("then its passphrase is typed: a passphrase boot, without anything that the halves opened")
    node.send(EVIL)
    node.expect("root was opened with a passphrase: this boot goes on without the halves")
    node.expect("enter passphrase for disk .*data")
    node.expect("^LOOK watch DONE")
    probes.check_look(t, node, "watch", ["root"])
    node.power_cut()
    node.never(r"^ROOT")


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine()
    node.add_root("tiny-root")
    node.disks.append(disk.luks(node.file("data.img"), {"secret": "of the real root's services\n"}))
    # nofail: else the missing volume alone would stop the boot.
    crypttab = (f"root UUID={images.TINY_UUID} none {images.CRYPTTAB},nofail\n"
                f"data UUID={disk.luks_uuid(node.disks[1])} none {images.CRYPTTAB}\n")
    node.boot_kernel(
        lab.node_files(payload="yes") | {"etc/crypttab": crypttab}
        | probes.look_before("emergency.service")
        | probes.service("watch", WATCH, kind="simple", unit="Conflicts=initrd-switch-root.target emergency.target"),
        images.root_command_line(f"UUID={images.TINY_FILE_SYSTEM}"))
    identity = lab.enroll(node, (node.disks[0], "root", "root"), (node.disks[1], "data", "other"), payload=True)
    Path("payload").write_text("for the real root\n")
    lab.ctl("payload", "set", identity, "payload")

    node.start()
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    t.check(node.seen(r"^DM data") and node.seen(r"^RUN .*/run/tallyboot/payload/"), "our own root: data and payload there",
            node.log)
    node.off()

    if t.part("plain"):
        plain_root(t, node)
    if t.part("luks"):
        luks_root(t, node)
