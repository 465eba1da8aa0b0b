#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariant 5: a nonce works once, for one party, one node, one purpose, for its time to live, across restarts and processes."""

import concurrent.futures
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from node import PARTIES, b64, ready, unb64
from services import Fleet
from softtpm import SoftTpm

TTL = 10  # the shortest that the configuration allows
LONG = 3600  # nothing that is slow on this machine expires


class Setup(Fleet):
    def __init__(self):
        super().__init__(limits={"nonce-ttl": LONG})
        self.group()
        self.soft = ready(self, swtpm=SoftTpm(self.test_ca))


def fresh(node):
    node.reboot()
    return node.evidence("boot", node.challenges("boot"))


def with_nonces(node, purpose, challenges):
    """Perfectly quoted evidence over nonces from wherever."""
    return node.evidence(purpose, {party: {"nonce": challenges[party]["nonce"], "bank": "sha256",
                                           "pcrs": [*range(10), 11, 12, 13, 14, 15]} for party in PARTIES})


def test_invariant_5_replay(fleet):
    message = fresh(fleet.soft)
    for party in PARTIES:
        expect(fleet.soft.release(party, message), 200)
        expect(fleet.soft.release(party, message), 409, "stale-nonce")
    again = fleet.soft.evidence("boot", {**fleet.soft.challenges("boot"),
                                         "tenant": {"nonce": message["nonce_tenant"], "bank": "sha256",
                                                                                  "pcrs": [0]}},
                                pcrs=[*range(10), 11, 12, 13, 14, 15])
    expect(fleet.soft.release("tenant", again), 409, "stale-nonce")  # quoted anew over the used nonce
    expect(fleet.soft.release("verifier", again), 200)


def test_invariant_5_replay_in_next_boot(fleet):
    message = fresh(fleet.soft)
    for party in PARTIES:
        expect(fleet.soft.release(party, message), 200)
    fleet.soft.reboot()
    for party in PARTIES:
        expect(fleet.soft.release(party, message), 409, "stale-nonce")


def test_invariant_5_raced(fleet):
    """The same message many times at once: answered once."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for party in PARTIES:
            message = fresh(fleet.soft)
            answers = list(pool.map(lambda _, to=party, what=message: fleet.soft.release(to, what), range(8)))
            assert sorted(answer.status for answer in answers) == [200] + [409] * 7, answers
    fleet.soft.unlock()


def test_invariant_5_forged(fleet):
    node = fleet.soft
    node.reboot()
    for at in (0, 3, 4, 11, 12, 27, 28, 59):
        for party in PARTIES:
            challenges = node.challenges("boot")
            nonce = bytearray(unb64(challenges[party]["nonce"]))
            assert len(nonce) == 60
            nonce[at] ^= 1
            challenges[party]["nonce"] = b64(bytes(nonce))
            expect(node.release(party, with_nonces(node, "boot", challenges)), 409, "stale-nonce")
    for nonce in (bytes(60), b"\xff" * 60):
        challenges = {party: {"nonce": b64(nonce)} for party in PARTIES}
        for party in PARTIES:
            expect(node.release(party, with_nonces(node, "boot", challenges)), 409, "stale-nonce")
    for size in (0, 59, 61):
        challenges = {party: {"nonce": b64(bytes(size))} for party in PARTIES}
        for party in PARTIES:
            expect(node.release(party, with_nonces(node, "boot", challenges)), 400, "malformed")


def test_invariant_5_other_party(fleet):
    node = fleet.soft
    node.reboot()
    challenges = node.challenges("boot")
    swapped = {"tenant": challenges["verifier"], "verifier": challenges["tenant"]}
    for party in PARTIES:
        expect(node.release(party, with_nonces(node, "boot", swapped)), 409, "stale-nonce")
        both = {name: challenges[PARTIES[party == "tenant"]] for name in PARTIES}
        expect(node.release(party, with_nonces(node, "boot", both)), 409, "stale-nonce")
    node.unlock()


def test_invariant_5_other_node(fleet):
    node, other = fleet.soft, ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.reboot()
    message = with_nonces(node, "boot", other.challenges("boot"))
    for party in PARTIES:
        expect(node.release(party, message), 409, "stale-nonce")
    node.unlock()
    other.unlock()


def test_invariant_5_other_purpose(fleet):
    node = fleet.soft
    node.reboot()
    for purpose in ("enroll", "rotate", "confirm"):
        message = with_nonces(node, "boot", node.challenges(purpose))
        for party in PARTIES:
            expect(node.release(party, message), 409, "stale-nonce")
    node.unlock()


def test_invariant_5_after_restart(fleet):
    """Used ones stay used and unused ones work, whether the service ended well or was killed."""
    for end in ("stop", "kill"):
        node = fleet.soft
        used = fresh(node)
        for party in PARTIES:
            expect(node.release(party, used), 200)
        unused = node.evidence("boot", node.challenges("boot"))
        for party in fleet.parties:
            getattr(party, end)()
            party.start()
        for party in PARTIES:
            expect(node.release(party, used), 409, "stale-nonce")
            expect(node.release(party, unused), 200)


def test_invariant_5_at_another_replica(fleet):
    node = fleet.soft
    for party in fleet.parties:
        other = fleet.replica(party)
        message = fresh(node)
        expect(node.release(party, message), 200)
        expect(node.release(other, message), 409, "stale-nonce")
        message = fresh(node)
        expect(node.release(other, message), 200)
        expect(node.release(party, message), 409, "stale-nonce")
        message = fresh(node)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i, a=party, b=other, what=message: node.release((a, b)[i % 2], what), range(8)))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 7, answers
        other.stop()


def test_invariant_5_refused_evidence_uses_nothing_up(fleet):
    """Somebody on the path who spoils a message does not cost the node its nonce."""
    node = fleet.soft
    message = fresh(node)
    for party in PARTIES:
        expect(node.release(party, {**message, "signature": b64(node.tpm.sign(node.ak, b"something else"))}), 403, "bad-evidence")
        expect(node.release(party, message), 200)


def test_invariant_5_durable_with_its_record(fleet):
    """Killed as soon as the answer is there: the nonce is used and the release is in the log. Again and again."""
    node = fleet.soft
    for _ in range(4):
        message = fresh(node)
        for party in fleet.parties:
            answer = expect(node.release(party, message), 200)
            assert answer.body
            party.kill()
            party.start()
            expect(node.release(party, message), 409, "stale-nonce")
            records = party.audit(incident=node.incident)
            assert [record["event"] for record in records] == ["release"], records


def test_invariant_5_expired(fleet):
    node = fleet.soft
    node.reboot()
    with fleet.nonces_of(TTL):
        challenges = node.challenges("boot")
        assert all(challenges[party]["ttl"] == TTL for party in PARTIES)
        message = node.evidence("boot", challenges)
        enroll = node.challenges("enroll")
        time.sleep(TTL + 0.5)
        for party in PARTIES:
            expect(node.release(party, message), 409, "stale-nonce")
        sent = node.evidence("enroll", enroll, {"keys": []})
        for party in PARTIES:
            expect(node.release(party, node.add_proof(sent, party, enroll)), 409, "stale-nonce")
    node.unlock()
    refused("rolled-back", rolled_back, node)


def rolled_back(node):
    """The control: a nonce that is fresh gets as far as the counters."""
    count, node.tpm.reset_count = node.tpm.reset_count, 0
    node.boot()
    try:
        node.unlock()
    finally:
        node.tpm.reset_count = count
        node.boot()


if __name__ == "__main__":
    main(Setup)
