# SPDX-License-Identifier: LGPL-2.1-or-later
"""No TPM: what the token opens without the servers follows a rotated key; they may die between any two of these boots."""
import json

from vmtest import process, softhsm

NEEDS = ["tiny-root", "initramfs-softhsm"]
LIMIT = 900
PIN = {"etc/tallyboot/pin": (softhsm.PIN + "\n", 0o600)}
# Also the time that a rotation has before the switch to the real root.
PATIENCE = 100


def header(node):
    """The root's, as it is on the disk: {generation: keyslot}, the generations that the token opens, all keyslots."""
    content = json.loads(process.command("cryptsetup", "luksDump", "--dump-json-metadata", node.disks[0]))
    held = {"tallyboot": {}, "tallyboot-offline": {}}
    for token in content["tokens"].values():
        if token["type"] in held:
            held[token["type"]][token["generation"]] = token.get("slot")
    return held["tallyboot"], sorted(held["tallyboot-offline"]), {int(slot) for slot in content["keyslots"]}


def boot(node, way, generation, slot):
    node.start()
    node.expect(rf"root: opened {way} \(generation {generation}, keyslot {slot}\)")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^GATE-CLOSED no TPM")
    node.expect(r"^DONE")
    node.off()
    node.never("enter passphrase")
    node.never("PIN of token")


def live(lab, node):
    """{party: the live generations of the node's only key}."""
    shown = lab.ctl("node", "show", node.id)
    return {party: [g["generation"] for g in shown[party]["keys"][0]["generations"] if g["state"] == "live"]
            for party in ("tenant", "verifier")}


def run(t):
    token = softhsm.Token()
    settings = token.offline_settings(unlock="online-then-offline", token_pin="file:/etc/tallyboot/pin", prompt_after=PATIENCE)
    lab, node = t.enrolled_by_token(token, files=PIN, settings=settings | {"offline_after": PATIENCE})
    lab.accept_tokens(token_interval=0)

    def servers(alive):
        """The offline way is tried at once where they are dead, and late where a slow machine only takes its time."""
        (lab.start if alive else lab.kill)()
        node.add_files(lab.node_files(**settings | {"offline_after": PATIENCE if alive else 1}))

    def check(what, wanted):
        t.say(f"{what}: keyslots of generations, generations offline, keyslots: {header(node)}")
        t.check(header(node) == wanted, f"{what}: the header has {wanted}, not {header(node)}")

    enrolled = header(node)
    old = enrolled[0].get(1)
    t.check(enrolled[0] == {1: old} and enrolled[1] == [1] and old in enrolled[2], f"enrolled for both ways: {enrolled}")
    passphrase = enrolled[2] - {old}
    boot(node, "with both halves", 1, old)
    check("nobody asked for a rotation", enrolled)

    lab.ctl("node", "rotate", node.id)
    boot(node, "with both halves", 1, old)
    t.check(node.seen("generation 2 is in use from the next boot on"), "the console says that the key is rotated", node.log)
    new = header(node)[0].get(2)
    t.check(new not in (None, old), f"a keyslot of its own for generation 2: {header(node)}")
    check("rotated", ({1: old, 2: new}, [1], passphrase | {old, new}))
    t.check(live(lab, node) == {"tenant": [1, 2], "verifier": [1, 2]}, f"both generations are live: {live(lab, node)}")

    t.say("the servers die here: the token still opens the generation before")
    servers(alive=False)
    boot(node, "offline, by the token", 1, old)
    check("after an offline boot", ({1: old, 2: new}, [1], passphrase | {old, new}))

    servers(alive=True)
    boot(node, "with both halves", 2, new)
    t.check(node.seen("the token opens generation 2 offline from now on"), "the console says what the token opens", node.log)
    check("the old generation is retired", ({2: new}, [2], passphrase | {new}))
    t.check(live(lab, node) == {"tenant": [2], "verifier": [2]}, f"generation 2 alone is live: {live(lab, node)}")

    t.say("all servers are dead for good")
    servers(alive=False)
    boot(node, "offline, by the token", 2, new)
    node.never("not opened offline")
    check("after an offline boot", ({2: new}, [2], passphrase | {new}))
