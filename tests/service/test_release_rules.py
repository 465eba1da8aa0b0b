#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a policy says of a release: networks, max-absence; which set a node matched; what is held; how many may wait for
approval."""

import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, Node, enrolled, ready
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()
        self.soft = ready(self, swtpm=SoftTpm(self.test_ca))


def release(fleet, text, group="default"):
    for party in fleet.parties:
        was = party.get(f"/v1/groups/{group}/policy").json
        expect(party.put(f"/v1/groups/{group}/policy", {"text": was["text"].split("[release]")[0] + text,
                                                        "version": was["version"]}), 200)


def last(node, party):
    record = node.party(party).audit(node=node.id)[-1]
    return record["event"], json.loads(record["detail"])


def test_networks(fleet):
    """From an address that is on no list nothing is released, whatever was booted, and an operator's word on the next boot
    changes nothing about that. The node is not told why."""
    node = fleet.soft
    for text, good in (("networks = 127.0.0.0/8\n", True), ("networks = 10.0.0.0/8\n", False),
                       ("networks = ::1/128 127.0.0.1/32\n", True)):
        release(fleet, "[release]\n" + text)
        node.reboot()
        if good:
            node.unlock()
            continue
        for party in PARTIES:
            error = refused("policy-refused", node.ask, "boot", order=(party,))
            assert "127.0.0.1" not in str(error) and "network" not in str(error), error
            event, detail = last(node, party)
            assert event == "refusal" and detail["rules"][0]["rule"] == "[release] networks", detail
            expect(getattr(fleet, party).post(node.path("/approve"), {"next_boot": True}), 200)
            refused("policy-refused", node.ask, "boot", order=(party,))
            assert node.shown(party)["next_boot"], "not used up"
    release(fleet, "")


def away(fleet, node, seconds):
    for party in fleet.parties:
        then = int(time.time()) - seconds
        assert party.change("UPDATE nodes SET seen = ?, registered = ?, welcomed = ? WHERE id = ?", then, then, then,
                            node.id) == 1


def test_max_absence(fleet):
    """Suspended in the transaction that refuses it; resumed by an operator, it is not suspended again for the same absence."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    release(fleet, "[release]\nmax-absence = 30d\n")
    away(fleet, node, 29 * 86400)
    node.reboot()
    node.unlock()
    away(fleet, node, 31 * 86400)
    node.reboot()
    for party in PARTIES:
        refused("suspended", node.ask, "boot", order=(party,))
        assert node.shown(party)["state"] == "suspended"
        events = [(r["event"], r["who"]) for r in getattr(fleet, party).audit(node=node.id)][-2:]
        assert events == [("suspend", "node"), ("refusal", "node")], events
        assert json.loads(getattr(fleet, party).audit(node=node.id)[-2]["detail"])["reason"] == "max-absence"
    release(fleet, "")
    refused("suspended", node.unlock)
    release(fleet, "[release]\nmax-absence = 30d\n")
    for party in fleet.parties:
        expect(party.post(node.path("/resume"), {}), 200)
    node.unlock()
    away(fleet, node, 31 * 86400)
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {}), 200)  # an operator's word, too
    node.reboot()
    node.unlock()
    release(fleet, "")


def test_max_absence_of_a_new_node(fleet):
    """Counts from its enrollment where it was never seen."""
    node = enrolled(fleet, swtpm=SoftTpm(fleet.test_ca))
    release(fleet, "[release]\nmax-absence = 1h\n")
    node.reboot()
    node.unlock()
    other = enrolled(fleet, swtpm=SoftTpm(fleet.test_ca))
    away(fleet, other, 2 * 3600)
    other.reboot()
    refused("suspended", other.unlock)
    release(fleet, "")


def test_set(fleet):
    """The set that a node last matched; while old and new are side by side this tells who has moved."""
    fleet.group("sets")
    node = ready(fleet, group="sets", swtpm=SoftTpm(fleet.test_ca))
    for party in PARTIES:
        assert node.shown(party)["set"] is None
    node.unlock()
    first = node.shown("tenant")["set"]
    assert first and first.startswith("captured-"), first
    other = [(4, b"the next kernel")]
    node.reboot(other)
    for party in PARTIES:
        refused("policy-refused", node.ask, "boot", order=(party,))
        assert node.shown(party)["set"] == first
    node.approve(capture="next")
    node.unlock()
    for party in PARTIES:
        assert node.shown(party)["set"] == "next"
        assert last(node, party)[1]["set"] == "next"
    node.reboot()
    node.unlock()
    assert node.shown("tenant")["set"] == first


def test_next_boot_member(fleet):
    node = fleet.soft
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"next_boot": "yes"}), 400, "malformed")
        before = time.time()
        shown = expect(party.post(node.path("/approve"), {"next_boot": True}), 200).json
        assert before + 86399 <= shown["next_boot"] <= time.time() + 86401, shown
        expect(party.post(node.path("/suspend"), {}), 200)
        expect(party.post(node.path("/approve"), {"next_boot": True}), 409, "conflict")
        expect(party.post(node.path("/resume"), {}), 200)
    node.reboot()
    node.unlock()


def test_pending_without_certificate_is_bounded(_):
    """Where EK certificates are optional anybody makes nodes; only so many of them wait. A join token is room of its own."""
    with Fleet(**{"ek-certificates": "optional"}) as fleet:
        fleet.group()
        first = bare(fleet)
        for party in PARTIES:
            refused("pending-approval", first.ask, "enroll", {"keys": []}, order=(party,))
        for party in fleet.parties:
            fill(party, first, 255)
        late = bare(fleet)
        for party in PARTIES:
            error = refused("unavailable", late.ask, "enroll", {"keys": []}, order=(party,))
            assert int(error.answer.headers["Retry-After"]) > 0
            assert not getattr(fleet, party).sql("SELECT 1 FROM nodes WHERE id = ?", late.id)
        late.enroll(join=fleet.join_token())
        for party in PARTIES:
            refused("pending-approval", first.ask, "enroll", {"keys": []}, order=(party,))  # it is there already
            expect(getattr(fleet, party).delete(first.path()), 204)
        third = bare(fleet)
        for party in PARTIES:
            refused("pending-approval", third.ask, "enroll", {"keys": []}, order=(party,))


def bare(fleet):
    node = Node(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.certificate = b""
    answer = node.register()
    assert answer.status == 201, answer
    return node


def fill(party, like, count):
    """Rows as those of a node that is there."""
    with sqlite3.connect(party.database, timeout=120) as connection:
        for i in range(count):
            ident = f"{i:04d}".translate(str.maketrans("0123456789", "abcdefghij")) + like.id[4:]
            connection.execute(
                "INSERT INTO nodes (id, ek_sha256, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, revision) "
                "SELECT ?, ?, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, revision FROM nodes WHERE id = ?",
                (ident, f"{i:064x}", like.id))
            connection.execute("INSERT INTO node_tpms (node, proof, manufacturer, model, version) "
                               "SELECT ?, proof, manufacturer, model, version FROM node_tpms WHERE node = ?", (ident, like.id))


if __name__ == "__main__":
    main(Setup)
