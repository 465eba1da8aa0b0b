# SPDX-License-Identifier: LGPL-2.1-or-later
"""All servers dead: the prompt comes in time and says why, the passphrase opens the root, the gate is closed."""
from vmtest import process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 600
PROMPT_AFTER, SLACK = 10, 40    # s: the product's default, and what a slow machine may need on top


def run(t):
    lab, node = t.enrolled()
    lab.kill()
    node.start()
    node.expect("Starting systemd-cryptsetu")
    asked = node.seconds()
    node.type_passphrase()
    waited = node.seconds() - asked
    t.say(f"the prompt came {waited:.0f} s after systemd wanted the volume, {node.seconds():.0f} s after power-on")
    t.check(waited < PROMPT_AFTER + SLACK * process.PATIENCE, f"the prompt comes in time, not after {waited:.0f} s", node.log)
    t.check(node.seen(r"tallyboot.*tenant.*verifier.*\(incident [0-9a-f]{16}\)"), "a line says why, with an incident", node.log)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 15 .*[1-9A-F]")
    node.expect(r"^GATE-CLOSED PCR 15 extended")
    node.expect(r"^DONE")
    node.off()
    node.never("opened with both halves")
    t.check(not node.seen(r"^RUN .*/run/tallyboot/halves"), "no halves came in this boot", node.log)
