# SPDX-License-Identifier: LGPL-2.1-or-later
"""The quick machine, enrolled: both halves open the root, twice, with nobody at the keyboard."""
NEEDS = ["tiny-root", "initramfs"]


def run(t):
    _, node = t.enrolled()
    for _ in range(2):
        node.start()
        node.expect(r"^ROOT /dev/mapper/root ext4")
        node.expect(r"^PCR 15 .*[1-9A-F]")
        node.expect(r"^GATE-CLOSED PCR 15 extended")
        node.expect(r"^DONE")
        node.never("enter passphrase")
        node.off()
        t.say(f"off after {node.seconds():.0f} s")
