# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tiny root with a key file in the initramfs: nothing is typed; a data volume opens as well; twice, with one TPM."""
from vmtest import disk, images

NEEDS = ["tiny-root", "initramfs"]


def run(t):
    node = t.tiny()
    node.disks.append(disk.luks(node.file("data.img"), {"hello": "world\n"}))
    crypttab = "".join(f"{name} UUID={uuid} /etc/key luks\n" for name, uuid in
                       (("root", images.TINY_UUID), ("data", disk.luks_uuid(node.disks[1]))))
    node.boot_kernel({"etc/crypttab": crypttab, "etc/key": (images.passphrase(), 0o600)})
    for _ in range(2):
        node.start()
        node.expect(r"^ROOT /dev/mapper/root ext4")
        node.expect(r"^DONE")
        t.check(node.seen(r"^DM data"), "the data volume is open", node.log)
        node.off()
        t.say(f"off after {node.seconds():.0f} s")
