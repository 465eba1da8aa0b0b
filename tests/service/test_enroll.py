#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Enrollment: approval by a person, by a join token, by a list; keys; confirm; a second mainboard."""

import os
import secrets
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, Node, b64, ready, unb64
from services import Fleet
from softtpm import SoftTpm

NEVER = 1


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()

    def node(self):
        node = Node(self, SoftTpm(self.test_ca))
        expect(node.register(), 201)
        return node


def only(node, name):
    """The key's generations, as each party shows them."""
    return {party: [(one["generation"], one["state"]) for key in node.shown(party)["keys"] if key["id"] == name
                    for one in key["generations"]] for party in PARTIES}


def test_real_tpm_by_hand(fleet):
    """A person compares the code and approves; nothing is stored before the TPM has proven itself."""
    node = Node(fleet)
    refused("unknown-node", node.enroll)
    expect(node.register(), 201)
    node.challenges("enroll")
    for party in fleet.parties:
        expect(party.get(node.path()), 404, "unknown-node")
    refused("pending-approval", node.ask, "enroll", {"keys": []}, order=("tenant",))
    refused("pending-approval", node.ask, "enroll", {"keys": []}, order=("verifier",))
    for party in PARTIES:
        shown = node.shown(party)
        assert shown["state"] == "pending" and shown["code"] == node.code and shown["ek_sha256"] == node.ek_digest and not shown["keys"]
        assert node.id in getattr(fleet, party).get("/v1/nodes?state=pending").body.decode()
    refused("pending-approval", node.unlock)
    node.approve(group="default", parties=("tenant",))
    refused("pending-approval", node.ask, "enroll", {"keys": []}, order=("verifier",))
    node.approve(parties=("verifier",))
    [key] = node.enroll()
    assert only(node, key) == {party: [(1, "staged")] for party in PARTIES}
    node.confirm(key)
    assert only(node, key) == {party: [(1, "live")] for party in PARTIES}
    node.close()


def test_join_token(fleet):
    node, other = fleet.node(), fleet.node()
    token = fleet.join_token()
    for wrong in (secrets.token_bytes(20), token[::-1]):
        refused("pending-approval", node.enroll, join=wrong)
    node.enroll(join=token)
    assert all(node.shown(party)["state"] == "approved" for party in PARTIES)
    refused("pending-approval", other.enroll, join=token)  # once
    node.enroll(join=token)  # an approved node needs none


def test_join_token_group_and_expiry(fleet):
    fleet.group("lab", bank="sha384")
    node = fleet.node()
    token = fleet.join_token("lab")
    node.enroll(join=token)
    for party in PARTIES:
        shown = node.shown(party)
        assert shown["group"] == "lab" and shown["bank"] == "sha384", shown
        answer = getattr(fleet, party).post("/v1/join-tokens",
                                            {"sha256": secrets.token_hex(32), "group": "lab", "expires": NEVER})
        assert answer.status in (201, 400), answer
        assert getattr(fleet, party).post("/v1/join-tokens", {"sha256": secrets.token_hex(32), "group": "no-such-group",
                                                             "expires": int(time.time()) + 60}).status in (400, 404, 409)
        for bad in ({}, {"sha256": "0" * 63, "group": "lab", "expires": 2 ** 40},
                    {"sha256": 1, "group": "lab", "expires": 2 ** 40}, {"sha256": "0" * 64, "group": "lab", "expires": "soon"}):
            expect(getattr(fleet, party).post("/v1/join-tokens", bad), 400, "malformed")
    late = fleet.node()
    token = fleet.join_token()
    fleet.expire(token)
    refused("pending-approval", late.enroll, join=token)


def test_join_token_is_for_one_party(fleet):
    """What one party was given serves nowhere else: the other one has to be told, too."""
    node = fleet.node()
    token = fleet.join_token(parties=[fleet.tenant])
    refused("pending-approval", node.ask, "enroll", {"keys": []}, token, order=("verifier",))
    assert node.shown("verifier")["state"] == "pending"
    node.ask("enroll", {"keys": []}, token, order=("tenant",))
    assert node.shown("tenant")["state"] == "approved"


def test_list_of_endorsement_keys(fleet):
    node = fleet.node()
    fleet.group("rack", ek_sha256=[node.ek_digest, "0" * 64])
    node.enroll()
    assert all(node.shown(party)["group"] == "rack" for party in PARTIES)
    refused("pending-approval", fleet.node().enroll)


def test_lost_answer(fleet):
    """The same question of the same run again gets the same halves; nothing is made twice."""
    node = fleet.node()
    body = {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}, {"id": secrets.token_hex(16), "kind": "payload"}]}
    first = node.ask("enroll", body, fleet.join_token())
    second = node.ask("enroll", body)
    for party in PARTIES:
        assert first[party][0] == second[party][0] and len(first[party][0]) == 2
    assert first["tenant"][0] != first["verifier"][0]
    node.boot()
    for party in PARTIES:
        refused("conflict", node.ask, "enroll", body, order=(party,))


def test_second_key_later(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    [key] = node.enroll()
    opened = node.unlock()
    for party in PARTIES:
        states = {what[0]: half["state"] for what, half in opened[party][0].items()}
        assert states == {node.key_ids[0]: "live", key: "staged"}, states
        assert {one["id"]: one["state"] for one in opened[party][1]["keys"]} == states
    node.confirm(key)
    node.unlock()


def test_another_key_takes_a_fresh_word(fleet):
    """Of an operator, or a join token of the node's group; the first hour after the registration is as good."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    fleet.group("elsewhere")

    def later():
        for party in fleet.parties:
            assert party.change("UPDATE nodes SET registered = registered - 3700, welcomed = welcomed - 3700 WHERE id = ?",
                                node.id) == 1

    def another(**keywords):
        return node.ask("enroll", {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}]}, **keywords)

    another()
    later()
    token = fleet.join_token("elsewhere")
    for party in PARTIES:
        refused("pending-approval", another, order=(party,))
        refused("pending-approval", another, order=(party,), join=token)
        node.ask("enroll", {"keys": []}, order=(party,))
        assert node.shown(party)["state"] == "approved"
    node.approve()
    another()
    later()
    token = fleet.join_token()
    another(join=token)
    another()
    later()
    for party in PARTIES:
        refused("pending-approval", another, order=(party,), join=token)
    node.unlock()


def test_kind_is_fixed(fleet):
    node = fleet.node()
    [key] = node.enroll(join=fleet.join_token())
    refused("conflict", node.ask, "enroll", {"keys": [{"id": key, "kind": "payload"}]})
    for bad in ({"keys": [{"id": key, "kind": "disk"}]}, {"keys": [{"id": key}]}, {"keys": [{"id": key[:-1], "kind": "volumes"}]},
                {"keys": [{"id": key.upper(), "kind": "volumes"}]} if key.upper() != key else {"keys": 1}, {}, {"keys": {}}, [],
                {"keys": [{"id": key, "kind": "volumes"}] * 2}):
        refused("malformed", node.ask, "enroll", bad)


def test_confirm(fleet):
    node = fleet.node()
    [key, payload] = node.enroll(("volumes", "payload"), join=fleet.join_token())
    unknown = secrets.token_hex(16)
    node.keys[unknown] = {1: bytes(32)}
    refused("conflict", node.confirm, unknown)
    node.keys[key][2] = bytes(32)
    refused("conflict", node.confirm, key, 2)
    body = node.confirm_body(key)
    for without in ("manifest", "mac", "key", "generation", "opened"):
        refused("malformed", node.ask, "confirm", {name: value for name, value in body.items() if name != without})
    refused("conflict", node.confirm, key, opened=True)
    refused("malformed", node.ask, "confirm", {"key": payload, "generation": 1, "opened": False})
    assert node.confirm(key) == {party: {"state": "live", "retired": []} for party in PARTIES}
    node.confirm(key)  # a lost answer
    other = node.confirm_body(key)
    manifest = unb64(other["manifest"]).replace(b'"volumes": []', b'"volumes": [ ]')
    other.update(manifest=b64(manifest), mac=b64(node.manifest_mac(key, 1, manifest)))
    refused("conflict", node.ask, "confirm", other)
    node.confirm(payload, kind="payload")
    again = node.confirm_body(payload, kind="payload")
    again["payload_public"] = b64(node.nk_point)
    refused("conflict", node.ask, "confirm", again)
    for party in PARTIES:
        [shown] = [one for one in node.shown(party)["keys"] if one["id"] == payload]
        assert shown["origin"] == "joint" and shown["kind"] == "payload"


def test_confirm_one_party_first(fleet):
    """The tenant calls it live, the verifier still staged: the verifier is told again later."""
    node = fleet.node()
    [key] = node.enroll(join=fleet.join_token())
    node.ask("confirm", node.confirm_body(key), order=("tenant",))
    assert only(node, key) == {"tenant": [(1, "live")], "verifier": [(1, "staged")]}
    node.boot()
    node.ask("confirm", node.confirm_body(key), order=("verifier",))
    assert only(node, key) == {party: [(1, "live")] for party in PARTIES}


def test_states(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for verb, problem in (("suspend", "suspended"), ("revoke", "revoked")):
        for party in PARTIES:
            expect(getattr(fleet, party).post(node.path(f"/{verb}"), {"reason": "a test"}), 200)
            for purpose, body in (("boot", None), ("enroll", {"keys": []}), ("confirm", node.confirm_body(node.key_ids[0]))):
                refused(problem, node.ask, purpose, body, order=(party,))
            records = getattr(fleet, party).audit(node=node.id)
            assert any(one["event"] == verb and "a test" in one["detail"] and one["who"] == "alice" for one in records), records
        if verb == "suspend":
            for party in PARTIES:
                expect(getattr(fleet, party).post(node.path("/resume"), {}), 200)
            node.boot()
            node.reboot()
            node.unlock()
    for party in PARTIES:
        assert getattr(fleet, party).post(node.path("/approve"), {}).status == 409
        assert getattr(fleet, party).post(node.path("/resume"), {}).status == 409


def test_delete_and_come_back(fleet):
    """After deletion everywhere the machine begins anew; its old halves are gone."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for one in fleet.services:
        expect(one.delete(node.path()), 204)
    for party in fleet.parties:
        expect(party.get(node.path()), 404, "unknown-node")
        rows = party.sql("SELECT COUNT(*) FROM keystore_half")[0][0], party.sql("SELECT COUNT(*) FROM keystore_key")[0][0]
        assert rows[0] == rows[1], rows
    refused("unknown-node", node.unlock)
    refused("unknown-node", node.enroll)
    expect(node.register(), 201)
    old = dict(node.keys)
    node.keys = {}
    [key] = node.enroll(join=fleet.join_token())
    assert node.keys[key][1] not in [value for key in old.values() for value in key.values()]


def test_registrar_down(fleet):
    node = fleet.node()
    known = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    fleet.registrar.stop()
    for party in PARTIES:
        error = refused("unavailable", node.challenge, party, "enroll")
        assert int(error.answer.headers["Retry-After"]) > 0
    known.unlock()
    known.enroll()
    fleet.registrar.start()
    node.enroll(join=fleet.join_token())


def test_group_change_moves_the_halves(fleet):
    fleet.group("before")
    fleet.group("after")
    node = ready(fleet, group="before", swtpm=SoftTpm(fleet.test_ca))
    first = node.unlock()
    node.approve(group="after")
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
    for party in PARTIES:
        expect(getattr(fleet, party).post(node.path("/approve"), {"capture": True, "name": "moved"}), 200)
    node.reboot()
    second = node.unlock()
    for party in PARTIES:
        assert first[party][0] == second[party][0]
        assert node.shown(party)["group"] == "after"


if __name__ == "__main__":
    main(Setup)
