#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of a key at both parties: enroll, confirm, rotate, retire, and every step twice or in the wrong order."""

import os
import secrets
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, Node, Refused, enrolled
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group(accept_first_boot=True)


def soft(fleet, kinds=("volumes",)):
    """A node whose first boot was released."""
    node = enrolled(fleet, kinds, swtpm=SoftTpm(fleet.test_ca))
    node.reboot()
    node.unlock()
    return node


def states(node, party, key):
    """{generation: state}, as the party shows it."""
    return {one["generation"]: one["state"] for shown in node.shown(party)["keys"] if shown["id"] == key
            for one in shown["generations"]}


def mark(node, key=None, parties=PARTIES):
    for party in parties:
        expect(node.party(party).post(node.path("/rotate"), {"key": key} if key else {}), 200)


def rotate(node, key, generation, **keywords):
    opened = node.ask("rotate", {"key": key, "generation": generation}, **keywords)
    if len(opened) == 2:
        node.join_halves(opened)
    return opened


def test_enroll_again_after_a_lost_answer(fleet):
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    body = {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}, {"id": secrets.token_hex(16), "kind": "payload"}]}
    first = node.ask("enroll", body, fleet.join_token())
    second = node.ask("enroll", body)
    for party in PARTIES:
        assert first[party][0] == second[party][0] and len(first[party][0]) == 2
        assert {one["state"] for one in first[party][1]["keys"]} == {"staged"}


def test_enroll_needs_no_half_of_the_other_party(fleet):
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    opened = node.ask("enroll", {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}]}, fleet.join_token())
    (what, half), = opened["tenant"][0].items()
    assert opened["verifier"][0][what]["half"] != half["half"] and half["state"] == "staged"


def test_join_token_works_once(fleet):
    token = fleet.join_token()
    first, second = (Node(fleet, SoftTpm(fleet.test_ca)) for _ in range(2))
    for node in (first, second):
        assert node.register().status == 201
    first.enroll(join=token)
    for party in PARTIES:
        refused("pending-approval", second.ask, "enroll", {"keys": []}, token, (party,))
        assert second.shown(party)["state"] == "pending"


def test_join_token_expires_and_is_of_a_group(fleet):
    fleet.group("other", gate=14, accept_first_boot=True)
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    late = fleet.join_token("other")
    fleet.expire(late)
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, late, (party,))
    node.enroll(join=fleet.join_token("other"))
    assert node.shown("tenant")["group"] == node.shown("verifier")["group"] == "other"
    node.reboot()
    assert 14 in node.challenge("tenant", "boot")["pcrs"] and 15 not in node.challenge("tenant", "boot")["pcrs"]
    node.unlock()
    node.close_gate(14)
    refused("gate-closed", node.unlock)


def test_refused_key_leaves_nothing(fleet):
    node = soft(fleet)
    fresh, key = secrets.token_hex(16), node.key_ids[0]
    for party in PARTIES:
        refused("conflict", node.ask, "enroll", {"keys": [{"id": fresh, "kind": "volumes"}, {"id": key, "kind": "volumes"}]},
                None, (party,))
        assert states(node, party, fresh) == {} and states(node, party, key) == {1: "live"}


def test_key_named_twice(fleet):
    node = soft(fleet)
    name = secrets.token_hex(16)
    refused("malformed", node.ask, "enroll", {"keys": [{"id": name, "kind": "volumes"}, {"id": name, "kind": "payload"}]})


def test_keys_are_limited(fleet):
    node = soft(fleet)
    body = {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"} for _ in range(8)]}
    node.ask("enroll", body)
    node.ask("enroll", {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"} for _ in range(7)]})
    refused("conflict", node.ask, "enroll", {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}]})
    assert len(node.shown("tenant")["keys"]) == 16


def test_confirm_twice_and_otherwise(fleet):
    node = soft(fleet, ("volumes", "payload"))
    volumes, payload = node.key_ids
    assert node.confirm(volumes) == node.confirm(volumes)
    assert node.confirm(payload, kind="payload")["tenant"] == {"state": "live", "retired": []}
    for party in PARTIES:
        other = {**node.confirm_body(volumes), "manifest": "e30"}
        refused("conflict", node.ask, "confirm", other, None, (party,))
        other = {**node.confirm_body(payload, kind="payload"),
                 "payload_public": node.confirm_body(payload, kind="payload")["payload_public"]}
        other["payload_public"] = other["payload_public"][:-2] + ("AA" if other["payload_public"][-2:] != "AA" else "BA")
        try:
            node.ask("confirm", other, None, (party,))
            raise AssertionError("another payload key was taken")
        except Refused as error:
            assert error.problem in ("conflict", "malformed"), error
        for wrong in ({"key": secrets.token_hex(16), "generation": 1, "opened": True},
                      {"key": volumes, "generation": 2, "opened": True}):
            refused("conflict", node.ask, "confirm", wrong, None, (party,))
        refused("malformed", node.ask, "confirm", {"key": volumes, "generation": 1, "opened": False}, None, (party,))


def test_rotation(fleet):
    node = soft(fleet)
    key, = node.key_ids
    mark(node)
    node.reboot()
    opened = node.unlock()
    for party in PARTIES:
        assert opened[party][1]["rotate"] == [{"id": key, "highest": 1}], opened[party][1]
    first = rotate(node, key, 2)
    again = rotate(node, key, 2)
    assert [first[party][0] for party in PARTIES] == [again[party][0] for party in PARTIES]
    for party in PARTIES:
        assert states(node, party, key) == {1: "live", 2: "staged"}
        refused("conflict", node.ask, "confirm", node.confirm_body(key, 2, opened=True), None, (party,))
    node.reboot()
    opened = node.unlock()
    assert {what: half["state"] for what, half in opened["tenant"][0].items()} == {(key, 1): "live", (key, 2): "staged"}
    node.confirm(key, 2)
    assert "rotate" not in node.unlock()["tenant"][1]  # done: the mark is gone
    node.reboot()
    assert {half["state"] for half in node.unlock()["verifier"][0].values()} == {"live"}
    for _ in range(2):
        for answer in node.confirm(key, 2, opened=True).values():
            assert answer == {"state": "live", "retired": [1]}, answer
    for party in PARTIES:
        assert states(node, party, key) == {1: "retired", 2: "live"}
        refused("conflict", node.ask, "confirm", node.confirm_body(key, 1), None, (party,))
    node.reboot()
    assert list(node.unlock()["tenant"][0]) == [(key, 2)]
    for party in fleet.parties:  # the half is not there any more, wrapped or not
        assert party.sql("SELECT handle FROM generations WHERE node = ? AND key = ? AND generation = 1", node.id, key) == [(0,)]


def test_rotation_with_one_answer_lost(fleet):
    """The parties' highest generations differ after that: the next try is above both."""
    node = soft(fleet)
    key, = node.key_ids
    mark(node)
    rotate(node, key, 2, order=("tenant",))
    node.reboot()
    opened = node.unlock()
    highest = {party: opened[party][1]["rotate"][0]["highest"] for party in PARTIES}
    assert highest == {"tenant": 2, "verifier": 1}
    rotate(node, key, 3)
    node.confirm(key, 3)
    node.reboot()
    node.unlock()
    answers = node.confirm(key, 3, opened=True)
    assert answers["tenant"]["retired"] == [1, 2] and answers["verifier"]["retired"] == [1], answers


def test_rotation_that_is_not_wanted(fleet):
    node = soft(fleet)
    key, = node.key_ids
    for party in PARTIES:
        refused("conflict", node.ask, "rotate", {"key": key, "generation": 2}, None, (party,))  # not marked
    mark(node)
    for party in PARTIES:
        for generation in (1, 18, 1 << 31):
            refused("conflict", node.ask, "rotate", {"key": key, "generation": generation}, None, (party,))
        refused("conflict", node.ask, "rotate", {"key": secrets.token_hex(16), "generation": 2}, None, (party,))
        assert states(node, party, key) == {1: "live"}
    node.close_gate()
    refused("gate-closed", node.ask, "rotate", {"key": key, "generation": 2})


def test_rotation_takes_the_boots_own_key_only(fleet):
    from cryptography.hazmat.primitives.asymmetric import ec
    node = soft(fleet)
    key, = node.key_ids
    mark(node)
    node.nk = ec.generate_private_key(ec.SECP256R1())
    for party in PARTIES:
        refused("another-nk", node.ask, "rotate", {"key": key, "generation": 2}, None, (party,))
        assert states(node, party, key) == {1: "live"}


def test_mark_what_is_there(fleet):
    node = soft(fleet)
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {"key": secrets.token_hex(16)}), 409, "conflict")
        expect(party.post(node.path("/rotate"), {"key": "x"}), 409, "conflict")


def test_group_change_wraps_anew(fleet):
    fleet.group("moved", accept_first_boot=True)
    node = soft(fleet)
    before = node.unlock()
    node.approve(group="moved")
    refused("pending-policy", node.unlock)  # the new group has no policy
    for party in fleet.parties:
        text = party.get("/v1/groups/default/policy").json["text"]
        version = party.get("/v1/groups/moved/policy").json["version"]
        expect(party.put("/v1/groups/moved/policy", {"text": text, "version": version}), 200)
    after = node.unlock()
    for party in PARTIES:
        assert before[party][0] == after[party][0]


if __name__ == "__main__":
    main(Setup)
