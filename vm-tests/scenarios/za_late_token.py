# SPDX-License-Identifier: LGPL-2.1-or-later
"""A token that comes when the passphrase was asked for: the prompt goes away by itself, or a line says how to get to the
PIN's."""
from vmtest import softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 800


def start(t, name, settings, **more):
    """A machine whose token is on a disk that is read behind the prompt."""
    token = softhsm.Token(f"{name}-token")
    _, node = t.enrolled_by_token(token, token.settings(**settings), plugged=False, name=name, **more)
    node.disks.append(token.disk(f"{name}-token.img"))
    node.start()
    node.expect("enter passphrase for disk")
    node.expect("^PLUGGED")
    return node


def opened(node):
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()


def run(t):
    lab, files = t.lab(), softhsm.plug_at_the_prompt()
    t.say("its PIN is in a file: nobody types")
    node = start(t, "quiet", {"token_pin": "file:/etc/tallyboot/pin"}, lab=lab,
                 files=files | {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)})
    opened(node)
    node.never("PIN of token")

    t.say("its PIN is asked for")
    node = start(t, "asked", {"token_pin": "ask"}, lab=lab, files=files)
    node.expect(r"its PIN is asked for after the question that is on the console: press Enter")
    node.send("")
    node.expect("PIN of token node")
    node.send(softhsm.PIN)
    opened(node)
