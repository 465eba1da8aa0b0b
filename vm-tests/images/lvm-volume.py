#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""lvm-volume.py: a LUKS2 volume on a logical volume (group data, volume secret) that fills a disk of its own.

Device-mapper is needed to make one, so a machine does it. Needs kernel, initramfs-lvm, tpm-ca. Makes: disk.img
"""
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from vmtest import cpio, disk  # noqa: E402
from vmtest.machine import Machine  # noqa: E402

LUKS_UUID = "7a11b007-0000-4000-8000-000000000003"
UNIT = """[Unit]
DefaultDependencies=no
After=systemd-udev-settle.service
Wants=systemd-udev-settle.service
Before=initrd-root-device.target

[Service]
Type=oneshot
StandardOutput=journal+console
StandardError=journal+console
ExecStart=bash -ec "lvm pvcreate /dev/vda; lvm vgcreate data /dev/vda; lvm lvcreate --extents 100%%FREE --name secret data; \
cat /dev/vdb > /dev/data/secret; sync; lvm vgchange --activate n data; echo LVM-MADE > /dev/console"
ExecStopPost=systemctl --force poweroff
"""


def main():
    disk.luks("luks.img", {"secret": "on a logical volume\n"}, uuid=LUKS_UUID)
    # LVM takes whole extents of 4 MB, and keeps the first for itself.
    disk.command("truncate", "-s", "64M", "disk.img")
    machine = Machine("maker", tpm=None)
    try:
        machine.disks = ["disk.img", "luks.img"]
        machine.boot_kernel({"etc/systemd/system/make-lvm.service": UNIT,
                             "etc/systemd/system/initrd.target.wants/make-lvm.service": cpio.Symlink("../make-lvm.service")},
                            append="console=ttyS0 panic=-1 rd.shell=0 rd.emergency=poweroff", base="initramfs-lvm")
        machine.start()
        machine.expect("LVM-MADE")
        machine.off()
    finally:
        machine.stop()
    Path("luks.img").unlink()


if __name__ == "__main__":
    main()
