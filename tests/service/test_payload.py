#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Payloads: sealed by the operator without K_b, opened by the node; dealt keys; tickets; what the tenant may and may not."""

import hashlib
import os
import secrets
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import hpke
from cases import expect, main, refused
from node import PARTIES, Node, b64, ready, unb64
from services import Fleet, encode_fields
from softtpm import SoftTpm

RECORD = 65536


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()

    def soft(self, kinds=("payload",)):
        return ready(self, kinds, swtpm=SoftTpm(self.test_ca))


def archive(files):
    """{path: bytes or None for a directory}"""
    out = b"TBA1"
    for path, data in files.items():
        kind = 2 if data is None else 1
        out += struct.pack(">BHH", kind, 0o755 if data is None else 0o600, len(path)) + path.encode()
        if data is not None:
            out += struct.pack(">Q", len(data)) + data
    return out + b"\0"


def seal_file(node_id, version, plain):
    """(file, content key)"""
    key = secrets.token_bytes(32)
    header = b"TBP1" + struct.pack(">IQQ", RECORD, version, len(plain)) + node_id.encode()
    assert len(header) == 76
    pieces = [plain[at:at + RECORD] for at in range(0, len(plain), RECORD)] or [b""]
    aad = hashlib.sha256(header).digest()
    return header + b"".join(AESGCM(key).encrypt(struct.pack(">IQ", i == len(pieces) - 1, i), piece, aad)
                             for i, piece in enumerate(pieces)), key


def open_file(file, key):
    header, rest, out, index = file[:76], file[76:], b"", 0
    aad = hashlib.sha256(header).digest()
    while rest:
        piece, rest = rest[:RECORD + 16], rest[RECORD + 16:]
        out += AESGCM(key).decrypt(struct.pack(">IQ", not rest, index), piece, aad)
        index += 1
    return out


def key_info(node_id, key_id, generation, version):
    return encode_fields("tallyboot payload key v1", node_id, key_id, generation, version)


def describe(fleet, node, version, file, content_key, keys=None):
    """The body of the POST at the tenant: the key sealed to each live generation that the tenant shows."""
    if keys is None:
        keys = [(one["id"], generation["generation"], unb64(generation.get("public", one["public"])))
                for one in node.shown("tenant")["keys"]
                if one["kind"] == "payload" for generation in one["generations"] if generation["state"] == "live"]
    sealed = []
    for key_id, generation, public in keys:
        enc, context = hpke.sender(public, key_info(node.id, key_id, generation, version))
        sealed.append({"id": key_id, "generation": generation, "enc": b64(enc),
                       "ct": b64(context.seal(hashlib.sha256(file[:76]).digest(), content_key))})
    return {"version": version, "size": len(file), "sha256": hashlib.sha256(file).hexdigest(), "keys": sealed}


def publish(fleet, node, version, plain):
    file, key = seal_file(node.id, version, plain)
    body = describe(fleet, node, version, file, key)
    expect(fleet.verifier.post(node.path("/payload"), {"version": version, "sha256": body["sha256"], "final": False}), 201)
    expect(fleet.tenant.post(node.path("/payload"), body), 201)
    expect(fleet.tenant.put(node.path(f"/payload/{version}"), file), 201)
    expect(fleet.verifier.post(node.path("/payload"), {"version": version, "sha256": body["sha256"], "final": True}), 201)
    return file


def fetch(fleet, node, ticket):
    return fleet.tenant.get(node.path("/payload"), cert=None,
                            headers={"Authorization": f"Tallyboot {ticket}"} if ticket is not None else {})


def receive(fleet, node):
    """What a node does with it. The archive."""
    opened = node.unlock()
    payload = opened["tenant"][1]["payload"]
    assert {"version": payload["version"], "sha256": payload["sha256"]} in opened["verifier"][1]["payload"]["accept"]
    file = expect(fetch(fleet, node, payload["ticket"]), 200).body
    assert len(file) == payload["size"] and hashlib.sha256(file).hexdigest() == payload["sha256"]
    for one in payload["keys"]:
        if one["generation"] in node.keys.get(one["id"], {}):
            context = hpke.receiver(node.payload_key(one["id"], one["generation"]), unb64(one["enc"]),
                                    key_info(node.id, one["id"], one["generation"], payload["version"]))
            return open_file(file, context.open(hashlib.sha256(file[:76]).digest(), unb64(one["ct"])))
    raise AssertionError("sealed to no key of this node")


def deal(fleet, node, key=None):
    key = key or secrets.token_hex(16)
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    answer = expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 200).json
    assert answer["key"] == key, answer
    return key, answer["generation"], unb64(answer["public"])


def test_joint(fleet):
    node = fleet.soft()
    assert "payload" not in node.unlock()["tenant"][1]
    for version, size in enumerate((0, 1, RECORD - 40, RECORD, 300000), 1):
        plain = archive({"etc": None, "etc/x": secrets.token_bytes(size)})
        publish(fleet, node, version, plain)
        node.reboot()
        assert receive(fleet, node) == plain
        for party in PARTIES:
            assert node.shown(party)["payload"]["version"] == version
    assert len(os.listdir(fleet.tenant.directory / "payload")) == 1 or not any(
        name for name in os.listdir(fleet.tenant.directory / "payload") if node.id not in name)


def test_dealt_to_a_node_without_volumes(fleet):
    """A real TPM: enroll without a key, approval, deal, pending-policy, capture, and the payload is there."""
    node = Node(fleet)
    expect(node.register(), 201)
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, order=(party,))
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"group": "default"}), 200)
    key, generation, public = deal(fleet, node)
    for party in PARTIES:
        [shown] = node.shown(party)["keys"]
        assert shown["origin"] == "dealt" and shown["kind"] == "payload" and [
            (one["generation"], one["state"]) for one in shown["generations"]] == [(generation, "live")], shown
    plain = archive({"motd": b"hello"})
    file, content_key = seal_file(node.id, 1, plain)
    body = describe(fleet, node, 1, file, content_key, [(key, generation, public)])
    expect(fleet.tenant.post(node.path("/payload"), body), 201)
    expect(fleet.tenant.put(node.path("/payload/1"), file), 201)
    expect(fleet.verifier.post(node.path("/payload"), {"version": 1, "sha256": body["sha256"], "final": True}), 201)
    for party in PARTIES:
        try:
            node.ask("boot", order=(party,))
        except Exception as error:
            assert error.problem in ("pending-policy", "policy-refused"), error
            getattr(fleet, party).post(node.path("/approve"), {"capture": True, "name": "payload-node"})
    assert receive(fleet, node) == plain
    assert hpke.point(node.payload_key(key, generation).public_key()) == public
    node.close()


def test_deal_has_to_be_allowed(fleet):
    node = fleet.soft()
    key = secrets.token_hex(16)
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 409, "conflict")
    assert key not in str(node.shown("verifier")) and "live" not in str([one for one in node.shown("tenant")["keys"]
                                                                         if one["id"] == key])
    expect(fleet.verifier.post(node.path("/deals"), {"key": secrets.token_hex(16)}), 201)  # another key
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 409, "conflict")
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    assert expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 200).json["generation"] >= 1
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 409, "conflict")  # once
    expect(fleet.verifier.post(node.path("/deals"), {"key": node.key_ids[0]}), 409, "conflict")  # a joint key is never dealt
    expect(fleet.tenant.post(node.path("/deals"), {"key": node.key_ids[0]}), 409, "conflict")
    for party in fleet.parties:
        for bad in ({}, {"key": key[:-1]}, {"key": 1}, {"key": "Z" * 32}):
            expect(party.post(node.path("/deals"), bad), 400, "malformed")
    node.unlock()


def test_deal_with_the_verifier_down(fleet):
    node = fleet.soft()
    key = secrets.token_hex(16)
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    fleet.verifier.stop()
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 503, "unavailable")
    fleet.verifier.start()
    assert node.unlock()["tenant"][0].keys() == node.unlock()["verifier"][0].keys()
    deal(fleet, node, key)
    opened = node.unlock()
    assert opened["tenant"][0].keys() == opened["verifier"][0].keys() and len(opened["tenant"][0]) == 2


def test_ticket(fleet):
    node, other = fleet.soft(), fleet.soft()
    publish(fleet, node, 1, archive({"a": b"1"}))
    publish(fleet, other, 1, archive({"b": b"2"}))
    node.reboot()
    ticket = node.unlock()["tenant"][1]["payload"]["ticket"]
    expect(fetch(fleet, node, ticket), 200)
    expect(fetch(fleet, node, ticket), 200)
    raw = unb64(ticket)
    assert len(raw) == 52
    for wrong in (None, "", "x", ticket[:-1], b64(bytes(52)),
                  *(b64(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]) for at in (3, 11, 19, 51))):
        assert fetch(fleet, node, wrong).problem == "unauthorized", wrong
    assert fetch(fleet, other, ticket).problem == "unauthorized"
    assert fleet.tenant.get(node.path("/payload"), cert="operator").problem == "unauthorized"
    publish(fleet, node, 2, archive({"a": b"2"}))
    answer = fetch(fleet, node, ticket)
    assert answer.status in (401, 404), answer  # of the version that was replaced
    expect(fleet.tenant.post(node.path("/suspend"), {}), 200)
    node.boot()
    answer = fetch(fleet, node, ticket)
    assert answer.status in (401, 403, 404), answer


def test_only_what_was_described(fleet):
    node = fleet.soft()
    file, key = seal_file(node.id, 1, archive({"a": secrets.token_bytes(100000)}))
    body = describe(fleet, node, 1, file, key)
    expect(fleet.tenant.put(node.path("/payload/1"), file), 404, "not-found")
    expect(fleet.tenant.post(node.path("/payload"), body), 201)
    node.unlock()
    for wrong in (file[:-1], file + b"x", file[:-1] + bytes([file[-1] ^ 1]), b"", b"x" * len(file)):
        expect(fleet.tenant.put(node.path("/payload/1"), wrong), 400, "malformed")
    assert node.shown("tenant")["payload"] is None and "payload" not in node.unlock()["tenant"][1]
    expect(fleet.tenant.put(node.path("/payload/1"), file), 201)
    expect(fleet.tenant.post(node.path("/payload"), body), 409, "conflict")  # not newer
    for bad in ({}, {**body, "version": 0}, {**body, "version": 2, "sha256": "x"}, {**body, "version": 2, "keys": 1},
                {**body, "version": 2, "size": -1}):
        expect(fleet.tenant.post(node.path("/payload"), bad), 400, "malformed")
    foreign = [(secrets.token_hex(16), 1, node.nk_point)]
    expect(fleet.tenant.post(node.path("/payload"), describe(fleet, node, 2, file, key, foreign)), 409, "conflict")
    other_header, other_key = seal_file(fleet.soft().id, 2, b"")
    expect(fleet.tenant.post(node.path("/payload"), describe(fleet, node, 2, other_header, other_key)), 201)
    expect(fleet.tenant.put(node.path("/payload/2"), other_header), 400, "malformed")  # a file of another node


def test_verifier_names_the_digest(fleet):
    """A tenant that exchanges the file is found out: the verifier was told the digest by the operator."""
    node = fleet.soft()
    publish(fleet, node, 1, archive({"a": b"1"}))
    file, key = seal_file(node.id, 2, archive({"a": b"evil"}))
    expect(fleet.tenant.post(node.path("/payload"), describe(fleet, node, 2, file, key)), 201)
    expect(fleet.tenant.put(node.path("/payload/2"), file), 201)
    opened = node.unlock()
    payload, accept = opened["tenant"][1]["payload"], opened["verifier"][1]["payload"]["accept"]
    assert payload["version"] == 2 and [one["version"] for one in accept] == [1]
    expect(fleet.verifier.post(node.path("/payload"), {"version": 1, "sha256": "0" * 64, "final": False}), 409, "conflict")
    for bad in ({}, {"version": 1}, {"version": 1, "sha256": "0", "final": True},
                {"version": "1", "sha256": "0" * 64, "final": True}):
        expect(fleet.verifier.post(node.path("/payload"), bad), 400, "malformed")


def test_rotation_reseals(fleet):
    """A joint payload key rotates: confirm carries the content key sealed anew, and the old generation is destroyed only then."""
    node = fleet.soft()
    [key] = node.key_ids
    plain = archive({"a": b"stays"})
    file = publish(fleet, node, 1, plain)
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {"key": key}), 200)
    node.reboot()
    opened = node.unlock()
    [sealed] = opened["tenant"][1]["payload"]["keys"]
    context = hpke.receiver(node.payload_key(key, 1), unb64(sealed["enc"]), key_info(node.id, key, 1, 1))
    aad = hashlib.sha256(file[:76]).digest()
    content_key = context.open(aad, unb64(sealed["ct"]))
    node.join_halves(node.ask("rotate", {"key": key, "generation": 2}))
    enc, context = hpke.sender(hpke.point(node.payload_key(key, 2).public_key()), key_info(node.id, key, 2, 1))
    body = node.confirm_body(key, 2, "payload")
    body["payload"] = {"version": 1, "enc": b64(enc), "ct": b64(context.seal(aad, content_key))}
    node.ask("confirm", body)
    node.reboot()
    node.unlock()
    node.confirm(key, 2, "payload", opened=True)
    node.keys[key].pop(1)
    node.reboot()
    assert receive(fleet, node) == plain


def test_upload_survives_kill(fleet):
    node = fleet.soft()
    plain = archive({"a": secrets.token_bytes(200000)})
    publish(fleet, node, 1, plain)
    fleet.tenant.kill()
    fleet.tenant.start()
    node.reboot()
    assert receive(fleet, node) == plain


def test_delete_removes_the_file(fleet):
    node = fleet.soft()
    publish(fleet, node, 1, archive({"a": b"1"}))
    before = len(list((fleet.tenant.directory / "payload").rglob("*")))
    expect(fleet.tenant.delete(node.path()), 204)
    deadline = time.monotonic() + 120
    while len(list((fleet.tenant.directory / "payload").rglob("*"))) >= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list((fleet.tenant.directory / "payload").rglob("*"))) < before


if __name__ == "__main__":
    main(Setup)
