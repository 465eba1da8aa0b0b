#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariants 5 and 6 with two processes of each party on one store, and software TPMs that are suspended, cut off and cleared:
one NK for a boot, a boot being (resetCount, restartCount), which never goes down; and nobody locked out by a lost answer or a
party that comes later."""

import concurrent.futures
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

import tpm2
from cases import expect, main, refused
from node import PARTIES, b64, ready, unb64
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    """Two tenants, two verifiers; hard: a node with a software TPM that other programs know as a TPM; soft: one that can be told
    to lie."""

    def __init__(self):
        super().__init__()
        self.group()
        self.both = {party.role: (party, self.replica(party)) for party in self.parties}
        self.soft = ready(self, swtpm=SoftTpm(self.test_ca))
        self.hard = ready(self)


def fresh(node):
    return node.evidence("boot", node.challenges("boot"))


def boots(fleet, node, at):
    """A release at one process of each party."""
    message = fresh(node)
    for party in PARTIES:
        expect(node.release(fleet.both[party][at], message), 200)


def refuses(fleet, node, problem):
    """At both processes of both parties."""
    for party in PARTIES:
        for service in fleet.both[party]:
            expect(node.release(service, fresh(node)), 403, problem)


def other_nk(node):
    node.nk = ec.generate_private_key(ec.SECP256R1())


def load(node):
    node.load()
    node.boot()


def counters(node):
    attest = tpm2.Attest(unb64(fresh(node)["attest"]))
    return attest.reset, attest.restart, attest.clock


def policy_of(fleet, text):
    for party in fleet.parties:
        was = party.get("/v1/groups/default/policy").json
        expect(party.put("/v1/groups/default/policy", {"text": was["text"].split("[release]")[0] + text,
                                                       "version": was["version"]}), 200)


# Invariant 6

def test_invariant_6_lost_answers(fleet):
    """The same NK is answered as often as it asks, at whichever process; another one at neither."""
    node = fleet.soft
    node.reboot()
    for at in (0, 1, 0, 1):
        boots(fleet, node, at)
    first = node.nk
    other_nk(node)
    refuses(fleet, node, "another-nk")
    node.nk = first
    boots(fleet, node, 1)
    for party in PARTIES:
        events = [record["event"] for record in getattr(fleet, party).audit(incident=node.incident)]
        assert events.count("release") == 5 and events.count("refusal") == 2, events


def test_invariant_6_raced_at_two_processes(fleet):
    """Eight keys at the same time at two processes: one wins, and it is the same one that both know."""
    node = fleet.soft
    node.reboot()
    tries = []
    for _ in range(8):
        other_nk(node)
        tries.append((node.nk, fresh(node)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for party in PARTIES:
            answers = list(pool.map(lambda i, to=party: node.release(fleet.both[to][i % 2], tries[i][1]), range(8)))
            won = [i for i, answer in enumerate(answers) if answer.status == 200]
            assert len(won) == 1 and {answer.problem for answer in answers} == {None, "another-nk"}, answers
            node.nk = tries[won[0]][0]
            for service in fleet.both[party]:
                expect(node.release(service, fresh(node)), 200)


def test_invariant_6_party_comes_up_later(fleet):
    """After a power cut the tenant is back before the verifier: the node waits with its NK and gets the other half with it."""
    node = fleet.soft
    node.reboot()
    later = fleet.both["verifier"]
    early = node.challenge("tenant", "boot")
    message = node.evidence("boot", {"tenant": early, "verifier": node.challenge("verifier", "boot")})
    for service in later:
        service.stop()
    expect(node.release("tenant", message), 200)
    for service in later:
        service.start()
    opened = node.unlock()
    assert all(opened[party][0] for party in PARTIES), opened


def test_invariant_6_forwarded_by_the_other_party(fleet):
    """A tenant that sends a node's evidence on to the verifier before the node does gets what only the node can open, and delays
    it by one challenge."""
    node = fleet.soft
    for first, second in (PARTIES, PARTIES[::-1]):
        node.reboot()
        message = fresh(node)
        expect(node.release(first, message), 200)
        stolen = expect(getattr(fleet, second).post(node.path("/release"), message, cert=first), 200).json
        nk = node.nk
        other_nk(node)
        try:
            node.open(second, "boot", message, stolen)
            raise AssertionError("opened without NK")
        except InvalidTag:
            pass
        node.nk = nk
        expect(node.release(second, message), 409, "stale-nonce")
        opened = node.unlock()
        assert all(opened[party][0] for party in PARTIES), opened


def test_invariant_6_hibernation(fleet):
    """TPM2_Shutdown(STATE), then Startup(CLEAR): resetCount stays and restartCount goes up. PCRs are as after a reset: a boot of
    its own, with an NK of its own, once."""
    node = fleet.hard
    node.reboot()
    boots(fleet, node, 0)
    node.close_gate()
    refuses(fleet, node, "gate-closed")
    reset, restart, _ = counters(node)
    node.swtpm.suspend()
    node.swtpm.start()
    load(node)
    assert counters(node)[:2] == (reset, restart + 1)
    boots(fleet, node, 1)
    other_nk(node)
    refuses(fleet, node, "another-nk")
    node.reboot()
    assert counters(node)[:2] == (reset + 1, 0)
    boots(fleet, node, 0)


def test_invariant_6_s3(fleet):
    """TPM2_Shutdown(STATE), then Startup(STATE): the PCRs are what they were, and the gate with them. A resumed system gets
    nothing."""
    node = fleet.hard
    node.reboot()
    boots(fleet, node, 0)
    node.close_gate()
    reset, restart, _ = counters(node)
    node.swtpm.suspend()
    node.swtpm.start("state")
    load(node)
    assert counters(node)[:2] == (reset, restart + 1)
    refuses(fleet, node, "gate-closed")
    node.reboot()
    boots(fleet, node, 1)


def test_invariant_6_s3_before_the_gate_is_closed(fleet):
    """The gate open, asleep between: the counters make it a boot of its own, whose NK is the only one again."""
    node = fleet.hard
    node.reboot()
    boots(fleet, node, 0)
    node.swtpm.suspend()
    node.swtpm.start("state")
    load(node)
    boots(fleet, node, 1)
    other_nk(node)
    refuses(fleet, node, "another-nk")


def test_invariant_6_power_cut(fleet):
    """The TPM's clock goes back when power is cut; resetCount does not, and it alone counts."""
    node = fleet.hard
    for _ in range(20):  # back to what the TPM kept last, some seconds ago or just now
        node.reboot()
        boots(fleet, node, 0)
        time.sleep(1)
        before = counters(node)
        node.reboot()  # swtpm is ended without TPM2_Shutdown
        after = counters(node)
        assert after[0] > before[0], (before, after)
        boots(fleet, node, 1)
        if after[2] < before[2]:
            break
    else:
        raise AssertionError("the clock never went back")
    old = node.nk
    other_nk(node)
    refuses(fleet, node, "another-nk")
    node.nk = old
    boots(fleet, node, 0)


def test_invariant_6_clock_is_not_compared(fleet):
    """A quote whose clock is lower than any seen, of a boot that is higher."""
    node = fleet.soft
    node.reboot()
    message = fresh(node)
    attest = tpm2.Attest(unb64(message["attest"]))
    attest.clock, attest.safe = 0, False
    message["attest"], message["signature"] = b64(attest.pack()), b64(node.tpm.sign(node.ak, attest.pack()))
    for party in PARTIES:
        expect(node.release(party, message), 200)


def test_invariant_6_tpm2_clear(fleet):
    """resetCount back at 0 with the same AK: refused at every process until an operator accepts that very boot; then one NK
    again."""
    node = ready(fleet)
    for at in (0, 1):
        node.reboot()
        boots(fleet, node, at)
    was = node.id
    node.tpm.clear()
    node.reboot()
    assert node.id == was and counters(node)[0] < 3
    refuses(fleet, node, "rolled-back")
    reset, restart, _ = counters(node)
    for party in PARTIES:
        one, two = fleet.both[party]
        assert node.shown(party)["held"]["boot"] == {"reset": reset, "restart": restart}
        expect(one.post(node.path("/accept-reset"), {"boot": {"reset": reset + 1, "restart": restart}}), 409, "conflict")
        expect(one.post(node.path("/accept-reset"), {"boot": {"reset": "1", "restart": 0}}), 400, "malformed")
        expect(node.release(two, fresh(node)), 403, "rolled-back")
        expect(two.post(node.path("/accept-reset"), {"boot": {"reset": reset, "restart": restart}}), 200)
        expect(one.post(node.path("/accept-reset"), {}), 409, "conflict")
    boots(fleet, node, 0)
    other_nk(node)
    refuses(fleet, node, "another-nk")
    node.close()


def test_invariant_6_accepted_is_what_was_looked_at(fleet):
    """Between the operator's look and word the machine boots again, lower still: that boot is not accepted in its place."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.tpm.reset_count += 20
    node.boot()
    boots(fleet, node, 0)
    for party in PARTIES:
        node.tpm.reset_count = 9
        node.boot()
        refused("rolled-back", node.ask, "boot", order=(party,))
        seen = node.shown(party)["held"]["boot"]
        node.tpm.reset_count = 1
        node.boot()
        refused("rolled-back", node.ask, "boot", order=(party,))
        expect(getattr(fleet, party).post(node.path("/accept-reset"), {"boot": seen}), 409, "conflict")
        assert node.shown(party)["boot"]["reset"] > 9


def test_invariant_6_reset_count_at_its_limit(fleet):
    """The last number, and what comes after it: back at 0 it is refused like any lower one, until accepted."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for reset, restart in ((0xfffffffe, 0xffffffff), (0xffffffff, 0), (0xffffffff, 0xffffffff)):
        node.tpm.reset_count, node.tpm.restart_count = reset, restart
        node.boot()
        boots(fleet, node, 0)
        boots(fleet, node, 1)
        other_nk(node)
        refuses(fleet, node, "another-nk")
    assert node.shown("tenant")["boot"] == {"reset": 0xffffffff, "restart": 0xffffffff}
    node.tpm.reset_count = node.tpm.restart_count = 0
    node.boot()
    refuses(fleet, node, "rolled-back")
    for party in fleet.parties:
        expect(party.post(node.path("/accept-reset"), {"boot": {"reset": 0, "restart": 0}}), 200)
    boots(fleet, node, 1)
    other_nk(node)
    refuses(fleet, node, "another-nk")


def test_invariant_6_another_nk_within_the_window_only(fleet):
    """A policy may allow another NK for some seconds after the first one of a boot; each is in the audit log as what it is."""
    node = fleet.soft
    policy_of(fleet, "[release]\nanother-nk-window = 3600\n")
    try:
        node.reboot()
        boots(fleet, node, 0)
        first = node.nk
        other_nk(node)
        boots(fleet, node, 1)
        for party in PARTIES:
            details = [json.loads(record["detail"]) for record in getattr(fleet, party).audit(incident=node.incident)]
            assert [detail.get("another_nk") for detail in details] == [None, True], details
        for party in fleet.parties:  # an hour later
            assert party.change("UPDATE nodes SET boot_time = boot_time - 3600000 WHERE id = ?", node.id) == 1
        boots(fleet, node, 0)  # the newest goes on
        last, node.nk = node.nk, first
        refuses(fleet, node, "another-nk")
        other_nk(node)
        refuses(fleet, node, "another-nk")
        node.nk = last
        node.close_gate()
        refuses(fleet, node, "gate-closed")
    finally:
        policy_of(fleet, "")


# Invariant 5

def test_invariant_5_raced_at_two_processes(fleet):
    """The same evidence at two processes, with replays of an older one between: once, of each."""
    node = fleet.soft
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for party in PARTIES:
            node.reboot()
            used, message = fresh(node), fresh(node)
            expect(node.release(party, used), 200)
            sent = [used, message, message, used, message, message, used, message]
            answers = list(pool.map(lambda i, to=party: node.release(fleet.both[to][i % 2], sent[i]), range(8)))
            assert sorted(answer.status for answer in answers) == [200] + [409] * 7, answers
            assert all(answers[i].status == 409 for i in (0, 3, 6)), answers


def test_invariant_5_across_a_restart_of_either(fleet):
    node = fleet.soft
    for at, end in ((0, "kill"), (1, "stop")):
        node.reboot()
        used, unused = fresh(node), fresh(node)
        for party in PARTIES:
            expect(node.release(fleet.both[party][at], used), 200)
            getattr(fleet.both[party][at], end)()
            expect(node.release(fleet.both[party][1 - at], used), 409, "stale-nonce")
            fleet.both[party][at].start()
            expect(node.release(fleet.both[party][at], used), 409, "stale-nonce")
            expect(node.release(fleet.both[party][at], unused), 200)
            expect(node.release(fleet.both[party][1 - at], unused), 409, "stale-nonce")


def test_policy_changed_at_the_other_process(fleet):
    """What one process has parsed is not in force any more when the other one has stored a newer policy."""
    node = fleet.soft
    for party in PARTIES:
        one, two = fleet.both[party]
        node.reboot()
        expect(node.release(one, fresh(node)), 200)
        was = one.get("/v1/groups/default/policy").json
        answer = expect(two.put("/v1/groups/default/policy", {"text": was["text"] + "[release]\nnetworks = 10.0.0.0/8\n",
                                                              "version": was["version"]}), 200)
        expect(node.release(one, fresh(node)), 403, "policy-refused")
        expect(one.put("/v1/groups/default/policy", {"text": was["text"], "version": answer.json["version"]}), 200)
        expect(node.release(two, fresh(node)), 200)


# The next boot by an operator's word

def next_boot(fleet, node, at=0):
    for party in PARTIES:
        shown = expect(fleet.both[party][at].post(node.path("/approve"), {"next_boot": True}), 200).json
        assert shown["next_boot"] > time.time(), shown


OTHER, CAPTURED = [(4, b"a kernel that was not predicted")], [(4, b"one that is captured afterwards")]


def test_next_boot_passes_once(fleet):
    """Whatever its PCR values; again to the same NK; a second boot, another NK, a closed gate: not."""
    node = ready(fleet)
    boots(fleet, node, 0)
    node.reboot(CAPTURED)
    refuses(fleet, node, "policy-refused")
    next_boot(fleet, node)
    boots(fleet, node, 0)
    boots(fleet, node, 1)
    for party in PARTIES:
        shown = node.shown(party)
        assert shown["next_boot"] is None and shown["held"]["reason"] == "next-boot" and shown["held"]["pcrs"], shown
        records = getattr(fleet, party).audit(node=node.id)
        assert json.loads(records[-1]["detail"])["next_boot"]["differences"][0]["pcr"] == 4, records[-1]
        assert [r["who"] for r in records if "next_boot" in r["detail"] and r["event"] == "approve"] == ["alice"]
    key = node.nk
    other_nk(node)
    refuses(fleet, node, "policy-refused")
    node.nk = key
    boots(fleet, node, 0)
    node.close_gate()
    refuses(fleet, node, "gate-closed")
    node.reboot(CAPTURED)
    refuses(fleet, node, "policy-refused")
    node.approve(capture="after-all")
    boots(fleet, node, 1)
    node.close()


def test_next_boot_is_the_next_one(fleet):
    """Used up by a boot that would have passed without it, too."""
    node = fleet.soft
    node.reboot()
    boots(fleet, node, 0)
    next_boot(fleet, node)
    boots(fleet, node, 1)  # this boot has begun: it is not the next one
    assert node.shown("tenant")["next_boot"] is not None
    node.reboot()
    boots(fleet, node, 1)
    assert node.shown("tenant")["next_boot"] is None and node.shown("tenant")["set"]
    node.reboot(OTHER)
    refuses(fleet, node, "policy-refused")
    node.reboot()
    boots(fleet, node, 0)


def test_next_boot_raced(fleet):
    """Said once, asked for by many keys and at both processes: one of them has it."""
    node = fleet.soft
    node.reboot()
    boots(fleet, node, 0)
    next_boot(fleet, node)
    node.reboot(OTHER)
    tries = []
    for _ in range(8):
        other_nk(node)
        tries.append(fresh(node))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for party in PARTIES:
            answers = list(pool.map(lambda i, to=party: node.release(fleet.both[to][i % 2], tries[i]), range(8)))
            assert sorted(answer.status for answer in answers) == [200] + [403] * 7, answers
            assert {answer.problem for answer in answers} <= {None, "another-nk", "policy-refused"}, answers
    node.reboot()


def test_next_boot_keeps_the_invariants(fleet):
    """Counters, gate, signature, selection, states: an operator's word on values changes none of them."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.tpm.reset_count += 5
    node.boot()
    boots(fleet, node, 0)
    next_boot(fleet, node)
    node.tpm.reset_count -= 3
    node.boot()
    refuses(fleet, node, "rolled-back")
    node.tpm.reset_count += 9
    node.boot()
    node.close_gate()
    refuses(fleet, node, "gate-closed")
    node.reboot(OTHER)
    message = fresh(node)
    message["signature"] = b64(node.tpm.sign(node.ak, b"x"))
    for party in PARTIES:
        expect(node.release(party, message), 403, "bad-evidence")
    node.tpm.values["sha256"][0] = bytes(32)
    refuses(fleet, node, "bad-evidence")
    node.reboot(OTHER)
    for party in PARTIES:
        expect(getattr(fleet, party).post(node.path("/suspend"), {}), 200)
    refuses(fleet, node, "suspended")
    for party in PARTIES:
        expect(getattr(fleet, party).post(node.path("/resume"), {}), 200)
    refuses(fleet, node, "policy-refused")
    next_boot(fleet, node)
    boots(fleet, node, 0)


def test_next_boot_expires(fleet):
    node = fleet.soft
    node.reboot()
    boots(fleet, node, 0)
    next_boot(fleet, node)
    for party in fleet.parties:
        party.change("UPDATE nodes SET next_boot = ? WHERE id = ?", int(time.time()) - 1, node.id)
    node.reboot(OTHER)
    refuses(fleet, node, "policy-refused")
    node.reboot()


if __name__ == "__main__":
    main(Setup)
