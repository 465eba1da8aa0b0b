#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What operators do to nodes, groups and policies, and what the node then gets."""

import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, Node, enrolled
from services import NO_LIMIT, Fleet
from softtpm import SoftTpm

EVIL = [(4, b"another loader")]


def in_group(fleet, name, **settings):
    fleet.group(name, **settings)
    return enrolled(fleet, group=name, swtpm=SoftTpm(fleet.test_ca))


def every(node, tail, body=None):
    for party in node.fleet.parties:
        expect(party.post(node.path(tail), body or {}), 200)


def events(node, party, incident=None):
    return [record["event"] for record in node.party(party).audit(node=node.id, **({"incident": incident} if incident else {}))]


def test_suspend_and_resume(fleet):
    node = in_group(fleet, "suspend", accept_first_boot=True)
    node.reboot()
    node.unlock()
    every(node, "/suspend", {"reason": "lost for a day"})
    for party in PARTIES:
        refused("suspended", node.ask, "boot", order=(party,))
        refused("suspended", node.ask, "enroll", {"keys": []}, None, (party,))
        assert node.shown(party)["state"] == "suspended"
        assert fleet.parties[PARTIES.index(party)].audit(node=node.id)[-3]["detail"] == '{"reason":"lost for a day"}'
    every(node, "/resume")
    node.unlock()


def test_a_suspension_takes_the_next_boot_back(fleet):
    """Whoever doubts a machine that was let pass, and takes it back a day later, does not mean whatever it boots by then."""
    node = in_group(fleet, "doubted", accept_first_boot=True)
    node.reboot()
    node.unlock()
    every(node, "/approve", {"next_boot": True})
    every(node, "/suspend", {"reason": "where is it?"})
    every(node, "/resume")
    node.reboot(EVIL)
    for party in PARTIES:
        refused("policy-refused", node.ask, "boot", order=(party,))
        assert node.shown(party)["next_boot"] is None


def test_revoke_is_final(fleet):
    node = in_group(fleet, "revoke", accept_first_boot=True)
    every(node, "/revoke", {"reason": "stolen"})
    for party in PARTIES:
        for tail in ("/resume", "/suspend", "/approve"):
            expect(node.party(party).post(node.path(tail), {}), 409, "conflict")
        node.reboot()
        refused("revoked", node.ask, "boot", order=(party,))
        assert events(node, party, node.incident) == ["refusal"]  # the operator finds it
        refused("revoked", node.ask, "enroll", {"keys": []}, None, (party,))


def test_delete_and_come_back(fleet):
    node = in_group(fleet, "delete", accept_first_boot=True)
    node.reboot()
    node.unlock()
    every(node, "/revoke")
    for party in fleet.parties:
        assert party.delete(node.path()).status == 204
        expect(party.delete(node.path()), 404, "unknown-node")
        for table in ("keys", "generations", "held"):
            assert party.sql(f"SELECT COUNT(*) FROM {table} WHERE node = ?", node.id) == [(0,)]
    refused("unknown-node", node.ask, "boot")
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, None, (party,))
        assert node.shown(party)["keys"] == []


def test_pending_policy_then_policy_refused(fleet):
    node = in_group(fleet, "policy")
    node.reboot()
    for party in PARTIES:
        error = refused("pending-policy", node.ask, "boot", order=(party,))
        assert "PCR" not in error.answer.body.decode()
        held = node.shown(party)["held"]
        assert held["reason"] == "pending-policy" and held["incident"] == node.incident and held["bank"] == "sha256"
        assert held["pcrs"].keys() == {str(pcr) for pcr in [*range(10), 11, 12, 13, 14, 15]} and held["differences"] == []
    node.approve(capture="one")
    opened = node.unlock()  # the same boot, the same key: nobody touched it
    assert len(opened["tenant"][0]) == 1
    node.reboot(EVIL)
    for party in PARTIES:
        refused("policy-refused", node.ask, "boot", order=(party,))
        difference, = node.shown(party)["held"]["differences"]
        assert (difference["set"], difference["pcr"]) == ("one", 4)
        detail = node.party(party).audit(node=node.id)[-1]["detail"]
        assert '"policy-refused"' in detail and difference["got"] in detail
    node.reboot()
    node.unlock()
    assert node.shown("tenant")["held"] is None


def test_capture_needs_a_held_boot(fleet):
    node = in_group(fleet, "capture")
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"capture": True}), 409, "conflict")  # an enrollment is no boot
    node.reboot()
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
    node.approve(capture="same")
    node.reboot(EVIL)
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))  # never had a boot released
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"capture": True, "name": "same"}), 409, "conflict")
        expect(party.post(node.path("/approve"), {"capture": True, "name": "bad name"}), 400, "malformed")
        expect(party.post(node.path("/approve"), {"capture": "yes"}), 400, "malformed")
        expect(party.post(node.path("/approve"), {"group": "nowhere"}), 409, "conflict")


def test_first_boot_unseen(fleet):
    node = in_group(fleet, "unseen", accept_first_boot=True)
    node.reboot()
    node.unlock()
    for party in PARTIES:
        assert "first-boot-accepted" in events(node, party, node.incident)
        assert "first-boot-" in node.party(party).get("/v1/groups/unseen/policy").json["text"]
    node.reboot(EVIL)
    refused("policy-refused", node.unlock)  # only the first
    again = in_group(fleet, "unseen")
    again.reboot()
    again.unlock()  # a machine like it: the policy allows it, nothing is captured
    assert "first-boot-accepted" not in events(again, "tenant")


def test_listed_ek_is_approved_ahead(fleet):
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    fleet.group("listed", ek_sha256=[node.ek_digest])
    for party in fleet.parties:
        expect(party.put("/v1/groups/elsewhere", {"ek_sha256": [node.ek_digest]}), 409, "conflict")
    node.enroll()
    assert {node.shown(party)["group"] for party in PARTIES} == {"listed"}
    assert "approve" in events(node, "tenant")


def test_a_revoked_key_is_on_no_list(fleet):
    """Revoked and deleted, it waits for a person like any other."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    fleet.group("once-listed", ek_sha256=[node.ek_digest, "0" * 64])
    node.enroll()
    every(node, "/revoke", {"reason": "stolen"})
    for party in fleet.parties:
        assert expect(party.get("/v1/groups/once-listed"), 200).json["ek_sha256"] == ["0" * 64]
        expect(party.delete(node.path()), 204)
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, None, (party,))


def test_groups(fleet):
    for party in fleet.parties:
        for body in ({"bank": "sha1"}, {"bank": "md5"}, {"gate": 16}, {"gate": 7}, {"gate": 10}, {"gate": "15"},
                     {"accept_first_boot": 1}, {"ek_sha256": "x"}, {"ek_sha256": ["00"]}, {"ek_sha256": ["ZZ" * 32]}, [], b"{"):
            expect(party.put("/v1/groups/groups", body), 400, "malformed")
        expect(party.get("/v1/groups/groups"), 404, "not-found")
        made = expect(party.put("/v1/groups/groups", {"bank": "sha384", "gate": 14}), 200).json
        assert (made["bank"], made["gate"], made["accept_first_boot"], made["policy_version"]) == ("sha384", 14, False, 0)
        assert expect(party.get("/v1/groups/groups"), 200).json == made
        assert "groups" in [group["name"] for group in party.get("/v1/groups").json["groups"]]


def test_policy_by_version(fleet):
    text = "[set a]\nbank = sha256\npcr 4 = " + "ab" * 32 + "\n"
    for party in fleet.parties:
        party.put("/v1/groups/versions", {})
        path = "/v1/groups/versions/policy"
        assert party.get(path).json == {"text": "", "version": 0}
        assert expect(party.put(path, {"text": text, "version": 0}), 200).json == {"version": 1}
        expect(party.put(path, {"text": text, "version": 0}), 409, "conflict")
        expect(party.put(path, {"text": text, "version": 2}), 409, "conflict")
        answer = expect(party.put(path, {"text": text + "pcr 4 = x\n", "version": 1}), 400, "malformed")
        assert "4" in answer.json["title"]
        for body in ({"text": text}, {"version": 1}, {"text": 1, "version": 1}):
            expect(party.put(path, body), 400, "malformed")
        assert party.get(path).json == {"text": text, "version": 1}
        expect(party.put("/v1/groups/none/policy", {"text": text, "version": 0}), 404, "not-found")


def test_policy_changed_between_challenge_and_answer(fleet):
    """The node's evidence is not bad, only late: it is told to ask anew, at once."""
    node = in_group(fleet, "changed")
    for party in fleet.parties:
        expect(party.put("/v1/groups/changed/policy", {"text": "[set a]\nbank = sha256\npcr 4 = " + "ab" * 32 + "\n",
                                                       "version": 0}), 200)
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    for party in fleet.parties:
        text = "[set a]\nbank = sha256\npcr 4 = " + "ab" * 32 + "\npcr 7 = " + "cd" * 32 + "\n"
        expect(party.put("/v1/groups/changed/policy", {"text": text, "version": 1}), 200)
        expect(party.post(node.path("/release"), message, cert=None), 409, "stale-nonce")


def test_accept_reset(fleet):
    node = in_group(fleet, "reset", accept_first_boot=True)
    node.reboot()
    node.unlock()
    for party in fleet.parties:
        expect(party.post(node.path("/accept-reset"), {}), 409, "conflict")
        with sqlite3.connect(party.database, timeout=120) as connection:  # as if the TPM had been cleared since
            connection.execute("UPDATE nodes SET boot_reset = boot_reset + 100 WHERE id = ?", (node.id,))
    node.reboot()
    for party in PARTIES:
        refused("rolled-back", node.ask, "boot", order=(party,))
        held = node.shown(party)["held"]
        assert held["reason"] == "rolled-back" and held["pcrs"] == {} and held["boot"]["reset"] < node.shown(party)["boot"]["reset"]
        shown = expect(node.party(party).post(node.path("/accept-reset"), {}), 200).json
        assert shown["boot"] == held["boot"] and shown["held"] is None
    node.unlock()
    for party in fleet.parties:
        expect(party.post(node.path("/accept-reset"), {}), 409, "conflict")


def test_asking_too_often(fleet):
    node = in_group(fleet, "often", accept_first_boot=True)
    node.reboot()
    node.unlock()
    for party in fleet.parties:
        party.limits["answers-per-minute"] = 5
        party.restart()
    try:
        for _ in range(5):
            node.unlock()
        error = refused("rate-limited", node.unlock)
        assert error.answer.status == 429 and 0 < int(error.answer.headers["Retry-After"]) <= 61
        before = len(fleet.tenant.audit(node=node.id))
        refused("rate-limited", node.unlock)
        assert len(fleet.tenant.audit(node=node.id)) == before
        node.reboot()
        node.unlock()  # a new boot is not a repetition
    finally:
        for party in fleet.parties:
            party.limits.update(NO_LIMIT)
            party.restart()


def test_lists_and_log(fleet):
    node = in_group(fleet, "lists", accept_first_boot=True)
    node.reboot()
    node.unlock()
    for party in fleet.parties:
        for query, there in (("", True), ("?group=lists", True), ("?group=default", False), ("?state=approved&group=lists", True),
                             ("?state=pending", False)):
            nodes = expect(party.get("/v1/nodes" + query), 200).json["nodes"]
            assert (node.id in [one["id"] for one in nodes]) == there, query
        for query in ("?state=x", "?group=%20", "?state=" + "a" * 100):
            expect(party.get("/v1/nodes" + query), 400, "malformed")
        for query in ("?node=x", "?incident=1", "?after=-1", "?limit=5000", "?limit=x"):
            expect(party.get("/v1/log" + query), 400, "malformed")
        records = party.audit(node=node.id)
        assert [record["seq"] for record in records] == sorted(record["seq"] for record in records)
        assert party.audit(node=node.id, limit=1) == records[-1:]
        assert party.audit(node=node.id, limit=1, after=0) == records[:1]
        assert abs(records[-1]["time"] - time.time()) < 600 and records[-1]["incident"] == node.incident


if __name__ == "__main__":
    main(Fleet)
