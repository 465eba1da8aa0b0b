# SPDX-License-Identifier: LGPL-2.1-or-later
"""A static address from the kernel command line, no DHCP; then nobody says how, and DHCP is asked: both halves open the root."""
from vmtest import cpio, images, probes

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 600
ADDRESSES = """for address in 10.0.2.77 10.0.2.15; do
    if [[ $(< /proc/net/fib_trie) == *"$address"* ]]; then echo "ADDRESS $address"; fi
done > /dev/console
"""


def boot(node):
    node.start()
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()


def run(t):
    _, node = t.enrolled(
        files={"etc/systemd/network/20-dhcp.network": cpio.Symlink("/dev/null")}
        | probes.service("addresses", ADDRESSES, unit="After=tallyboot-gate.service\nBefore=initrd.target"),
        append=images.root_command_line("/dev/mapper/root", "ip=10.0.2.77::10.0.2.2:255.255.255.0:::none"))
    boot(node)
    t.check(node.seen(r"ADDRESS 10\.0\.2\.77"), "the static address was in use", node.log)
    node.never(r"ADDRESS 10\.0\.2\.15")

    t.say("neither the command line nor a file in the image says anything of the network")
    node.append = images.root_command_line("/dev/mapper/root")
    boot(node)
    t.check(node.seen(r"ADDRESS 10\.0\.2\.15"), "the address was DHCP's", node.log)
