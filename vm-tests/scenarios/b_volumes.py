# SPDX-License-Identifier: LGPL-2.1-or-later
"""More volumes, one on LVM, one enrolled later, opened by one attestation; then new halves (rotation), and the old ones
retired."""
from pathlib import Path

from vmtest import disk, images

NEEDS = ["tiny-root", "initramfs-lvm", "lvm-volume"]
LIMIT = 1500


def logical_volume(node, name):
    """The LUKS volume on the logical volume, as a file: the host has no device-mapper. Returns where on the disk it is."""
    content = Path(name).read_bytes()
    offset = content.index(b"LUKS\xba\xbe")
    Path(node.file("lv.img")).write_bytes(content[offset:])
    return offset


def put_back(node, name, offset):
    with open(name, "r+b") as file:
        file.seek(offset)
        file.write(Path(node.file("lv.img")).read_bytes())


def boot(t, lab, node, names):
    """Opened untouched, all of them, by one release of each party."""
    node.start()
    node.expect(r"^ROOT /dev/mapper/root ext4", seconds=200)
    node.expect(r"^DONE")
    for name in names:
        t.check(node.seen(rf"^DM {name}$") and node.seen(rf"{name}: opened with both halves"), f"{name} is open", node.log)
    node.never("enter passphrase")
    node.off()


def generations(lab, node):
    shown = lab.ctl("node", "show", node.id)
    return {party: [[(g["generation"], g["state"]) for g in key["generations"]] for key in shown[party]["keys"]]
            for party in ("tenant", "verifier")}


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine()
    node.add_root("tiny-root")
    node.disks.append(disk.luks(node.file("data.img"), {"hello": "world\n"}))
    node.disks.append(disk.copy(images.path("lvm-volume", "disk.img"), node.file("lvm.img")))
    lines = [f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}",
             f"data UUID={disk.luks_uuid(node.disks[1])} none {images.CRYPTTAB}",
             f"secret /dev/data/secret none {images.CRYPTTAB}"]
    # Else dracut stops looking for volume groups as soon as the root is there.
    append = images.root_command_line("/dev/mapper/root", "rd.lvm.lv=data/secret")

    # Also the time that a rotation has before the switch to the real root: four keys take a slow machine a while.
    def configure():
        node.boot_kernel(lab.node_files(prompt_after=60) | {"etc/crypttab": "\n".join(lines) + "\n"}, append, "initramfs-lvm")

    configure()
    offset = logical_volume(node, node.disks[2])
    node.id = lab.enroll(node, (node.disks[0], "root", "root"), (node.disks[1], "data", "other"),
                         (node.file("lv.img"), "secret", "other"))
    put_back(node, node.disks[2], offset)
    boot(t, lab, node, ["root", "data", "secret"])
    t.say("root, data, and secret on LVM are opened")

    node.disks.append(disk.luks(node.file("late.img"), {"later": "on\n"}))
    lines.append(f"late UUID={disk.luks_uuid(node.disks[3])} none {images.CRYPTTAB}")
    configure()
    lab.enroll(node, (node.disks[3], "late", "other"))
    lab.ctl("node", "rotate", node.id)
    boot(t, lab, node, ["root", "data", "secret", "late"])
    t.say(f"after the boot that rotates: {generations(lab, node)}")
    for party in ("tenant", "verifier"):
        t.check(all(key == [(1, "live"), (2, "live")] for key in generations(lab, node)[party]), f"{party}: two generations live")
        releases = lab.events(party, "release", node=node.id)
        purposes = [r["detail"]["purpose"] for r in releases if r["incident"] == releases[-1]["incident"]]
        t.check(purposes.count("boot") == 1, f"{party}: one attestation for all volumes: {purposes}")

    t.say("the next boot opens with the new generation and retires the old one")
    boot(t, lab, node, ["root", "data", "secret", "late"])
    t.check(node.seen(r"root: opened with both halves \(generation 2"), "opened with the new halves", node.log)
    t.say(f"after it: {generations(lab, node)}")
    for party in ("tenant", "verifier"):
        t.check(all(key[-1] == (2, "live") and (1, "live") not in key for key in generations(lab, node)[party]),
                f"{party}: the old generation is retired")
    boot(t, lab, node, ["root", "data", "secret", "late"])
