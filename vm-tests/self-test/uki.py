# SPDX-License-Identifier: LGPL-2.1-or-later
"""OVMF boots a UKI of the tiny root: PCRs 9 and 11 are measured, and there is an event log."""
from vmtest import disk, images

NEEDS = ["tiny-root", "initramfs"]


def run(t):
    node = t.tiny(files={"etc/crypttab": f"root UUID={images.TINY_UUID} /etc/key luks\n", "etc/key": images.passphrase()},
                  firmware="ovmf")
    efi = disk.uki(node.file("boot.efi"), node.initrd, node.append)
    node.kernel, root = None, node.disks.pop()
    node.add_esp(efi)
    node.disks.append(root)
    node.start()
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 11 .*[1-9A-F]")
    node.expect(r"^EVENT-LOG [1-9]")
    node.off()
    t.say(f"off after {node.seconds():.0f} s")
