#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logs: nothing in them is believed that the quote does not back; nobody unproven makes a server read megabytes; a log that is
known is not asked for again."""

import concurrent.futures
import hashlib
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import logs
from cases import expect, main, refused
from node import PARTIES, b64, enrolled, unb64
from services import NO_LIMIT, Fleet, encode_fields
from softtpm import SoftTpm
from swtpm import Swtpm

TTL, LONG = 10, 3600  # the shortest that the configuration allows; so that nothing that is slow on this machine expires
SIGNED, UNSIGNED, DIRECT = "ovmf4m-uki-sb", "ovmf4m-uki", "ovmf4m-ms-direct"  # Secure Boot on, off, and a kernel without loader
FIRMWARE = "[firmware]\nsecure-boot = on\nadd-ons = refuse\n"
MIB = 1024 * 1024


class Setup(Fleet):
    """soft: an enrolled node whose PCRs are what a recorded boot left."""

    def __init__(self):
        super().__init__(limits={"nonce-ttl": LONG})
        self.group()
        self.soft = enrolled(self, swtpm=SoftTpm(self.test_ca))


def policy(fleet, text, parties=PARTIES):
    for party in parties:
        service = getattr(fleet, party)
        version = service.get("/v1/groups/default/policy").json["version"]
        expect(service.put("/v1/groups/default/policy", {"text": text, "version": version}), 200)


def booted(node, name=SIGNED, ima=None):
    node.reboot()
    logs.take_values(node.tpm, name)
    node.tpm.values["sha256"][10] = ima.pcr if ima else bytes(32)


def fresh(node):
    return node.evidence("boot", node.challenges("boot"))


def forget(fleet):
    for party in fleet.parties:
        party.sql("DELETE FROM known_logs")
        party.sql("DELETE FROM ima_states")


def released(node, party, log, ima=lambda first: b""):
    """Boots; what was wanted."""
    message = fresh(node)
    answer, wanted = node.release_with_logs(party, message, log, ima)
    assert answer.status == 200, (answer, node.party(party).audit(node=node.id)[-1])
    node.open(party, "boot", message, answer.json)
    return wanted


def turned_down(node, party, log, ima=lambda first: b"", problem="policy-refused"):
    answer, _ = node.release_with_logs(party, fresh(node), log, ima)
    expect(answer, 403, problem)
    return json.loads(node.party(party).audit(node=node.id)[-1]["detail"])["rules"]


def start(fleet):
    """With the policy in force and one boot released, so that a refusal is the policy's."""
    forget(fleet)
    policy(fleet, FIRMWARE)
    booted(fleet.soft)
    for party in PARTIES:
        released(fleet.soft, party, logs.firmware_log(SIGNED))
    forget(fleet)


def test_logs_are_asked_for_once(fleet):
    """Where a log is known that replays to the values, none is wanted: in the next boot, after a restart, of another node."""
    start(fleet)
    log = logs.firmware_log(SIGNED)
    for party in PARTIES:
        booted(fleet.soft)
        assert released(fleet.soft, party, log) == {"firmware": 0}
        booted(fleet.soft)
        assert released(fleet.soft, party, b"") == {}
        getattr(fleet, party).restart()
        booted(fleet.soft)
        assert released(fleet.soft, party, b"") == {}
    other = enrolled(fleet, swtpm=SoftTpm(fleet.test_ca))
    booted(other)
    for party in PARTIES:
        assert released(other, party, b"") == {}


def test_logs_of_a_real_tpm(fleet):
    """A software TPM that was extended event by event, as the firmware did."""
    start(fleet)
    log = logs.firmware_log(SIGNED)
    node = enrolled(fleet, swtpm=Swtpm(fleet.test_ca))
    node.swtpm.firmware = False
    node.reboot()
    logs.replay(node.tpm, log)
    for party in PARTIES:
        assert released(node, party, log) == {"firmware": 0}
    node.close()


def test_logs_use_nothing_up(fleet):
    """The same evidence goes on with its logs, once."""
    start(fleet)
    log = logs.firmware_log(SIGNED)
    for party in PARTIES:
        booted(fleet.soft)
        message = fresh(fleet.soft)
        before = len(getattr(fleet, party).audit(node=fleet.soft.id))
        first = fleet.soft.release(party, message)
        again = fleet.soft.release(party, message)
        assert first.problem == again.problem == "logs-wanted" and first.status == 409, first
        assert len(getattr(fleet, party).audit(node=fleet.soft.id)) == before
        expect(fleet.soft.release_logs(party, message, first.json["ticket"], log), 200)
        expect(fleet.soft.release_logs(party, message, first.json["ticket"], log), 409, "stale-nonce")
        expect(fleet.soft.release_logs(party, message, again.json["ticket"], log), 409, "stale-nonce")
        expect(fleet.soft.release(party, message), 409, "stale-nonce")


def test_logs_not_wanted_from_the_unproven(fleet):
    """Bad evidence, a closed gate, a suspended node: refused as ever, and no ticket."""
    start(fleet)
    node = fleet.soft
    for party in PARTIES:
        booted(node)
        message = fresh(node)
        message["signature"] = b64(node.tpm.sign(node.ak, b"other"))
        expect(node.release(party, message), 403, "bad-evidence")
        booted(node)
        node.tpm.event(15, b"gate")
        expect(node.release(party, fresh(node)), 403, "gate-closed")
        booted(node)
        expect(getattr(fleet, party).post(node.path("/suspend"), {}), 200)
        expect(node.release(party, fresh(node)), 403, "suspended")
        expect(getattr(fleet, party).post(node.path("/resume"), {}), 200)
    start(fleet)


def test_log_not_backed_by_the_quote(fleet):
    """The machine booted without Secure Boot and shows the log of a boot with it."""
    start(fleet)
    for party in PARTIES:
        booted(fleet.soft, UNSIGNED)
        rules = turned_down(fleet.soft, party, logs.firmware_log(SIGNED))
        assert any("secure-boot" in rule["rule"] for rule in rules), rules
        booted(fleet.soft, UNSIGNED)
        turned_down(fleet.soft, party, logs.firmware_log(UNSIGNED))
        booted(fleet.soft)
        assert released(fleet.soft, party, logs.firmware_log(SIGNED)) == {"firmware": 0}


def test_log_changed(fleet):
    """One bit of what PCR 7 was extended with, or of the data beside it; the log cut short; an event more."""
    start(fleet)
    log = logs.firmware_log(SIGNED)
    variable = "SecureBoot".encode("utf-16-le")
    at = log.index(variable) + len(variable)
    assert log[at] == 1
    changed = {"data": log[:at] + b"\0" + log[at + 1:],
               "digest": flip(log, next(d[logs.SHA256] for p, k, d, _ in logs.events(log) if p == 7)),
               "cut": log[:-100], "garbage": b"\xff" * 5000, "one byte": b"\0", "twice": log + log}
    for party in PARTIES:
        for name, bad in changed.items():
            booted(fleet.soft)
            message = fresh(fleet.soft)
            answer, _ = fleet.soft.release_with_logs(party, message, bad)
            assert answer.problem == "policy-refused", (name, answer)
        held = fleet.soft.shown(party)["held"]
        assert held["reason"] == "policy-refused" and held["rules"], held
        booted(fleet.soft)
        released(fleet.soft, party, log)
        assert fleet.soft.shown(party)["held"] is None


def flip(log, digest):
    at = log.index(digest)
    return log[:at] + bytes([log[at] ^ 1]) + log[at + 1:]


def test_log_of_other_pcrs(fleet):
    """PCR 7 is as in the log and PCR 12 is not: what an add-on put there no log explains."""
    start(fleet)
    for party in PARTIES:
        booted(fleet.soft)
        fleet.soft.tpm.event(12, b"an add-on")
        turned_down(fleet.soft, party, logs.firmware_log(SIGNED))
        booted(fleet.soft)
        fleet.soft.tpm.event(7, b"something more")
        turned_down(fleet.soft, party, logs.firmware_log(SIGNED))
        booted(fleet.soft)
        released(fleet.soft, party, logs.firmware_log(SIGNED))


def test_log_known_and_another_given(fleet):
    """What is known decides; a second log beside it, of whatever, changes nothing."""
    start(fleet)
    for party in PARTIES:
        booted(fleet.soft)
        message = fresh(fleet.soft)
        ticket = fleet.soft.release(party, message).json["ticket"]
        booted(fleet.soft)
        released(fleet.soft, party, logs.firmware_log(SIGNED))
        fleet.soft.tpm.reset_count += 1
        fleet.soft.boot()
        message = fresh(fleet.soft)
        assert fleet.soft.release_logs(party, message, ticket, logs.firmware_log(UNSIGNED)).problem == "unauthorized"
        expect(fleet.soft.release(party, message), 200)


def test_logs_none_sent(fleet):
    """Asked for a log, the node has none: refused by the rule, not asked for ever."""
    start(fleet)
    for party in PARTIES:
        booted(fleet.soft)
        turned_down(fleet.soft, party, b"")


# The ticket

def wanted(node, party):
    booted(node)
    message = fresh(node)
    answer = node.release(party, message)
    assert answer.problem == "logs-wanted", answer
    return message, answer.json["ticket"]


def test_log_ticket_forged(fleet):
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    for party in PARTIES:
        message, ticket = wanted(node, party)
        raw = unb64(ticket)
        assert len(raw) == 76
        for at in (0, 3, 4, 11, 12, 43, 44, 75):
            bad = bytearray(raw)
            bad[at] ^= 1
            expect(node.release_logs(party, message, b64(bytes(bad)), log), 401, "unauthorized")
        for bad in (None, "", "x", b64(bytes(76)), b64(raw[:75]), b64(raw + b"\0"), ticket + " "):
            expect(node.release_logs(party, message, bad, log), 401, "unauthorized")
        expect(node.release_logs(party, message, ticket, log), 200)


def test_log_ticket_of_another(fleet):
    """Another party's, another node's, of other evidence of the same node; a payload's."""
    start(fleet)
    node, other, log = fleet.soft, enrolled(fleet, swtpm=SoftTpm(fleet.test_ca)), logs.firmware_log(SIGNED)
    tickets = {party: wanted(node, party)[1] for party in PARTIES}
    for party in PARTIES:
        message, ticket = wanted(node, party)
        theirs = wanted(other, party)[1]
        for bad in (tickets[PARTIES[party == "tenant"]], theirs):
            expect(node.release_logs(party, message, bad, log), 401, "unauthorized")
        answer = node.release_logs(party, message, tickets[party], log)
        assert answer.problem == "unauthorized" and answer.status in (401, 403), answer
        expect(node.release_logs(party, message, ticket, log), 200)


def test_log_ticket_expired(fleet):
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    with fleet.nonces_of(TTL):
        held = {party: wanted(node, party) for party in PARTIES}
        time.sleep(TTL + 0.5)
        for party, (message, ticket) in held.items():
            expect(node.release_logs(party, message, ticket, log), 409, "stale-nonce")
    for party in PARTIES:
        message, ticket = wanted(node, party)
        expect(node.release_logs(party, message, ticket, log), 200)


def test_log_ticket_is_for_its_purpose(fleet):
    """A ticket opens the door for logs; what is sent with them has to be that very evidence."""
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    for party in PARTIES:
        message, ticket = wanted(node, party)
        for bad in ({**message, "purpose": "rotate"}, {**message, "nonce_tenant": b64(bytes(60)),
                                                       "nonce_verifier": b64(bytes(60))}):
            answer = node.release_logs(party, bad, ticket, log)
            assert answer.problem in ("stale-nonce", "malformed", "bad-evidence"), answer
        bad = {**message, "nk": b64(node.nk_point[:1] + node.nk_point[33:] + node.nk_point[1:33])}
        expect(node.release_logs(party, bad, ticket, log), 403, "bad-evidence")
        expect(node.release_logs(party, message, ticket, log), 409, "stale-nonce")
        message, ticket = wanted(node, party)
        expect(node.release_logs(party, message, ticket, log), 200)


# Size, and who makes a server read

def head_only(service, path, length, ticket):
    """The answer to a header whose body never comes."""
    connection = service.connection()
    try:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(length))
        if ticket:
            connection.putheader("Authorization", f"Tallyboot {ticket}")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_log_without_ticket_is_not_read(fleet):
    """Refused before its body is read, whatever its size."""
    start(fleet)
    node = fleet.soft
    for party in PARTIES:
        service = getattr(fleet, party)
        _, ticket = wanted(node, party)
        for length in (1, 20000, 30 * MIB, 1 << 40):
            for bad in (None, b64(bytes(76)), ticket[:-4] + "AAAA"):
                status, body = head_only(service, node.path("/release/logs"), length, bad)
                assert status == 401 and b"unauthorized" in body, (status, body)
        status, body = head_only(service, node.path("/release/logs"), 37 * MIB, ticket)
        assert status == 413 and b"too-large" in body, (status, body)


def test_log_oversized(fleet):
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    for party in PARTIES:
        message, ticket = wanted(node, party)
        expect(node.release_logs(party, message, ticket, bytes(4 * MIB + 1)), 413, "too-large")
        expect(node.release_logs(party, message, ticket, log, bytes(32 * MIB + 1)), 413, "too-large")
        expect(node.release_logs(party, {**message, "padding": "x" * 16384}, ticket, log), 413, "too-large")
        service, path = getattr(fleet, party), node.path("/release/logs")
        headers = {"Authorization": f"Tallyboot {ticket}"}
        body = encode_fields("{}", log, b"")
        for bad in (b"", b"\0", body[:-1], body + b"\0", encode_fields("{}", log)):
            expect(service.post(path, bad, cert=None, headers=headers), 400, "malformed")
        expect(service.post(path, b"\xff" * 12, cert=None, headers=headers), 413, "too-large")
        answer = service.post(path, encode_fields("{}", b"", b""), cert=None, headers=headers)
        expect(answer, 400, "malformed")
        expect(node.release_logs(party, message, ticket, log), 200)


def test_log_of_the_largest_size(fleet):
    """4 MiB and 32 MiB of nothing are taken, looked at, and refused by the policy; the service stands."""
    start(fleet)
    node = fleet.soft
    for party in PARTIES:
        message, ticket = wanted(node, party)
        expect(node.release_logs(party, message, ticket, bytes(4 * MIB), bytes(32 * MIB)), 403, "policy-refused")
        assert getattr(fleet, party).process.poll() is None


def test_logs_asked_for_too_often(fleet):
    """A proven node does not make a party read without end."""
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    party = fleet.tenant
    party.limits["answers-per-minute"] = 10  # logs: 2
    party.restart()
    try:
        for _ in range(2):
            wanted(node, "tenant")
        booted(node)
        answer = node.release("tenant", fresh(node))
        expect(answer, 429, "rate-limited")
        assert int(answer.headers["Retry-After"]) > 0
        party.restart()
        message, ticket = wanted(node, "tenant")
        expect(node.release_logs("tenant", message, ticket, b"", bytes(MIB)), 403, "policy-refused")
        expect(node.release_logs("tenant", message, ticket, b"", bytes(MIB)), 409, "stale-nonce")
        status, body = head_only(party, node.path("/release/logs"), 30 * MIB, ticket)
        assert status == 429 and b"rate-limited" in body, (status, body)
    finally:
        party.limits.update(NO_LIMIT)
        party.restart()
    booted(node)
    released(node, "tenant", log)


def with_image(log, digest):
    """The log with one more image started, and what is to be extended for it."""
    algorithms = sorted(logs.events(log)[0][2])
    event = (4).to_bytes(4, "little") + (0x80000003).to_bytes(4, "little") + len(algorithms).to_bytes(4, "little")
    for algorithm in algorithms:
        event += algorithm.to_bytes(2, "little") + (digest * 2)[:logs.SIZES[algorithm]]
    return log + event + bytes(4)


def test_known_logs_are_bounded(fleet):
    """A node with a genuine TPM and root fills nobody's database: its oldest logs make place."""
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(DIRECT)
    images = [bytes([i]) * 32 for i in range(1, 9)]
    known = [digests[logs.SHA256] for pcr, kind, digests, _ in logs.events(log) if (pcr, kind) == (4, 0x80000003)]
    policy(fleet, "[firmware]\n" + "".join(f"boot-loader = {digest.hex()}\n" for digest in known + images))

    def boots(image):
        booted(node, DIRECT)
        node.tpm.values["sha256"][4] = hashlib.sha256(node.tpm.values["sha256"][4] + image).digest()
        wanted_of_it = released(node, party, with_image(log, image))
        getattr(fleet, party).change("UPDATE known_logs SET used = used - 10")  # which is the oldest is told by seconds
        return wanted_of_it

    for party in PARTIES:
        assert [boots(image) for image in images] == [{"firmware": 0}] * 8
        rows = getattr(fleet, party).sql("SELECT COUNT(*), COUNT(DISTINCT node) FROM known_logs")
        assert rows == [(4, 1)], rows
        assert boots(images[7]) == {} and boots(images[0]) == {"firmware": 0}


def test_log_of_another_node_refuses_nobody(fleet):
    """A log that was kept says of these very values what the policy does not like, in parts that no digest binds, as another node
    could have written it: this node's own decides."""
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    for party in PARTIES:
        booted(node)
        released(node, party, log)
        variable = "SecureBoot".encode("utf-16-le")
        at = log.index(variable) + len(variable)
        spoiled = log[:at] + b"\0" + log[at + 1:]
        assert node.party(party).change("UPDATE known_logs SET log = ?", spoiled) == 1
        booted(node)
        assert released(node, party, log) == {"firmware": 0}
        booted(node)
        assert released(node, party, log) == {}  # and has taken its place
        node.party(party).change("UPDATE known_logs SET log = ?", logs.firmware_log(UNSIGNED))
        booted(node)
        assert released(node, party, log) == {"firmware": 0}
        turned_down_logs_are_not_kept(node, party)


def turned_down_logs_are_not_kept(node, party):
    before = node.party(party).sql("SELECT COUNT(*) FROM known_logs")
    booted(node, UNSIGNED)
    turned_down(node, party, logs.firmware_log(UNSIGNED))
    assert node.party(party).sql("SELECT COUNT(*) FROM known_logs") == before


def test_log_race(fleet):
    """The same evidence with its logs many times at once, at two processes: answered once."""
    start(fleet)
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    for party in fleet.parties:
        other = fleet.replica(party)
        message, ticket = wanted(node, party.role)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda i, a=party, b=other, m=message, t=ticket: node.release_logs((a, b)[i % 2], m, t, log),
                                    range(6)))
        good = [answer for answer in answers if answer.status == 200]
        assert len(good) == 1 and {answer.problem for answer in answers} <= {None, "stale-nonce", "unavailable"}, answers
        other.stop()


# IMA

A, B, C = b"program a", b"program b", b"program c"


def ima_policy(*contents):
    return FIRMWARE + "[ima]\n" + "".join(f"digest = {hashlib.sha256(one).hexdigest()}\n" for one in contents)


def ima_of(node, *files, name=SIGNED):
    booted(node, name)
    return with_files(logs.ImaList(node.tpm.values["sha256"]), *files)


def with_files(ima, *files):
    for path, content in files:
        ima.file(path, content)
    return ima


def ran(node, *files, after=None):
    """These files ran, after those of another list of this boot, as PCR 10 knows; the list of them."""
    ima = with_files(after, *files) if after else ima_of(node, *files)
    node.tpm.values["sha256"][10] = ima.pcr
    return ima


def ima_start(fleet, *contents):
    start(fleet)
    policy(fleet, ima_policy(*contents))


def test_ima_list(fleet):
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    ima_start(fleet, A, B)
    for party in PARTIES:
        ima = ran(node, ("/bin/a", A), ("/bin/b", B))
        assert released(node, party, log, ima.since) == {"firmware": 0, "ima": 0}
        ima = ran(node, ("/bin/a", A), ("/bin/c", C))
        rules = turned_down(node, party, log, ima.since)
        assert any("/bin/c" in rule["why"] for rule in rules), rules


def test_ima_list_not_backed_by_the_quote(fleet):
    """The list of what should have run, and the PCR 10 of what did; the list without an entry; with two swapped; of another
    boot."""
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    ima_start(fleet, A, B)
    for party in PARTIES:
        for change in (lambda e: e[:-1], lambda e: e[:1] + e[2:], lambda e: [e[0], e[2], e[1], e[3]], lambda e: []):
            ima = ran(node, ("/bin/a", A), ("/bin/c", C), ("/bin/b", B))
            ima.entries = change(ima.entries)
            turned_down(node, party, log, ima.since)
        shown = ima_of(node, ("/bin/a", A), ("/bin/b", B))
        ran(node, ("/bin/a", A), ("/bin/c", C))
        turned_down(node, party, log, shown.since)
        values = [bytes(32) if pcr == 4 else value for pcr, value in enumerate(node.tpm.values["sha256"])]
        other = ran(node, ("/bin/a", A), after=logs.ImaList(values))  # boot_aggregate of another boot chain
        rules = turned_down(node, party, log, other.since)
        assert any("boot_aggregate" in rule["rule"] for rule in rules), rules


def test_ima_list_appended(fleet):
    """In one boot only what was appended is sent again; and the first of it is judged like all others."""
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    ima_start(fleet, A, B)
    for party in PARTIES:
        ima = ran(node, ("/bin/a", A))
        assert released(node, party, log, ima.since) == {"firmware": 0, "ima": 0}
        assert released(node, party, log, ima.since) == {}  # nothing more has run
        ran(node, ("/bin/b", B), after=ima)
        assert released(node, party, log, ima.since) == {"ima": 2}
        ran(node, ("/bin/b", A), after=ima)
        assert released(node, party, log, lambda first, of=ima: of.since(0)) == {"ima": 3}  # all of it is understood, too
        ran(node, ("/bin/c", C), after=ima)
        turned_down(node, party, log, ima.since)
        turned_down(node, party, log, ima.since)  # and is not forgotten as having been seen


def test_ima_list_in_the_next_boot(fleet):
    """What was replayed in one boot is nothing in the next; the very same value is known."""
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    ima_start(fleet, A, B)
    for party in PARTIES:
        ima = ran(node, ("/bin/a", A), ("/bin/b", B))
        released(node, party, log, ima.since)
        ima = ran(node, ("/bin/a", A), ("/bin/b", B))
        assert released(node, party, log, ima.since) == {}
        ima = ran(node, ("/bin/b", B))
        assert released(node, party, log, ima.since) == {"ima": 0}


def test_ima_list_after_a_policy_change(fleet):
    """What an older policy allowed is judged again, all of it."""
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    ima_start(fleet, A, B)
    for party in PARTIES:
        ima = ran(node, ("/bin/a", A), ("/bin/b", B))
        released(node, party, log, ima.since)
        policy(fleet, ima_policy(B), [party])
        turned_down(node, party, log, ima.since)
        policy(fleet, ima_policy(A, B, C), [party])
        assert released(node, party, log, ima.since) == {"ima": 0}


def test_policy_changed_between(fleet):
    """A log that nobody asked for is wanted by now: a new challenge, not a refusal."""
    node, log = fleet.soft, logs.firmware_log(SIGNED)
    start(fleet)
    for party in PARTIES:
        booted(node)
        ima = ran(node, ("/bin/a", A))
        message = fresh(node)
        ticket = node.release(party, message).json["ticket"]
        policy(fleet, ima_policy(A), [party])
        answer = node.release_logs(party, message, ticket, log)
        assert answer.problem == "stale-nonce", answer
        released(node, party, log, ima.since)
        policy(fleet, FIRMWARE, [party])


def test_replayed_ima_state_is_gone_with_the_node(fleet):
    node, log = enrolled(fleet, swtpm=SoftTpm(fleet.test_ca)), logs.firmware_log(SIGNED)
    ima_start(fleet, A)
    ima = ran(node, ("/bin/a", A))
    for party in PARTIES:
        released(node, party, log, ima.since)
    for party in PARTIES:
        expect(getattr(fleet, party).delete(node.path()), 204)
        refused("unknown-node", node.challenge, party, "boot")
        assert getattr(fleet, party).sql("SELECT COUNT(*) FROM ima_states WHERE node = ?", node.id) == [(0,)]


if __name__ == "__main__":
    main(Setup)
