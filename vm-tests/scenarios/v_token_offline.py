# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM, all servers dead: after some seconds the token unwraps the root's key from the volume's header, and nobody types."""
from vmtest import softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 600


def run(t):
    token, pin = softhsm.Token(), {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)}
    settings = token.offline_settings(unlock="online-then-offline", offline_after=3, token_pin="file:/etc/tallyboot/pin")
    lab, node = t.enrolled_by_token(token, files=pin, settings=settings)
    lab.kill()
    node.start()
    node.expect(r"tallyboot.*tenant.*verifier.*\(incident [0-9a-f]{16}\)")
    node.expect("root: opened offline, by the token")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR none")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    node.never("PIN of token")
