# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM and no token: the prompt comes in time and says what is waited for, the passphrase opens the root."""
from vmtest import process, softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 600
PROMPT_AFTER, SLACK = 10, 40    # s: the product's default, and what a slow machine may need on top


def run(t):
    token = softhsm.Token()
    _, node = t.enrolled_by_token(token, token.settings(), plugged=False)
    node.start()
    node.expect("Starting systemd-cryptsetu")
    asked = node.seconds()
    node.type_passphrase()
    waited = node.seconds() - asked
    t.check(waited < PROMPT_AFTER + SLACK * process.PATIENCE, f"the prompt comes in time, not after {waited:.0f} s", node.log)
    t.check(node.seen(r"No TPM appeared .*going on with the token"), "a line says that there is no TPM", node.log)
    t.check(node.seen(r"tallyboot.*waiting for a token: .*\(incident [0-9a-f]{16}\)"), "a line says what is waited for", node.log)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR none")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    t.check(not node.seen(r"^RUN .*/run/tallyboot/halves"), "no halves came in this boot", node.log)
