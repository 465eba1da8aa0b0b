# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM: a key in a PKCS#11 token signs instead, its PIN is a credential, and both halves open the root."""
from vmtest import images, softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 600


def run(t):
    token = softhsm.Token()
    lab, node = t.enrolled_by_token(
        token, settings=token.settings(token_pin=f"credential:{images.PIN_CREDENTIAL}"),
        append=images.root_command_line("/dev/mapper/root", f"systemd.set_credential={images.PIN_CREDENTIAL}:{softhsm.PIN}"))
    node.start()
    node.expect(r"No TPM appeared .*going on with the token")
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR none")
    node.expect(r"^RUN .*/run/tallyboot/halves")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    node.never("enter passphrase")
    node.never("PIN of token")
    for party in ("tenant", "verifier"):
        details = [release["detail"] for release in lab.events(party, "release", node=node.id)]
        t.check([(one["purpose"], one["evidence"]) for one in details] == [("enroll", "token"), ("boot", "token")],
                f"{party}: released to the token, once in this boot: {details}", lab.log("tallyctl"))
