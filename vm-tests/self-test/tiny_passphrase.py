# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tiny root: a wrong passphrase, then the right one, typed at the console; a TPM that is read and counts."""
NEEDS = ["tiny-root", "initramfs"]


def run(t):
    node = t.tiny()
    node.start()
    node.type_passphrase(text="wrong")
    node.type_passphrase()
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DM root")
    node.expect(r"^PCR 9 [0-9A-F]{64}")
    node.expect(r"^DONE")
    node.off()
    node.never(r"^PCR 15 .*[1-9A-F]")
    t.say(f"off after {node.seconds():.0f} s")
