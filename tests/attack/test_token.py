#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nodes without a TPM under attack (docs/protocol.md, 13): what a token signed says who asks, now, of whom and for which key; it
never says it for a node that has a TPM, nor where no policy wants it. Two processes of each party on one store."""

import concurrent.futures
import http.client
import json
import os
import sqlite3
import sys
import time
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import hpke
import tokens
from cases import expect, main, refused
from node import PARTIES, Node, b64, ready, unb64
from services import Fleet, encode_fields
from softtpm import SoftTpm
from token_node import TokenNode, enrolled_token, policy, token_group


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.both = {party.role: (party, self.replica(party)) for party in self.parties}
        self.fast = token_group(self, "0")
        self.node = enrolled_token(self, self.fast)


def evidence(node, purpose="boot", body=None):
    return node.evidence(purpose, node.challenges(purpose), body)


def signed(node, message, what):
    """The message with the token's signature of something else."""
    return {**message, "token_signature": b64(tokens.sign(node.key, what))}


def refuses(node, message, problem="bad-evidence", status=403, parties=PARTIES):
    for party in parties:
        expect(node.release(party, message), status, problem)


def why(fleet, node, party):
    """The fault that a party's journal names of this node's last evidence."""
    lines = [line for line in getattr(fleet, party).log_text().splitlines() if f"Node {node.id}" in line
             and "evidence refused" in line]
    return lines[-1].rsplit(" ", 1)[1].rstrip(".")


def other_nk(node):
    node.nk = ec.generate_private_key(ec.SECP256R1())


def last(node, party):
    record = node.party(party).audit(node=node.id)[-1]
    return record["event"], json.loads(record["detail"])


def test_invariant_2_tpm_nodes_id_with_token_evidence(fleet):
    """A node that registered with a TPM is never released on a token's word: not by its own AK's key, not by the attacker's,
    whatever the policy of its group says of tokens."""
    fleet.group("tpm")
    node = ready(fleet, group="tpm", swtpm=SoftTpm(fleet.test_ca))
    text = fleet.tenant.get("/v1/groups/tpm/policy").json["text"]
    policy(fleet, text + "\n[release]\ntoken-evidence = yes\ntoken-interval = 0\n", "tpm")
    for key in (node.swtpm.ak_keys[node.template], tokens.make("P-256"), tokens.make("RSA-2048")):
        thief = TokenNode(fleet, key=key)
        thief.id = node.id
        message = evidence(thief)
        refuses(thief, message)
        for party in PARTIES:
            assert why(fleet, node, party) == "kind"
    node.unlock()


def test_invariant_2_quote_of_a_token_node(fleet):
    """By the TPM of an attacker, and by a program that has the token's key and makes what a TPM would."""
    node = fleet.node
    liar = Node(fleet, SoftTpm(fleet.test_ca))
    for key in (liar.swtpm.ak_keys[liar.template], node.key):
        liar.swtpm.ak_keys[liar.template] = key
        liar.id = node.id
        message = evidence(liar)
        refuses(liar, message)
        for party in PARTIES:
            assert why(fleet, node, party) == "kind"
        refuses(liar, {**message, "token_signature": b64(bytes(64))}, "malformed", 400)


def test_invariant_2_signature_by_another_key(fleet):
    node = fleet.node
    for kind in tokens.TYPES[:3]:
        thief = TokenNode(fleet, kind)
        thief.id = node.id
        refuses(thief, evidence(thief))
    node.reboot()
    node.unlock()


def test_invariant_2_prefix_missing(fleet):
    """What the key may have signed for others is nobody's evidence: the fields alone, their digest, another prefix."""
    node = fleet.node
    node.reboot()
    message = evidence(node)
    right = node.message(message)
    for wrong in (right[64:], b"\0" * 64 + right[64:], right[:63] + b" " + right[64:], b"x" + right):
        refuses(node, signed(node, message, wrong))
    register = tokens.register_message(node.id, unb64(message["nonce_tenant"]))
    refuses(node, signed(node, message, register))
    for party in PARTIES:
        expect(node.release(party, message), 200)


def test_invariant_1_nk_is_in_the_signed_message(fleet):
    """Halves go to the key that the token named and to no other."""
    node = fleet.node
    node.reboot()
    message = evidence(node)
    thief = ec.generate_private_key(ec.SECP256R1())
    refuses(node, {**message, "nk": b64(hpke.point(thief.public_key()))})
    for party in PARTIES:
        answer = expect(node.release(party, message), 200).json
        node.open(party, "boot", message, answer)
        own, node.nk = node.nk, thief
        try:
            node.open(party, "boot", message, answer)
            raise AssertionError("opened with another key")
        except InvalidTag:
            pass
        node.nk = own


def test_invariant_1_sealed_to_this_evidence(fleet):
    """The answer is bound to party, node, purpose and the whole signed message."""
    node = fleet.node
    node.reboot()
    message = evidence(node)
    answer = expect(node.release("tenant", message), 200).json
    later = evidence(node)
    for party, purpose, of in (("verifier", "boot", message), ("tenant", "rotate", message), ("tenant", "boot", later)):
        try:
            node.open(party, purpose, of, answer)
            raise AssertionError((party, purpose))
        except InvalidTag:
            pass
    info = encode_fields("tallyboot half v1", "tenant", node.id, "boot")
    context = hpke.receiver(node.nk, unb64(answer["enc"]), info, None, b"")
    for aad in (b"", tokens.evidence_fields(node.id, "boot", [b"", b""])):
        try:
            context.open(aad, unb64(answer["halves"]))
            raise AssertionError("not bound")
        except InvalidTag:
            pass
    node.open("tenant", "boot", message, answer)


def test_invariant_5_token_evidence_replayed(fleet):
    """At the same process, at the other one, after a restart."""
    node = fleet.node
    node.reboot()
    message = evidence(node)
    for party in PARTIES:
        one, other = fleet.both[party]
        expect(node.release(one, message), 200)
        for service in (one, other):
            expect(node.release(service, message), 409, "stale-nonce")
        other.restart()
        expect(node.release(other, message), 409, "stale-nonce")


def test_invariant_5_nonce_of_the_other_party(fleet):
    """A nonce is its maker's; and both are signed, so neither is exchanged behind the token's back."""
    node = fleet.node
    node.reboot()
    challenges = node.challenges("boot")
    swapped = {"tenant": challenges["verifier"], "verifier": challenges["tenant"]}
    refuses(node, node.evidence("boot", swapped), "stale-nonce", 409)
    both_of_one = {"tenant": challenges["verifier"], "verifier": challenges["verifier"]}
    refuses(node, node.evidence("boot", both_of_one), "stale-nonce", 409, ("tenant",))
    message, fresh = node.evidence("boot", challenges), node.challenges("boot")
    for party in PARTIES:
        refuses(node, {**message, f"nonce_{party}": fresh[party]["nonce"]})


def test_invariant_5_nonce_of_another_node(fleet):
    other = enrolled_token(fleet, fleet.fast)
    message = fleet.node.evidence("boot", other.challenges("boot"))
    refuses(fleet.node, message, "stale-nonce", 409)
    refuses(other, message)


def test_invariant_1_other_purpose(fleet):
    """What was signed for one purpose is nothing for another, under nonces of either."""
    node = fleet.node
    node.reboot()
    body = {"keys": []}
    for made, shown in (("enroll", "rotate"), ("rotate", "enroll"), ("boot", "enroll")):
        nonces = node.challenges(shown)
        message = node.evidence(made, nonces, None if made == "boot" else body)
        message = {**message, "purpose": shown, "body": b64(json.dumps(body).encode())}
        if shown == "rotate":
            raw = json.dumps({"key": next(iter(node.keys)), "generation": 2}).encode()
            message = signed(node, {**message, "body": b64(raw)}, tokens.evidence_message(
                node.id, made, [unb64(nonces[party]["nonce"]) for party in PARTIES], nk=node.nk_point, body=raw))
        refuses(node, message)
    message = evidence(node)
    for purpose in ("enroll", "rotate"):
        refuses(node, {**message, "purpose": purpose, "body": b64(b'{"keys":[]}')},
                *(("stale-nonce", 409) if purpose == "enroll" else ("malformed", 400)))


def test_invariant_1_body_changed(fleet):
    node = fleet.node
    node.reboot()
    key = "cd" * 16
    message = evidence(node, "enroll", {"keys": []})
    refuses(node, {**message, "body": b64(json.dumps({"keys": [{"id": key, "kind": "volumes"}]}).encode())})
    assert key not in [one["id"] for one in node.shown("tenant")["keys"]]


def test_invariant_1_no_live_half_but_for_boot(fleet):
    """A token's word for purposes enroll and rotate gives no half that opens anything."""
    node = enrolled_token(fleet, fleet.fast)
    key = next(iter(node.keys))
    refused("conflict", node.ask, "enroll", {"keys": [{"id": key, "kind": "volumes"}]})
    refused("conflict", node.ask, "rotate", {"key": key, "generation": 1})
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {"key": key}), 200)
    refused("conflict", node.ask, "rotate", {"key": key, "generation": 1})
    assert all(half["state"] == "staged" for one in node.ask("rotate", {"key": key, "generation": 2}).values()
               for half in one[0].values())


def lie(fleet, node, key):
    """The registrar names another key for this id."""
    with sqlite3.connect(fleet.registrar.database, timeout=120) as database:
        document = json.dumps({"token_public": b64(tokens.public(key))})
        assert database.execute("UPDATE node SET document = ? WHERE id = ?", [document, node.id]).rowcount == 1
    database.close()


def test_invariant_3_key_changed_at_the_registrar(fleet):
    """Before enrollment each party sees that the id is another key's; after it nobody asks the registrar."""
    victim, thief = TokenNode(fleet), TokenNode(fleet)
    expect(victim.register(), 201)
    lie(fleet, victim, thief.key)
    thief.id = victim.id
    for party in PARTIES:
        refused("bad-evidence", thief.challenge, party, "enroll")
        expect(getattr(fleet, party).get(victim.path()), 404, "unknown-node")

    victim = enrolled_token(fleet, fleet.fast)
    lie(fleet, victim, thief.key)
    thief.id = victim.id
    for purpose, body in (("boot", None), ("enroll", {"keys": []})):
        refuses(thief, evidence(thief, purpose, body))
    victim.unlock()


def test_invariant_3_registrar_makes_a_token_of_a_tpm_node(fleet):
    """And of both kinds one: a party takes an answer with both for none."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    expect(node.register(), 201)
    ak = node.swtpm.ak_keys[node.template]
    thief = TokenNode(fleet, key=ak)
    thief.id = node.id
    lie(fleet, node, ak)
    for party in PARTIES:
        refused("bad-evidence", thief.challenge, party, "enroll")
    with sqlite3.connect(fleet.registrar.database, timeout=120) as database:
        document = {**node.registration(), "token_public": b64(tokens.public(ak))}
        database.execute("UPDATE node SET document = ? WHERE id = ?", [json.dumps(document), node.id])
    database.close()
    for party in PARTIES:
        refused("bad-evidence", thief.challenge, party, "enroll")


def test_invariant_4_registration_without_the_key(fleet):
    """No proof but a signature under this registrar's challenge for this key, in its time, registers; nothing else leaves a
    trace."""
    victim, thief = TokenNode(fleet), TokenNode(fleet)
    begun, other = expect(victim.register_begin(), 200).json, expect(thief.register_begin(), 200).json
    own = unb64(begun["challenge"])

    def proof(key, challenge, node_id=victim.id):
        return tokens.sign(key, tokens.register_message(node_id, challenge))

    forged = own[:28] + bytes(32)
    fresh = own[:12] + bytes(16) + own[28:]
    for challenge, key, problem in ((own, thief.key, "bad-evidence"), (forged, victim.key, "bad-evidence"),
                                    (fresh, victim.key, "bad-evidence"),
                                    (unb64(other["challenge"]), victim.key, "bad-evidence"), (own[:28], victim.key, "malformed")):
        expect(victim.register_end({**begun, "challenge": b64(challenge)}, proof(key, challenge)),
               400 if problem == "malformed" else 403, problem)
    expect(victim.register_end(begun, tokens.sign(victim.key, tokens.register_message(victim.id, own)[64:])), 403, "bad-evidence")
    expect(victim.register_end(begun, proof(victim.key, own, thief.id)), 403, "bad-evidence")
    expect(fleet.registrar.get(victim.path()), 404, "unknown-node")
    assert not fleet.registrar.audit(node=victim.id)
    expect(victim.register_end(begun), 201)


def test_invariant_4_id_is_the_key(fleet):
    """Activating another id with a proof that names it."""
    thief, victim = TokenNode(fleet), TokenNode(fleet)
    begun = expect(thief.register_begin(), 200).json
    proof = tokens.sign(thief.key, tokens.register_message(victim.id, unb64(begun["challenge"])))
    own, thief.id = thief.id, victim.id
    expect(thief.register_end(begun, proof), 400, "malformed")
    for node_id in (own, victim.id):
        expect(fleet.registrar.get(f"/v1/nodes/{node_id}"), 404, "unknown-node")


def test_revoked_key_under_another_registration(fleet):
    """A key has one encoding, so one id and one digest. Revoked, it is refused at the registrar; and at each party, also one that
    has forgotten the node, or that never knew it."""
    node = enrolled_token(fleet, fleet.fast)
    for service in fleet.services:
        expect(service.post(node.path("/revoke"), {}), 200)
    point = node.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    for public in (compressed, tokens.public(node.key) + b"\0"):
        expect(node.register_begin(token_public=b64(public)), 403, "bad-evidence")
    expect(node.register(), 403, "revoked")
    refuses(node, evidence(node), "revoked")

    assert fleet.registrar.change("UPDATE node SET state = 'active' WHERE id = ?", node.id) == 1
    for party in fleet.parties:
        for table, column in (("held", "node"), ("generations", "node"), ("keys", "node"), ("nodes", "id")):
            party.change(f"DELETE FROM {table} WHERE {column} = ?", node.id)
        assert party.sql("SELECT node FROM revoked_eks WHERE ek_sha256 = ?", node.ek_digest) == [(node.id,)]
    for party in PARTIES:
        refused("revoked", node.ask, "enroll", {"keys": []}, fleet.join_token(fleet.fast), (party,))


def test_policy_without_token_evidence(fleet):
    """Not in a group without a policy, not where the policy is silent or says no; not by an operator's word on the next boot or a
    group that accepts the first boot unseen, which are about values."""
    group = "silent"
    fleet.group(group, accept_first_boot=True)
    node = enrolled_token(fleet, group)
    texts = (None, "", "[release]\ntoken-interval = 0\n", "[release]\ntoken-evidence = no\n",
             "[set s]\nbank = sha256\npcr 15 = zero\n[release]\nnetworks = 127.0.0.0/8\n")
    for text in texts:
        if text is not None:
            policy(fleet, text, group)
        for party in PARTIES:
            expect(getattr(fleet, party).post(node.path("/approve"), {"next_boot": True}), 409, "conflict")
            getattr(fleet, party).change("UPDATE nodes SET next_boot = ? WHERE id = ?", int(time.time()) + 3600, node.id)
            refused("pending-policy", node.ask, "boot", order=(party,))
            refused("pending-policy", node.ask, "rotate", {"key": next(iter(node.keys)), "generation": 2}, order=(party,))
    policy(fleet, "[release]\ntoken-evidence = yes\n", group)
    node.unlock()


def test_interval_between_answers_to_different_keys(fleet):
    """Whoever holds the token for a moment gets one answer. Also from the other process, after a restart, and for purpose rotate;
    what was refused is in the log. The key that was answered is answered on."""
    node = enrolled_token(fleet, token_group(fleet, "1h"))
    key = next(iter(node.keys))
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {"key": key}), 200)
    node.unlock()
    first = node.nk
    for party in PARTIES:
        one, other = fleet.both[party]
        other_nk(node)
        for service in (one, other):
            answer = expect(node.release(service, evidence(node)), 429, "rate-limited")
            assert 3000 < int(answer.headers["Retry-After"]) <= 3600, answer.headers
        assert last(node, party) == ("refusal", {"purpose": "boot", "evidence": "token", "problem": "rate-limited",
                                                 "why": "token-interval"})
        one.restart()
        message = evidence(node)
        expect(node.release(one, message), 429, "rate-limited")
        expect(node.release(one, message), 409, "stale-nonce")
        expect(node.release(one, evidence(node, "rotate", {"key": key, "generation": 2})), 429, "rate-limited")
        node.nk = first
        for service in (one, other):
            expect(node.release(service, evidence(node)), 200)
        began = int(time.time() * 1000) - 3600 * 1000
        assert one.change("UPDATE nodes SET boot_time = ? WHERE id = ?", began, node.id) == 1
        other_nk(node)
        expect(node.release(other, evidence(node)), 200)
        node.nk = first
        expect(node.release(one, evidence(node)), 429, "rate-limited")


def test_interval_and_clocks(fleet):
    """The other process's clock may be ahead of this one's by minutes: then that answer was just now. One that is further off was
    wrong, and keeps nobody out."""
    node = enrolled_token(fleet, token_group(fleet, "10s"))
    node.unlock()
    for party in PARTIES:
        one, _ = fleet.both[party]
        for ahead, status in ((60, 429), (280, 429), (600, 200)):
            began = int((time.time() + ahead) * 1000)
            assert one.change("UPDATE nodes SET boot_time = ? WHERE id = ?", began, node.id) == 1
            other_nk(node)
            answer = node.release(one, evidence(node))
            assert answer.status == status, (party, ahead, answer)
            if status == 429:
                assert answer.problem == "rate-limited" and 0 < int(answer.headers["Retry-After"]) <= 10


def test_interval_raced_at_two_processes(fleet):
    """Of many keys at once one is answered."""
    node = enrolled_token(fleet, token_group(fleet, "1h"))
    for party in PARTIES:
        messages = []
        for _ in range(8):
            other_nk(node)
            messages.append(evidence(node))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda what: node.release(fleet.both[party][what[0] % 2], what[1]), enumerate(messages)))
        assert sorted(one.status for one in answers) == [200] + [429] * 7, answers


def test_waiting_tokens_are_bounded(fleet):
    """Anybody makes keys: of nodes that nobody approved so many are kept."""
    first = TokenNode(fleet)
    expect(first.register(), 201)
    for party in fleet.parties:
        refused("pending-approval", first.ask, "enroll", {"keys": []}, order=(party.role,))
        (waiting,), = party.sql("SELECT COUNT(*) FROM nodes WHERE state = 'pending'")
        with sqlite3.connect(party.database, timeout=120) as database:
            for i in range(256 - waiting):
                database.execute(
                    "INSERT INTO nodes (id, ek_sha256, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, revision, "
                    "token_public) SELECT ?, ?, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, revision, "
                    "token_public FROM nodes WHERE id = ?", [f"{i}", f"{i}", first.id])
        database.close()
    late = TokenNode(fleet)
    expect(late.register(), 201)
    for party in PARTIES:
        service = getattr(fleet, party)
        refused("unavailable", late.ask, "enroll", {"keys": []}, order=(party,))
        expect(service.get(late.path()), 404, "unknown-node")

        # an hour later: the one that is gone for longest makes place; one that asks, or was approved, never does
        now = int(time.time())
        service.change("UPDATE nodes SET registered = ?, seen = 0 WHERE id IN ('3', ?)", now - 9000, fleet.node.id)
        service.change("UPDATE nodes SET registered = ?, seen = 0 WHERE id = ?", now - 9500, first.id)
        service.change("UPDATE nodes SET registered = ?, seen = ? WHERE id = '4'", now - 9900, now - 3000)
        service.change("UPDATE nodes SET registered = ?, seen = ? WHERE id = '5'", now - 9900, now - 3700)
        refused("pending-approval", first.ask, "enroll", {"keys": []}, order=(party,))
        refused("pending-approval", late.ask, "enroll", {"keys": []}, order=(party,))
        kept = {row[0] for row in service.sql("SELECT id FROM nodes")}
        gone = {"3", "4", "5", first.id, late.id, fleet.node.id} - kept
        assert gone == {"3"}, gone
        assert service.sql("SELECT COUNT(*) FROM nodes WHERE state = 'pending'") == [(256,)]
        record = [one for one in service.audit() if one["node"] == "3"][-1]
        assert record["event"] == "delete" and json.loads(record["detail"])["why"] == "gone, and others wait", record
        service.change("DELETE FROM nodes WHERE length(id) < 52")


def from_elsewhere(service):
    """A context with which requests to it come from another address."""
    def connection(cert=None, timeout=30):
        return http.client.HTTPSConnection("127.0.0.1", service.port, context=service.context(cert), timeout=timeout,
                                           source_address=("127.0.0.2", 0))
    return mock.patch.object(service, "connection", connection)


def test_new_tokens_of_a_network(_):
    """So many new keys in an hour from one address, at the registrar and at each party. Who was taken goes on, who was approved
    ahead is not counted, and another network is another's."""
    with Fleet() as fleet:
        fleet.group()
        for service in fleet.services:
            service.limits["uncertified-per-hour"] = 2
            service.restart()
        one, two, three, four, five = (TokenNode(fleet) for _ in range(5))
        for node in (one, two, one):
            expect(node.register(), 201)
        for _ in range(2):
            answer = expect(three.register(), 429, "rate-limited")
            assert 3000 < int(answer.headers["Retry-After"]) <= 3601, answer.headers
        expect(fleet.registrar.get(three.path()), 404, "unknown-node")
        expect(one.register(), 201)
        expect(Node(fleet, SoftTpm(fleet.test_ca)).register(), 201)
        fleet.registrar.limits["uncertified-per-hour"] = 1000
        fleet.registrar.restart()
        for node in (three, four, five):
            expect(node.register(), 201)
        for party in fleet.parties:
            for node in (one, two, one, two):
                refused("pending-approval", node.ask, "enroll", {"keys": []}, order=(party.role,))
            answer = refused("rate-limited", three.ask, "enroll", {"keys": []}, order=(party.role,)).answer
            assert 3000 < int(answer.headers["Retry-After"]) <= 3601, answer.headers
            expect(party.get(three.path()), 404, "unknown-node")
        four.enroll(join=fleet.join_token("default"))
        for party in fleet.parties:
            with from_elsewhere(party):
                refused("pending-approval", five.ask, "enroll", {"keys": []}, order=(party.role,))


def test_registered_tokens_are_bounded(_):
    """Where the limit is reached the registrar takes no more of them, and TPMs as before; where it is 0, it and each party take
    none."""
    with Fleet() as fleet:
        fleet.group()
        fleet.registrar.limits["token-nodes"] = 1
        fleet.registrar.restart()
        one, two = TokenNode(fleet), TokenNode(fleet, "P-384")
        expect(one.register(), 201)
        answer = expect(two.register(), 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        expect(one.register(), 201)
        expect(fleet.registrar.get(two.path()), 404, "unknown-node")
        expect(Node(fleet, SoftTpm(fleet.test_ca)).register(), 201)
        expect(fleet.registrar.delete(one.path()), 204)
        expect(two.register(), 201)
        for service in fleet.services:
            service.limits["token-nodes"] = 0
            service.restart()
        expect(one.register_begin(), 403, "bad-evidence")
        for party in PARTIES:
            refused("bad-evidence", two.challenge, party, "enroll")


if __name__ == "__main__":
    main(Setup)
