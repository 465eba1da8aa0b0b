#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Registration: what a real TPM and the registrar say to each other, and what the directory then says to others."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main
from node import Node, b64, unb64
from services import Fleet


class Setup(Fleet):
    def __init__(self):
        super().__init__(start=False)
        self.registrar.start()


def test_health(fleet):
    answer = expect(fleet.registrar.get("/v1/health", cert=None), 200)
    assert answer.json == {"status": "ok", "role": "registrar"}, answer


def test_register(fleet):
    node = Node(fleet)
    answer = expect(node.register(), 201)
    assert answer.json == {"id": node.id, "code": node.code}, answer
    for cert in ("operator", "tenant", "verifier"):
        shown = expect(fleet.registrar.get(node.path(), cert=cert), 200).json
        assert unb64(shown["ek_public"]) == node.ek_public and unb64(shown["ak_public"]) == node.ak_public
        assert unb64(shown["ek_certificate"]) == node.certificate and shown["ek_chain"] == []
        assert shown["ek_sha256"] == node.ek_digest and shown["code"] == node.code and shown["state"] == "active"
        assert abs(shown["registered"] - os.path.getmtime(fleet.registrar.log)) < 3600
        assert "challenge" not in shown and "proof" not in shown
    records = fleet.registrar.audit(node=node.id)
    assert [record["event"] for record in records] == ["register"] and records[0]["incident"] == node.incident, records
    node.close()


def test_register_again_changes_nothing(fleet):
    node = Node(fleet)
    expect(node.register(), 201)
    before = fleet.registrar.sql("SELECT * FROM node"), fleet.registrar.audit()
    expect(node.register(), 201)
    node.reboot()
    expect(node.register(), 201)
    assert (fleet.registrar.sql("SELECT * FROM node"), fleet.registrar.audit()) == before
    node.close()


def test_list(fleet):
    node = Node(fleet)
    expect(node.register(), 201)
    mine = [one for one in expect(fleet.registrar.get("/v1/nodes"), 200).json["nodes"] if one["id"] == node.id]
    assert len(mine) == 1 and mine[0]["state"] == "active" and "ek_public" not in mine[0], mine
    assert node.id in fleet.registrar.get("/v1/nodes?state=active").body.decode()
    assert node.id not in fleet.registrar.get("/v1/nodes?state=revoked").body.decode()
    node.close()


def test_revoke_and_delete(fleet):
    node = Node(fleet)
    expect(node.register(), 201)
    answer = expect(fleet.registrar.post(node.path("/revoke"), {"reason": "stolen"}), 200)
    assert answer.json["state"] == "revoked"
    expect(node.register(), 403, "revoked")
    assert node.id in fleet.registrar.get("/v1/nodes?state=revoked").body.decode()
    expect(fleet.registrar.delete(node.path()), 204)
    expect(fleet.registrar.get(node.path()), 404, "unknown-node")
    expect(fleet.registrar.delete(node.path()), 404, "unknown-node")
    expect(fleet.registrar.post(node.path("/revoke"), {}), 404, "unknown-node")
    records = fleet.registrar.audit(node=node.id)
    assert [one["event"] for one in records] == ["register", "revoke", "refusal", "delete"], records
    assert records[1]["who"] == "alice" and "stolen" in records[1]["detail"], records
    node.close()


def test_survives_kill(fleet):
    node = Node(fleet)
    begun = expect(node.register_begin(), 200).json
    fleet.registrar.kill()
    fleet.registrar.start()
    expect(node.register_end(begun), 201)  # no state was kept for the challenge
    fleet.registrar.kill()
    fleet.registrar.start()
    expect(fleet.registrar.get(node.path()), 200)
    node.close()


def test_clean_stop(fleet):
    assert fleet.registrar.stop() == 0
    fleet.registrar.start()


def test_replica(fleet):
    node = Node(fleet)
    other = fleet.replica(fleet.registrar)
    begun = expect(other.post("/v1/nodes", node.registration(), cert=None), 200).json
    expect(node.register_end(begun), 201)
    expect(other.get(node.path()), 200)
    other.stop()
    node.close()


def test_malformed(fleet):
    node = Node(fleet)
    good = node.registration()
    for name in good:
        expect(fleet.registrar.post("/v1/nodes", {key: value for key, value in good.items() if key != name}, cert=None), 400,
               "malformed")
        for wrong in (1, None, True, [1], {}, "!", "A", good[name] + "=" if isinstance(good[name], str) else "x"):
            expect(fleet.registrar.post("/v1/nodes", {**good, name: wrong}, cert=None), 400, "malformed")
    for body in (b"", b"{", b"[]", b"null", b'{"ek_public":"AA","ek_public":"AA"}', b'{"ek_public":"\\u0000"}', b"\xff",
                 b"{}" * 3):
        expect(fleet.registrar.post("/v1/nodes", body, cert=None), 400, "malformed")
    expect(fleet.registrar.post("/v1/nodes", {**good, "ek_chain": [good["ek_certificate"]] * 9}, cert=None), 400, "malformed")
    expect(fleet.registrar.post("/v1/nodes", {**good, "unknown": 1}, cert=None), 200)
    node.close()


def test_too_large(fleet):
    expect(fleet.registrar.post("/v1/nodes", b"{" + b" " * 16384, cert=None), 413, "too-large")
    expect(fleet.registrar.post("/v1/nodes", b"{" + b" " * 16383, cert=None), 400, "malformed")


def test_rate_limit(_):
    """One machine that registers again and again waits; another one does not."""
    with Setup() as fleet:
        fleet.registrar.limits["answers-per-minute"] = 10
        fleet.registrar.restart()
        node, other = Node(fleet), Node(fleet)
        for count in range(40):  # a new minute may begin in between
            last = node.register()
            if last.status != 201:
                break
        assert count >= 10
        expect(last, 429, "rate-limited")
        assert 0 < int(last.headers["Retry-After"]) <= 60
        expect(other.register(), 201)
        node.close()
        other.close()


def test_certificates_optional(_):
    """Said in the log, and a node without a certificate registers; one with a wrong certificate does not."""
    with Fleet(start=False) as fleet:
        fleet.registrar.extra["ek-certificates"] = "optional"
        fleet.registrar.start()
        assert "Nothing then shows that it is a TPM" in fleet.registrar.log_text()
        node = Node(fleet)
        node.certificate = b""
        expect(node.register(), 201)
        other = Node(fleet)
        begun = other.register_begin(ek_certificate=b64(Node(fleet).certificate))
        expect(begun, 403, "bad-evidence")


if __name__ == "__main__":
    main(Setup)
