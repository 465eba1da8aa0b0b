# SPDX-License-Identifier: LGPL-2.1-or-later
"""A wrong PIN in a file is tried once; a person is asked on the console, and PIN or passphrase open the root."""
from vmtest import images, probes, softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 800
SPY, SPY_LOG = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/run/spy.log"
# OpenSC's module that writes down each call, between ours and the token's.
SPY_UNIT = f"[Service]\nEnvironment=PKCS11SPY={softhsm.MODULE} PKCS11SPY_OUTPUT={SPY_LOG}\n"
# After a question was there for a while: a second try would have come.
COUNT = f"""exec > /dev/console 2>&1
shopt -s nullglob
until asked=(/run/systemd/ask-password/ask.*) && [ ${{#asked[@]}} -gt 0 ]; do sleep 1; done
sleep 8
echo
echo "LOGINS $(grep -c C_Login {SPY_LOG})"
"""


def logins(t, node):
    """How often the module was given a PIN when a person was asked."""
    return int(node.expect(r"^LOGINS (\d+)")[1])


def asked(t, node):
    """Up to the question for the PIN; the file's was tried once."""
    node.start()
    node.expect(r"tallyboot.*the PIN of file /etc/tallyboot/pin is wrong for token node; it is not tried again")
    node.expect(r"PIN of token node, empty for a passphrase instead:")
    t.check(logins(t, node) == 1, "the PIN of the file was tried once", node.log)


def run(t):
    token = softhsm.Token()
    tree = images.path("debian", "tree")
    files = {"etc/tallyboot/pin": (softhsm.WRONG_PIN + "\n", 0o600), SPY: (tree / SPY[1:], 0o755),
             "usr/bin/grep": (tree / "bin/grep", 0o755),
             "etc/systemd/system/tallyboot-unlock.service.d/90-spy.conf": SPY_UNIT}
    lab, node = t.enrolled_by_token(token, files=files | probes.service("count", COUNT, "sysinit.target", kind="simple"),
                                    settings=token.settings(token_pin="file:/etc/tallyboot/pin", token_module=SPY))
    t.say("the person gives the right PIN")
    asked(t, node)
    node.send(softhsm.WRONG_PIN)
    node.expect(r"Wrong PIN. PIN of token node")
    node.send(softhsm.PIN)
    node.expect("root: opened with both halves")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()
    node.never("enter passphrase")

    t.say("the person gives none, and the passphrase instead")
    asked(t, node)
    node.send("")
    node.type_passphrase()
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()
    node.never("opened with both halves")
