# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mistake in the tallyboot.conf of the initramfs: nobody is asked for halves, a passphrase opens the root, the gate is
closed."""
NEEDS = ["tiny-root", "initramfs"]
LIMIT = 400


def run(t):
    node = t.tiny(files=t.lab().node_files(promt_after="3"))
    node.start()
    node.type_passphrase()
    t.check(node.seen(r'tallyboot.conf: \d+: unknown key "promt-after"'), "the console says what is wrong", node.log)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 15 .*[1-9A-F]")
    node.expect(r"^GATE-CLOSED PCRs 8 to 15 extended")
    node.expect(r"^DONE")
    node.off()
    t.check(not node.seen(r"^RUN .*/run/tallyboot/halves"), "no halves came in this boot", node.log)
