# SPDX-License-Identifier: LGPL-2.1-or-later
"""A token that comes behind the passphrase prompt, and wants a PIN from a person: a line says how to get to the question."""
from vmtest import softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 600


def run(t):
    token = softhsm.Token()
    _, node = t.enrolled_by_token(token, files=softhsm.plug_at_the_prompt(), settings=token.settings(token_pin="ask"), plugged=False)
    node.disks.append(token.disk())
    node.start()
    node.expect("enter passphrase for disk")
    node.expect("^PLUGGED")
    node.expect(r"its PIN is asked for after the question that is on the console: press Enter")
    node.send("")
    node.expect("PIN of token node")
    node.send(softhsm.PIN)
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()
