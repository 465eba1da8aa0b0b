#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots with a real TPM: the first one that waits for a person, policies, rotation, what the log says, limits, restarts."""

import os
import secrets
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, enrolled, ready, refused_or
from services import Fleet
from softtpm import SoftTpm

BOOT = [(4, b"shim"), (8, b"grub"), (9, b"initramfs")]


class Setup(Fleet):
    def new_group(self, **settings):
        name = f"g{secrets.token_hex(4)}"
        self.group(name, **settings)
        return name


def soft(fleet, group, **keywords):
    return ready(fleet, group=group, swtpm=SoftTpm(fleet.test_ca), **keywords)


def policy(fleet, party, group):
    return expect(getattr(fleet, party).get(f"/v1/groups/{group}/policy"), 200).json


def test_first_policy(fleet):
    """pending-policy, the operator looks and captures, the node boots; a second node of the group boots at once."""
    group = fleet.new_group()
    node = enrolled(fleet, group=group)
    node.reboot(BOOT)
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
    for party in PARTIES:
        held = node.shown(party)["held"]
        assert held["reason"] == "pending-policy" and held["incident"] == node.incident and held["bank"] == "sha256"
        assert held["pcrs"]["8"] == node.tpm.pcrs("sha256", [8])[8].hex() and held["pcrs"]["11"] == "0" * 64
    node.approve(capture="first")
    node.unlock()  # the same boot, nobody touched it
    for party in PARTIES:
        text = policy(fleet, party, group)["text"]
        assert "[set first]" in text and "pcr 11 = zero" in text and "pcr 15" not in text and "pcr 10" not in text, text
        assert node.shown(party)["held"] is None
    node.close()
    other = enrolled(fleet, group=group)
    other.reboot(BOOT)
    other.unlock()
    other.reboot(BOOT[:2])
    refused("policy-refused", other.unlock)
    other.close()


def test_capture_is_an_operators_word_to_each_party(fleet):
    group = fleet.new_group()
    node = enrolled(fleet, group=group, swtpm=SoftTpm(fleet.test_ca))
    node.reboot(BOOT)
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
    node.approve(capture="first", parties=("tenant",))
    node.ask("boot", order=("tenant",))
    refused("pending-policy", node.ask, "boot", order=("verifier",))


def test_capture_conflicts(fleet):
    group = fleet.new_group()
    node = soft(fleet, group)
    node.unlock()
    for party in fleet.parties:
        answer = party.post(node.path("/approve"), {"capture": True, "name": "again"})
        assert answer.status == 409 and answer.problem == "conflict", answer  # nothing is held
    node.reboot([(4, b"another")])
    for party in PARTIES:
        refused("policy-refused", node.ask, "boot", order=(party,))
        name = policy(fleet, party, group)["text"].split("[set ")[1].split("]")[0]
        expect(getattr(fleet, party).post(node.path("/approve"), {"capture": True, "name": name}), 409, "conflict")
        for bad in ("", "a b", "x" * 64, "a]", "ä", 1, None):
            answer = getattr(fleet, party).post(node.path("/approve"), {"capture": True, "name": bad})
            assert answer.problem in ("malformed", "conflict"), (bad, answer)
    node.approve(capture="second")
    node.unlock()


def test_first_boot_accepted_unseen(fleet):
    """It is called what it is in the log, and it is the first boot only."""
    group = fleet.new_group(accept_first_boot=True)
    node = enrolled(fleet, group=group, swtpm=SoftTpm(fleet.test_ca))
    node.reboot(BOOT)
    node.unlock()
    for party in fleet.parties:
        events = [one["event"] for one in party.audit(node=node.id)]
        assert "first-boot-accepted" in events, events
    node.reboot(BOOT[:1])
    refused("policy-refused", node.unlock)
    node.reboot(BOOT)
    node.unlock()


def test_policy_text(fleet):
    group = fleet.new_group()
    path = f"/v1/groups/{group}/policy"
    good = "[set a]\nbank = sha256\npcr 7 = " + "ab" * 32 + "\npcr 11 = zero\n"
    for party in fleet.parties:
        assert policy(fleet, party.role, group) == {"text": "", "version": 0}
        expect(party.put(path, {"text": good, "version": 1}), 409, "conflict")
        assert expect(party.put(path, {"text": good, "version": 0}), 200).json == {"version": 1}
        expect(party.put(path, {"text": good, "version": 0}), 409, "conflict")
        assert policy(fleet, party.role, group)["version"] == 1
        for bad in ("[set a]\npcr 7 = zz\n", "nonsense", "[set a]\nbank = md5\n", "[set a]\nbank = sha256\n",
                    "[set a]\nbank = sha256\npcr 24 = zero\n", good + good, "\0", 7, None):
            answer = expect(party.put(path, {"text": bad, "version": 1}), 400, "malformed")
            assert answer.json["title"], answer
        expect(party.put(path, {"text": ""}), 400, "malformed")
        assert policy(fleet, party.role, group)["version"] == 1
        expect(party.get(f"/v1/groups/{group}x/policy"), 404, "not-found")


def test_policy_changes_what_is_quoted(fleet):
    group = fleet.new_group()
    node = soft(fleet, group)
    assert set(node.challenge("tenant", "boot")["pcrs"]) >= {0, 4, 7, 9, 11, 15} and 10 not in node.challenge("tenant",
                                                                                                              "boot")["pcrs"]
    values = node.tpm.pcrs("sha256", [7])
    text = f"[set small]\nbank = sha256\npcr 7 = {values[7].hex()}\n"
    stale = node.evidence("boot", node.challenges("boot"))
    for party in fleet.parties:
        version = policy(fleet, party.role, group)["version"]
        expect(party.put(f"/v1/groups/{group}/policy", {"text": text, "version": version}), 200)
        assert node.challenge(party.role, "boot")["pcrs"] == [7, 15]
    node.unlock()
    node.reboot([(4, b"this policy does not look at it")])
    node.unlock()
    assert stale["pcrs"]
    for purpose in ("enroll", "confirm"):
        assert set(node.challenge("verifier", purpose)["pcrs"]) <= {0, 1, 2, 3, 7}


def test_other_bank(fleet):
    group = fleet.new_group(bank="sha384")
    node = ready(fleet, group=group)
    assert node.challenge("tenant", "boot")["bank"] == "sha384"
    node.unlock()
    refused("bad-evidence", node.ask, "boot", bank="sha256")
    node.reboot()
    node.unlock()
    node.close()


def test_other_gate(fleet):
    group = fleet.new_group(gate=14)
    node = ready(fleet, group=group)
    assert node.challenge("tenant", "boot")["gate"] == 14
    node.close_gate(15)
    node.unlock()
    node.close_gate(14)
    refused("gate-closed", node.unlock)
    for bad in (7, 16, 23, 24, -1, "15", 15.5, True):
        for party in fleet.parties:
            expect(party.put(f"/v1/groups/{group}", {"gate": bad}), 400, "malformed")
    node.close()


def test_groups(fleet):
    for party in fleet.parties:
        name = f"n{secrets.token_hex(4)}"
        expect(party.get(f"/v1/groups/{name}"), 404, "not-found")
        expect(party.put(f"/v1/groups/{name}", {"accept_first_boot": True}), 200)
        answer = expect(party.put(f"/v1/groups/{name}", {"ek_sha256": ["ab" * 32]}), 200).json  # what is not named stays
        assert answer["accept_first_boot"] is True and answer["ek_sha256"] == ["ab" * 32] and answer["gate"] == 15, answer
        assert name in [one["name"] for one in expect(party.get("/v1/groups"), 200).json["groups"]]
        for bad in ({"bank": "sha1"}, {"bank": 1}, {"ek_sha256": ["ab"]}, {"ek_sha256": "ab" * 32}, {"accept_first_boot": 1}, []):
            expect(party.put(f"/v1/groups/{name}", bad), 400, "malformed")
        assert expect(party.get(f"/v1/groups/{name}"), 200).json["accept_first_boot"] is True


def test_rotation(fleet):
    node = soft(fleet, fleet.new_group())
    [key] = node.key_ids
    opened = node.unlock()
    assert all("rotate" not in opened[party][1] for party in PARTIES)
    refused("conflict", node.ask, "rotate", {"key": key, "generation": 2})
    for party in fleet.parties:
        assert expect(party.post(node.path("/rotate"), {}), 200).json["keys"][0]["rotate"] is True
        expect(party.post(node.path("/rotate"), {"key": "0" * 32}), 409, "conflict")
    opened = node.unlock()
    assert all(opened[party][1]["rotate"] == [{"id": key, "highest": 1}] for party in PARTIES), opened
    for generation in (0, 1, 2 ** 32):
        assert refused_or(node.ask, "rotate", {"key": key, "generation": generation}).problem in ("conflict", "malformed")
    staged = node.ask("rotate", {"key": key, "generation": 2})
    again = node.ask("rotate", {"key": key, "generation": 2})
    assert all(staged[party][0] == again[party][0] for party in PARTIES)
    node.join_halves(staged)
    node.confirm(key, 2)
    node.reboot()
    opened = node.unlock()
    for party in PARTIES:
        assert {what: half["state"] for what, half in opened[party][0].items()} == {(key, 1): "live", (key, 2): "live"}
        assert "rotate" not in opened[party][1]
        assert opened[party][0][key, 2]["half"] == staged[party][0][key, 2]["half"]
        assert opened[party][0][key, 1]["half"] != opened[party][0][key, 2]["half"]
    answer = node.confirm(key, 2, opened=True)
    assert answer == {party: {"state": "live", "retired": [1]} for party in PARTIES}, answer
    assert node.confirm(key, 2, opened=True) == answer
    opened = node.unlock()
    for party in PARTIES:
        assert list(opened[party][0]) == [(key, 2)]
        rows = getattr(fleet, party).sql("SELECT COUNT(*) FROM keystore_half")[0][0]
        assert rows == sum(one["state"] != "retired" for shown in fleet.tenant.get("/v1/nodes").json["nodes"]
                           for k in getattr(fleet, party).get(f"/v1/nodes/{shown['id']}").json["keys"]
                           for one in k["generations"]), rows


def test_invariant_11_rotation_with_one_answer_missing(fleet):
    """One party made its half, the other's answer was lost or never asked: the boot goes on, the next try takes the number
    after."""
    node = soft(fleet, fleet.new_group())
    [key] = node.key_ids
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {}), 200)
    node.unlock()
    node.ask("rotate", {"key": key, "generation": 2}, order=("tenant",))
    node.reboot()
    opened = node.unlock()
    highest = {party: opened[party][1]["rotate"][0]["highest"] for party in PARTIES}
    assert highest == {"tenant": 2, "verifier": 1}, highest
    staged = node.ask("rotate", {"key": key, "generation": 3})
    node.join_halves(staged)
    node.confirm(key, 3)
    node.reboot()
    node.unlock()
    assert set(node.confirm(key, 3, opened=True)["tenant"]["retired"]) == {1, 2}


def test_one_party_down(fleet):
    """A lost party costs a retry and nothing else: the one that answered answers the same NK again."""
    node = soft(fleet, fleet.new_group())
    message = node.evidence("boot", node.challenges("boot"))
    expect(node.release("tenant", message), 200)
    fleet.verifier.kill()
    fleet.verifier.start()
    expect(node.release("verifier", message), 200)
    node.unlock()


def test_log(fleet):
    """The incident that is on the node's console finds everything at each party."""
    node = soft(fleet, fleet.new_group())
    node.unlock()
    for party in fleet.parties:
        records = party.audit(incident=node.incident)
        assert [one["event"] for one in records] == ["release"] and records[0]["node"] == node.id and records[0]["who"] == "node"
        assert abs(records[0]["time"] - time.time()) < 600
        all_of_it = party.audit(node=node.id)
        assert [one["seq"] for one in all_of_it] == sorted(one["seq"] for one in all_of_it)
        last = all_of_it[-1]["seq"]
        assert party.audit(node=node.id, after=last) == []
        assert len(party.get("/v1/log?limit=2").json["records"]) == 2
        for bad in ("node=x", "incident=12", "after=x", "limit=x", "limit=0", "after=-1", "node=%41"):
            answer = party.get(f"/v1/log?{bad}")
            assert answer.status in (200, 400), (bad, answer)
            assert answer.status == 400 or answer.json["records"] is not None
        data = party.audit()
        assert data[0]["seq"] == 1 and [one["seq"] for one in data] == sorted({one["seq"] for one in data})


def test_list(fleet):
    group = fleet.new_group()
    node = soft(fleet, group)
    for party in fleet.parties:
        listed = expect(party.get(f"/v1/nodes?group={group}"), 200).json["nodes"]
        assert [one["id"] for one in listed] == [node.id] and listed[0]["state"] == "approved", listed
        assert expect(party.get(f"/v1/nodes?group={group}&state=revoked"), 200).json["nodes"] == []
        expect(party.get("/v1/nodes?state=nonsense"), 400, "malformed")


def test_rate_limit(_):
    """A node that asks and asks is told to wait; another one is served; a flood in a node's name does not shut it out."""
    with Fleet(limits={"answers-per-minute": 10}) as fleet:
        fleet.group()
        node, other = (ready(fleet, swtpm=SoftTpm(fleet.test_ca)) for _ in range(2))
        error = None
        for _ in range(40):  # a new minute may begin in between
            try:
                node.ask("boot", order=("tenant",))
            except Exception as refusal:
                error = refusal
                break
        assert error and error.problem == "rate-limited" and 0 < int(error.answer.headers["Retry-After"]) <= 60, error
        other.ask("boot", order=("tenant",))


def test_flood_in_anothers_name(_):
    """Unproven evidence is counted by address: it fills nothing and, from elsewhere, shuts nobody out."""
    with Fleet(limits={"answers-per-minute": 30}) as fleet:
        fleet.group()
        node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
        before = len(fleet.tenant.audit())
        message = node.evidence("boot", node.challenges("boot"))
        bad = {**message, "signature": message["signature"][:-4] + "AAAA"}
        problems = {node.release("tenant", bad).problem for _ in range(80)}
        assert problems == {"bad-evidence", "rate-limited"}, problems
        assert len(fleet.tenant.audit()) == before  # not a line of it
        expect(node.release("tenant", message), 200)


def test_two_nodes_do_not_meet(fleet):
    group = fleet.new_group()
    nodes = [soft(fleet, group) for _ in range(2)]
    opened = [node.unlock() for node in nodes]
    halves = [half["half"] for one in opened for party in PARTIES for half in one[party][0].values()]
    assert len(set(halves)) == len(halves) == 4


def test_stop_while_asked(fleet):
    """SIGTERM: what is under way is answered, the exit code is 0, and the next start serves."""
    node = soft(fleet, fleet.new_group())
    for party in fleet.parties:
        assert party.stop() == 0
        party.start()
    node.unlock()


if __name__ == "__main__":
    main(Setup)
