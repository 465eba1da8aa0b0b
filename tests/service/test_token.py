#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nodes without a TPM at registrar, tenant and verifier: a life with each type of key, what a policy says of them, what operators
see. The node is a second implementation (tests/lib/token_node.py)."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import tokens
from cases import expect, main, refused
from node import PARTIES, ready, unb64
from services import Fleet
from softtpm import SoftTpm
from token_node import TokenNode, enrolled_token, policy, token_group

SET = "[set s]\nbank = sha256\npcr 4 = " + "11" * 32 + "\n"


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.fast = token_group(self, "0")


def last(node, party, event):
    return [json.loads(record["detail"]) for record in node.party(party).audit(node=node.id) if record["event"] == event][-1]


def same_key(node, key, generation=1):
    """K_b of this boot."""
    return node.keys[key][generation]


def test_a_life_with_each_type_of_key(fleet):
    """Registration, approval by a person, enrollment, confirm, boots; base mode, no credential, the id is the key's digest."""
    for kind in tokens.TYPES:
        node = TokenNode(fleet, kind)
        done = expect(node.register(), 201)
        assert done.json == {"id": node.id, "code": node.code}, done
        expect(node.register(), 201)  # once more is the same

        key = "%032x" % len(kind)
        body = {"keys": [{"id": key, "kind": "volumes"}]}
        for party in PARTIES:
            refused("pending-approval", node.ask, "enroll", body, order=(party,))
            assert node.shown(party)["state"] == "pending" and node.shown(party)["token"] == kind
            assert node.shown(party)["tpm"] is None
        node.approve(group=fleet.fast)
        node.join_halves(node.ask("enroll", body))
        first = same_key(node, key)
        node.confirm(key)
        for _ in range(2):
            node.reboot()
            node.keys = {}
            node.unlock()
            assert same_key(node, key) == first
        for party in PARTIES:
            shown = node.shown(party)
            assert shown["boot"] is None and shown["seen"] and shown["code"] == node.code and shown["ek_sha256"] == node.ek_digest
            released = last(node, party, "release")
            assert released["evidence"] == "token" and released["purpose"] == "boot" and "boot" not in released, released
        assert last(node, "tenant", "enroll")["token"] == kind


def test_registrar_keeps_nothing_before_proof(fleet):
    node = TokenNode(fleet)
    begun = expect(node.register_begin(), 200).json
    assert begun["id"] == node.id and len(unb64(begun["challenge"])) == 60
    expect(fleet.registrar.get(node.path()), 404, "unknown-node")
    refused_proof = tokens.sign(node.key, tokens.register_message(node.id, unb64(begun["challenge"])[:-1] + b"\0"))
    expect(node.register_end(begun, refused_proof), 403, "bad-evidence")
    expect(fleet.registrar.get(node.path()), 404, "unknown-node")
    expect(node.register_end(begun), 201)
    shown = expect(fleet.registrar.get(node.path()), 200).json
    assert shown["token"] == "P-256" and unb64(shown["token_public"]) == tokens.public(node.key) and "ek_public" not in shown
    assert [one["token"] for one in fleet.registrar.get("/v1/nodes").json["nodes"] if one["id"] == node.id] == ["P-256"]
    assert [json.loads(record["detail"]) for record in fleet.registrar.audit(node=node.id)] == [{"token": True}]


def test_listed_key_is_approved(fleet):
    node = TokenNode(fleet, "P-384")
    expect(node.register(), 201)
    fleet.group("listed", ek_sha256=[node.ek_digest])
    policy(fleet, "[release]\ntoken-evidence = yes\n", "listed")
    key = node.enroll()[0]
    node.confirm(key)
    node.reboot()
    node.unlock()
    assert node.shown("tenant")["group"] == "listed"


def test_policy_decides(fleet):
    """Without a policy, and with one that says nothing of tokens, the node waits; once it was released to, a policy that takes
    that back is a refusal. Networks count as for every node."""
    group = "undecided"
    fleet.group(group)
    node = enrolled_token(fleet, group)
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
        held = node.shown(party)["held"]
        assert held["reason"] == "pending-policy" and held["pcrs"] == {}, held
        assert [rule["rule"] for rule in held["rules"]] == ["[release] token-evidence"], held
    policy(fleet, "[release]\ntoken-evidence = no\n", group)
    refused("pending-policy", node.unlock)
    policy(fleet, "[release]\ntoken-evidence = yes\nnetworks = 10.0.0.0/8\n", group)
    refused("policy-refused", node.unlock)
    policy(fleet, "[release]\ntoken-evidence = yes\n", group)
    node.unlock()
    assert node.shown("tenant")["held"] is None
    policy(fleet, "[release]\nnetworks = 127.0.0.0/8\n", group)
    node.reboot()
    refused("policy-refused", node.unlock)


def test_rules_on_values_do_not_touch_a_token(fleet):
    """Sets and logs are of machines with a TPM; no logs are asked for."""
    group = "mixed-rules"
    fleet.group(group)
    policy(fleet, SET + "[firmware]\nsecure-boot = on\n[ima]\nrequire = yes\n[release]\ntoken-evidence = yes\n", group)
    enrolled_token(fleet, group).unlock()


def test_same_nk_is_answered_again_at_once(fleet):
    node = enrolled_token(fleet, token_group(fleet))
    first = node.ask("boot")
    again = node.ask("boot")
    assert {name: one[0] for name, one in first.items()} == {name: one[0] for name, one in again.items()}
    assert last(node, "tenant", "release")["repeat"] is True


def test_rotation(fleet):
    """Marked at both, purpose rotate after a boot, confirm, and the older generation retired after the next boot."""
    node = enrolled_token(fleet, fleet.fast)
    key = next(iter(node.keys))
    old = same_key(node, key)
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {"key": key}), 200)
    opened = node.unlock()
    assert all(one[1]["rotate"] == [{"id": key, "highest": 1}] for one in opened.values())
    node.join_halves(node.ask("rotate", {"key": key, "generation": 2}))
    node.confirm(key, generation=2)
    node.reboot()
    node.unlock()
    assert same_key(node, key, 2) != old == same_key(node, key, 1)
    assert node.confirm(key, generation=2, opened=True)["verifier"] == {"state": "live", "retired": [1]}
    node.reboot()
    node.keys = {}
    node.unlock()
    assert list(node.keys[key]) == [2]


def test_payload_joint_and_dealt(fleet):
    node = enrolled_token(fleet, fleet.fast, kinds=("payload",))
    node.unlock()
    assert node.shown("tenant")["keys"][0]["kind"] == "payload"
    key = "ab" * 16
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    dealt = expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 200).json
    node.reboot()
    node.unlock()
    from hpke import point
    assert point(node.payload_key(key, 1).public_key()) == unb64(dealt["public"])


def test_suspend_resume_revoke_delete(fleet):
    node = enrolled_token(fleet, fleet.fast)
    for party in fleet.parties:
        expect(party.post(node.path("/suspend"), {}), 200)
    refused("suspended", node.unlock)
    for party in fleet.parties:
        expect(party.post(node.path("/resume"), {}), 200)
    node.unlock()
    for service in fleet.services:
        expect(service.post(node.path("/revoke"), {}), 200)
    node.reboot()
    refused("revoked", node.unlock)
    expect(node.register(), 403, "revoked")
    for service in fleet.services:
        expect(service.delete(node.path()), 204)
    expect(node.register(), 201)
    refused("pending-approval", node.enroll)


def test_what_is_of_a_tpm_alone(fleet):
    """Nothing of its boots is to be captured or let through, no counters are to be accepted."""
    node = enrolled_token(fleet, fleet.fast)
    for body in ({"capture": True, "name": "x"}, {"next_boot": True}):
        expect(fleet.tenant.post(node.path("/approve"), body), 409, "conflict")
    expect(fleet.tenant.post(node.path("/accept-reset"), {}), 409, "conflict")


def test_upgrade(fleet):
    """Nodes that were there before have a TPM still."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for party in fleet.parties:
        assert party.sql("SELECT token_public FROM nodes WHERE id = ?", node.id) == [(None,)]
    assert node.shown("tenant")["token"] is None and fleet.registrar.get(node.path()).json["token"] is None
    node.reboot()
    node.unlock()


def test_warning_for_a_mixed_group(fleet):
    """A policy that takes a token's word in a group with a TPM's node is stored, and said to be odd wherever it is seen."""
    group = "mixed"
    fleet.group(group)
    ready(fleet, group=group, swtpm=SoftTpm(fleet.test_ca))
    text = SET + "[release]\ntoken-evidence = yes\n"
    for party in fleet.parties:
        version = party.get(f"/v1/groups/{group}/policy").json["version"]
        put = expect(party.put(f"/v1/groups/{group}/policy", {"text": text, "version": version}), 200).json
        got, shown = party.get(f"/v1/groups/{group}/policy").json, party.get(f"/v1/groups/{group}").json
        assert put["warning"] == got["warning"] == shown["warning"], put
        assert "1 of this group registered with a TPM" in put["warning"], put
        assert "token-evidence does not cover" in shown["uncovered"] and shown["tokens"] == 0, shown
        record = [json.loads(one["detail"]) for one in party.audit() if one["event"] == "policy"][-1]
        assert record["warning"] == put["warning"] and "token-evidence does not cover" in record["uncovered"], record
    shown = fleet.tenant.get(f"/v1/groups/{fleet.fast}").json
    assert "warning" not in shown and shown["tokens"] == shown["nodes"], shown


def test_tallyctl(fleet):
    node = enrolled_token(fleet, fleet.fast, "RSA-3072")
    status, text = fleet.ctl("node", "show", node.id)
    assert status == 0 and text.count("token with a RSA-3072 key and no TPM") == 2, text
    assert f"token's key {node.ek_digest}" in text, text
    assert "TPM NOT PROVEN" not in text and "EK " not in text, text
    status, text = fleet.ctl("node", "list")
    row = next(line for line in text.splitlines() if line.startswith(node.id[:12]))
    assert status == 0 and "token RSA-3072" in row, text
    status, text = fleet.ctl("policy", "show", "mixed")
    assert "registered with a TPM" in text and "token-evidence does not cover" in text, text
    status, text = fleet.ctl("group", "show", "mixed")
    assert "WARNING: token-evidence = yes" in text, text
    policy_file = fleet.directory / "policy"
    policy_file.write_text(SET + "[release]\ntoken-evidence = yes\ntoken-interval = 2min\n")
    status, text = fleet.ctl("policy", "check", policy_file, "--token")
    assert status == 0 and "after 120 s" in text and "[set" not in text and "does not cover" in text, text
    policy_file.write_text(SET)
    status, text = fleet.ctl("policy", "check", policy_file, "--token")
    assert status != 0 and "A token is not allowed." in text, text
    for group, want, word in ((fleet.fast, 0, "A token is allowed"), ("default", 3, "A token is not allowed")):
        status, text = fleet.ctl("policy", "check", group, "--node", node.id, "--address", "127.0.0.1")
        assert status == want and word in text, (status, text)
    status, text = fleet.ctl("node", "approve", "--next-boot", node.id)
    assert status != 0 and "This node has a token" in text, text
    status, text = fleet.ctl("policy", "set", "mixed", policy_file)
    assert status == 0 and "registered with a TPM" not in text, text


if __name__ == "__main__":
    main(Setup)
