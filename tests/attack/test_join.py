#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A join token that leaked and was cancelled: it enrolls nothing, at either party alone, whatever was under way."""

import concurrent.futures
import hashlib
import os
import secrets
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, Node
from services import Fleet, field_hash
from softtpm import SoftTpm

DAY = 86400


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        for party in self.parties:
            party.limits["answers-per-minute"] = 100000
            party.restart()
        self.group()


def new_node(fleet):
    node = Node(fleet, SoftTpm(fleet.test_ca))
    expect(node.register(), 201)
    return node


def wanted():
    return {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}]}


def digest(party, token):
    return hashlib.sha256(field_hash("tallyboot join v1", party.role, token)).hexdigest()


def give(fleet, token, **changes):
    """-> its id"""
    name = secrets.token_hex(8)
    for party in fleet.parties:
        body = {"id": name, "sha256": digest(party, token), "group": "default", "expires": int(time.time()) + 3600, **changes}
        assert expect(party.post("/v1/join-tokens", body), 201).json["id"] == name
    return name


def cancel(party, name, **keywords):
    return expect(party.delete(f"/v1/join-tokens/{name}", **keywords), 200).json["tokens"]


def state(party, name):
    found = [one["state"] for one in expect(party.get("/v1/join-tokens"), 200).json["tokens"] if one["id"] == name]
    assert len(found) == 1, found
    return found[0]


def under_way(node, token):
    """What a node sends to each party that has its challenges already."""
    challenges = node.challenges("enroll")
    message = node.evidence("enroll", challenges, wanted())
    return {party: node.add_proof(message, party, challenges, token) for party in PARTIES}


def nothing_left(party, node):
    """Nobody approved it, and no key of it is there."""
    shown = node.shown(party.role)
    assert shown["state"] == "pending" and not shown["keys"], shown
    assert not party.sql("SELECT * FROM keys WHERE node = ?", node.id)
    assert "approve" not in [record["event"] for record in party.audit(node=node.id)]


def test_a_cancelled_token_enrolls_nothing_at_either_party_alone(fleet):
    """Cancelled at this one alone: a new node, one that has its challenges already, one that waits for approval, one that has
    tried before."""
    for party in fleet.parties:
        token = secrets.token_bytes(20)
        name = give(fleet, token)
        new, waiting, begun = (new_node(fleet) for _ in range(3))
        refused("pending-approval", waiting.ask, "enroll", wanted(), order=(party.role,))
        sent = under_way(begun, token)
        assert [one["state"] for one in cancel(party, name)] == ["cancelled"]
        expect(begun.release(party.role, sent[party.role]), 403, "pending-approval")
        for node in (new, waiting, begun, new):
            refused("pending-approval", node.ask, "enroll", wanted(), token, order=(party.role,))
            nothing_left(party, node)
        assert state(party, name) == "cancelled"
        party.kill()
        party.start()
        refused("pending-approval", new.ask, "enroll", wanted(), token, order=(party.role,))
        nothing_left(party, new)


def test_a_cancelled_token_leaves_the_others(fleet):
    """And nothing that is no id takes more than it names."""
    gone, kept = secrets.token_bytes(20), secrets.token_bytes(20)
    name, other = give(fleet, gone), give(fleet, kept)
    for party in fleet.parties:
        cancel(party, name)
        for wild in ("%", "%25", "*", "'", "a" * 96, name + "/", "%00", "\u00e9"):
            answer = party.delete(f"/v1/join-tokens/{wild}") if wild.isascii() else party.delete("/v1/join-tokens/%c3%a9")
            assert answer.status in (400, 404, 405) and not answer.body.startswith(b'{"tokens"'), (wild, answer)
        for unknown in ("-", ".", "..", "_", "default", other[:15], other.upper() if other.upper() != other else "x"):
            assert cancel(party, unknown) == [], unknown
        assert state(party, other) == "open"
    new_node(fleet).enroll(join=kept)


def test_a_cancelled_token_is_not_given_again(fleet):
    """Neither under its digest nor under its id, at a party that has it."""
    token = secrets.token_bytes(20)
    name = give(fleet, token)
    for party in fleet.parties:
        cancel(party, name)
        body = {"id": name, "sha256": digest(party, token), "group": "default", "expires": int(time.time()) + 3600}
        for change in ({}, {"id": secrets.token_hex(8)}, {"sha256": secrets.token_hex(32)}):
            expect(party.post("/v1/join-tokens", {**body, **change}), 409, "conflict")
        refused("pending-approval", new_node(fleet).ask, "enroll", wanted(), token, order=(party.role,))


def test_cancelled_by_one_process_of_two(fleet):
    """At once, for all that work on the same database."""
    for party in fleet.parties:
        other = fleet.replica(party)
        try:
            for here, there in ((party, other), (other, party)):
                token = secrets.token_bytes(20)
                name = give(fleet, token)
                node = new_node(fleet)
                sent = under_way(node, token)[party.role]
                cancel(here, name)
                expect(there.post(node.path("/release"), sent, cert=None, incident=node.incident), 403, "pending-approval")
                nothing_left(there, node)
        finally:
            other.stop()


def test_cancelled_while_it_is_used(fleet):
    """One of the two is first, whole: either a node that was approved and a token that is used, or neither."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for turn in range(12):
            party = fleet.parties[turn % 2]
            token = secrets.token_bytes(20)
            name = give(fleet, token)
            node = new_node(fleet)
            sent = under_way(node, token)[party.role]
            first, second = ((node.release, party.role, sent), (cancel, party, name))[::1 if turn % 4 < 2 else -1]
            answers = [pool.submit(*first), pool.submit(*second)]
            answer, = (one.result() for one in answers if not isinstance(one.result(), list))
            assert (answer.status, state(party, name), node.shown(party.role)["state"]) in \
                ((200, "used", "approved"), (403, "cancelled", "pending")), (answer, state(party, name))


def test_a_token_lives_90_days_at_most(fleet):
    """Also one that an operator's own program asks for: what was leaked and forgotten ends."""
    for party in fleet.parties:
        body = {"id": secrets.token_hex(8), "sha256": secrets.token_hex(32), "group": "default"}
        for days in (92, 3650, 10 ** 9):
            expect(party.post("/v1/join-tokens", {**body, "expires": int(time.time()) + days * DAY}), 400, "malformed")
        for bad in ("", "0" * 15, "0" * 17, "A" * 16, "g" * 16, 7, None, "../../v1/nodes00"):
            expect(party.post("/v1/join-tokens", {**body, "id": bad, "expires": int(time.time()) + DAY}), 400, "malformed")
        expect(party.post("/v1/join-tokens", {**body, "expires": int(time.time()) + 90 * DAY}), 201)
        assert state(party, body["id"]) == "open"


if __name__ == "__main__":
    main(Setup)
