# SPDX-License-Identifier: LGPL-2.1-or-later
"""An initramfs with the product on a machine that is not configured: no unit fails, nothing waits, no network, the gate as it
was."""
from vmtest import images, probes

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 400
REPORT = """exec > /dev/console 2>&1
echo
echo "FAILED-UNITS $(systemctl --failed --no-legend --plain | head -n 5)"
echo "UNLOCKER $(systemctl is-active tallyboot-unlock.service)"
echo "CMDLINE $(cat /etc/cmdline.d/* 2> /dev/null)"
echo "RUN-DIR $(ls -d /run/tallyboot 2>&1)"
"""


def run(t):
    node = t.tiny(files={"etc/crypttab": f"root UUID={images.TINY_UUID} /etc/key luks\n", "etc/key": images.passphrase()}
                  | probes.service("report", REPORT, unit="After=initrd-fs.target\nBefore=initrd.target"))
    node.start()
    node.expect(r"^FAILED-UNITS $")
    node.expect(r"^UNLOCKER inactive")
    t.check("neednet" not in node.expect(r"^CMDLINE (.*)$")[1], "no network is asked for", node.log)
    node.expect(r"^RUN-DIR .*No such file")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 15 0{64}$")
    node.expect(r"^DONE")
    node.off()
    node.never("tallyboot.*(?:[Ff]ailed|not configured)")
    node.never("Starting systemd-networkd-wait-online")
