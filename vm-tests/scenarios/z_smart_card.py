# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM: a smart card in a USB reader signs, by OpenSC, pcscd and its CCID driver in the initramfs; both halves open the root."""
import shutil

from vmtest import smartcard, softhsm

NEEDS = ["tiny-root", "initramfs-opensc"]
LIMIT = 800


def run(t):
    if not shutil.which("pk12util"):
        t.skip("no pk12util here (libnss3-tools)")
    card, pin = smartcard.Card(), {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)}
    lab, node = t.enrolled_by_token(card, files=pin, settings=card.settings(token_pin="file:/etc/tallyboot/pin"), plugged=False,
                                    base="initramfs-opensc")
    node.more = card.devices()
    node.start()
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    node.never("enter passphrase")
    for party in ("tenant", "verifier"):
        details = [release["detail"] for release in lab.events(party, "release", node=node.id)]
        t.check([(one["purpose"], one["evidence"]) for one in details] == [("enroll", "token"), ("boot", "token")],
                f"{party}: released to the card: {details}", lab.log("tallyctl"))
