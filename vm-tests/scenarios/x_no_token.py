# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM and no token: a line says what is waited for, the prompt opens the root; a token that comes late takes the prompt away."""
from vmtest import process, softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 600
PROMPT_AFTER, SLACK = 10, 40    # s: the product's default, and what a slow machine may need on top
def never_comes(t, lab, token):
    node = t.tiny("never", files=lab.node_files(**token.settings()), base="initramfs-softhsm", tpm=None)
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


def comes_late(t, lab, token):
    """The folder of tokens comes from a second disk, after the prompt was there."""
    files = {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)} | softhsm.plug_at_the_prompt()
    _, node = t.enrolled_by_token(token, files=files, lab=lab, settings=token.settings(token_pin="file:/etc/tallyboot/pin"),
                                  name="late", plugged=False)
    node.disks.append(token.disk())
    node.start()
    node.expect("enter passphrase for disk")
    node.expect("^PLUGGED")
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()


def run(t):
    lab, token = t.lab(), softhsm.Token()
    never_comes(t, lab, token)
    comes_late(t, lab, token)
