#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an operator looks at is what an operator approves: a state that changed since is not captured, a code is not the
registrar's word, and a payload key not the tenant's."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.hazmat.primitives.asymmetric import ec

from cases import expect, main, refused
from hpke import point
from node import PARTIES, Node, enrolled
from services import Fleet
from softtpm import SoftTpm

EVIL = [(4, b"another loader")]


def held(node, events=()):
    """A boot that both parties hold, with the same incident id each time: that is the node's own word."""
    node.reboot(events)
    node.incident = "00112233445566ff"
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))


def sets(fleet, group):
    return [party.get(f"/v1/groups/{group}/policy").json["text"] for party in fleet.parties]


def test_a_gate_does_not_move_under_running_nodes(fleet):
    """Where the old gate is closed, another PCR is still zero, and whoever is root there could quote it."""
    fleet.group("gated")
    fleet.group("elsewhere", gate=14)
    node = enrolled(fleet, group="gated", swtpm=SoftTpm(fleet.test_ca))
    for party in fleet.parties:
        expect(party.put("/v1/groups/gated", {"gate": 14}), 409, "conflict")
        expect(party.put("/v1/groups/gated", {"gate": 15}), 200)
        expect(party.post(node.path("/approve"), {"group": "elsewhere"}), 409, "conflict")
        assert party.get("/v1/groups/gated").json["gate"] == 15
    assert node.shown("tenant")["group"] == node.shown("verifier")["group"] == "gated"


def test_a_party_captures_what_was_seen_or_nothing(fleet):
    fleet.group("seen")
    node = enrolled(fleet, group="seen", swtpm=SoftTpm(fleet.test_ca))
    held(node)
    seen = node.shown("tenant")["held"]["pcrs"]
    held(node, EVIL)
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"capture": True, "name": "mine", "pcrs": seen}), 409, "conflict")
        expect(party.post(node.path("/approve"), {"capture": True, "name": "mine", "pcrs": {}}), 409, "conflict")
        expect(party.post(node.path("/approve"), {"capture": True, "name": "mine", "pcrs": "all"}), 400, "malformed")
    assert "mine" not in "".join(sets(fleet, "seen"))
    held(node)
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"capture": True, "name": "mine", "pcrs": seen}), 200)
    node.unlock()


def test_tallyctl_captures_the_state_that_was_shown(fleet):
    fleet.group("shown")
    node = enrolled(fleet, group="shown", swtpm=SoftTpm(fleet.test_ca))
    held(node)
    status, text = fleet.ctl("node", "show", node.id)
    states = set(re.findall(r"^ +state ([a-z2-7]{16})$", text, re.M))
    assert status == 0 and len(states) == 1, text
    state, = states
    held(node, EVIL)
    status, text = fleet.ctl("node", "approve", node.id, "--capture", "--state", state)
    assert status != 0 and "look at" in text, text
    assert "captured" not in "".join(sets(fleet, "shown"))
    held(node)
    status, text = fleet.ctl("node", "approve", node.id, "--capture", "--state", state)
    assert status == 0, text
    node.unlock()


def test_a_code_is_not_the_registrars_word(fleet):
    """A registrar that hides a machine and gives its code to a rogue's: the operator read the code on the machine's console."""
    hidden = Node(fleet, SoftTpm(fleet.test_ca))
    rogue = Node(fleet, SoftTpm(fleet.test_ca))
    assert rogue.register().status == 201
    for party in PARTIES:
        refused("pending-approval", rogue.ask, "enroll", {"keys": []}, order=(party,))
    own = rogue.code
    fleet.registrar.sql("UPDATE node SET code = ? WHERE id = ?", hidden.code, rogue.id)
    status, text = fleet.ctl("node", "approve", hidden.code)
    assert status != 0, text
    assert all(rogue.shown(party)["state"] == "pending" for party in PARTIES), text
    status, text = fleet.ctl("node", "approve", own)
    assert status == 0, text


def test_a_payload_key_is_not_one_partys_word(fleet):
    """A tenant that was taken over names a key of its own, or none, so that it is asked to deal one: it would read the next
    payload."""
    fleet.group("sealed")
    node = enrolled(fleet, ("payload",), "sealed", SoftTpm(fleet.test_ca))
    secret = fleet.directory / "secret"
    secret.write_text("of the node alone")
    its_own = point(ec.generate_private_key(ec.SECP256R1()).public_key())
    public, = fleet.tenant.sql("SELECT public FROM generations WHERE node = ?", node.id)[0]
    tables = {"public": ("generations", its_own, public), "state": ("generations", 1, 2), "dealt": ("keys", 1, 0)}
    for party, columns in ((fleet.tenant, ("public", "state", "dealt")), (fleet.verifier, ("state",))):
        for column in columns:
            table, wrong, right = tables[column]
            assert party.change(f"UPDATE {table} SET {column} = ? WHERE node = ?", wrong, node.id) == 1
            status, text = fleet.ctl("payload", "set", node.id, str(secret))
            assert status == 3 and "Nothing is sent" in text, (party.role, column, status, text)
            assert not [one for one in fleet.parties if node.shown(one.role)["payload"]], (party.role, column)
            party.change(f"UPDATE {table} SET {column} = ? WHERE node = ?", right, node.id)
    status, text = fleet.ctl("payload", "set", node.id, str(secret))
    assert status == 0 and "sealed to 1 key;" in text, text


def test_a_policy_does_not_speak_to_the_terminal(fleet):
    """Comments are UTF-8: a C1 control clears the screen, another writing direction makes a word of what is none."""
    fleet.group("spoken")
    text = "# caf\u00e9\n[set a]\nbank = sha256\n\tpcr 4 = " + "ab" * 32 + "\n"
    for party in fleet.parties:
        expect(party.put("/v1/groups/spoken/policy", {"text": "# \u009b2J\u202eon = toob-eruces\n" + text, "version": 0}), 200)
    status, said = fleet.ctl("policy", "show", "spoken")
    assert status == 0 and "\u009b" not in said and "\u202e" not in said, ascii(said)
    assert said.endswith("\n# \\xc2\\x9b2J\\xe2\\x80\\xaeon = toob-eruces\n" + text), ascii(said)


def test_a_join_tokens_id_is_no_command(fleet):
    """A party that was taken over names a token, and who used it, by what an operator would then type."""
    evil = "0; reboot #"
    status, text = fleet.ctl("join-token", "create")
    assert status == 0, text
    name = re.search("id is ([0-9a-f]{16}):", text)[1]
    for party in fleet.parties:
        assert party.change("UPDATE join_tokens SET used_by = ? WHERE id = ?", evil, name) == 1
        status, text = fleet.ctl("join-token", "cancel", name)
        assert status == 0 and "was used" in text and "reboot" not in text, text
        assert party.change("UPDATE join_tokens SET used_by = NULL, id = ? WHERE id = ?", evil, name) == 1
        status, text = fleet.ctl("join-token", "list")
        assert status == 1 and f"The {party.role} sent a join token with an id that is none" in text, text
        assert "cancel" not in text, text
        assert party.change("DELETE FROM join_tokens WHERE id = ?", evil) == 1


def test_a_tenant_does_not_pass_for_a_verifier(fleet):
    """Same CA, same host name, another role: a tenant that sits in the network of both."""
    try:
        for names in (["urn:tallyboot:tenant"], ["urn:tallyboot:tenant", "urn:tallyboot:verifier"]):
            fleet.pki.issue("verifier", names, ["127.0.0.1", "localhost"])
            fleet.verifier.restart()
            status, text = fleet.ctl("health")
            assert status != 0 and re.search("verifier.*another service's", text), (names, text)
    finally:
        fleet.pki.issue("verifier", ["urn:tallyboot:verifier"], ["127.0.0.1", "localhost"])
        fleet.verifier.restart()
    status, text = fleet.ctl("health")
    assert status == 0, text


if __name__ == "__main__":
    main(Fleet)
