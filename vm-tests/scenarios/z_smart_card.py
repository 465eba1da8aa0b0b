# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM: a smart card in a USB reader is used by OpenSC, pcscd and its CCID driver; the root is opened online and offline."""
import shutil

from vmtest import smartcard, softhsm

NEEDS = ["tiny-root", "initramfs-opensc"]
LIMIT = 800


def boot(t, node, words):
    node.start()
    node.expect(f"root: {words}")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    node.never("enter passphrase")


def run(t):
    if not shutil.which("pk12util"):
        t.skip("no pk12util here (libnss3-tools)")
    card, pin = smartcard.Card(), {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)}
    settings = card.offline_settings(token_pin="file:/etc/tallyboot/pin")
    lab, node = t.enrolled_by_token(card, files=pin, settings=settings, plugged=False, base="initramfs-opensc")
    node.more = card.devices()
    t.say("the servers are dead: the card decrypts what it was given")
    lab.kill()
    boot(t, node, "opened offline, by the token")

    t.say("the card signs")
    lab.start()
    node.add_files(lab.node_files(**settings | {"unlock": "online"}))
    boot(t, node, "opened with both halves")
    for party in ("tenant", "verifier"):
        details = [release["detail"] for release in lab.events(party, "release", node=node.id)]
        t.check([(one["purpose"], one["evidence"]) for one in details] == [("enroll", "token"), ("boot", "token")],
                f"{party}: released to the card: {details}", lab.log("tallyctl"))
