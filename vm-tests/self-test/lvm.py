# SPDX-License-Identifier: LGPL-2.1-or-later
"""A volume on LVM is found by the initramfs with dracut's lvm module, and opened."""
from vmtest import disk, images

NEEDS = ["tiny-root", "initramfs-lvm", "lvm-volume"]


def run(t):
    node = t.tiny(base="initramfs-lvm", files={
        "etc/crypttab": f"root UUID={images.TINY_UUID} /etc/key luks\nsecret /dev/data/secret /etc/key luks\n",
        "etc/key": images.passphrase()},
        # Else dracut stops looking for volume groups as soon as the root is there.
        append=images.root_command_line("/dev/mapper/root", "rd.lvm.lv=data/secret"))
    node.disks.append(disk.copy(images.path("lvm-volume", "disk.img"), node.file("lvm.img")))
    node.start()
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    t.check(node.seen(r"^DM data-secret") and node.seen(r"^DM secret"), "logical volume active, volume on it open", node.log)
    node.off()
