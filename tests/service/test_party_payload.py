#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Payloads: dealt keys, the two steps of an upload, tickets, and what a rotation does to a sealed key."""

import hashlib
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hpke
from cases import expect, main, refused, skip
from node import PARTIES, Node, b64, enrolled, unb64
from services import Fleet
from softtpm import SoftTpm

LENGTH = 70000  # of the archive: two records


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group(accept_first_boot=True)


def diskless(fleet):
    """A node without volumes, approved, its first boot released."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, None, (party,))
    node.approve()
    node.reboot()
    for halves, details in node.unlock().values():
        assert halves == {} and details == {"keys": []}, details
    return node


def deal(node, key, status=200):
    expect(node.fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    return expect(node.fleet.tenant.post(node.path("/deals"), {"key": key}), status, None if status == 200 else "conflict").json


def file_of(node, version):
    """A payload file; nobody but the node could tell that it is noise."""
    header = b"TBP1" + (65536).to_bytes(4, "big") + version.to_bytes(8, "big") + LENGTH.to_bytes(8, "big") + node.id.encode()
    return header + secrets.token_bytes(LENGTH + 32)


def describe(node, number, data, *generations, at=None, **changes):
    body = {"version": number, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
            "keys": [{"id": key, "generation": generation, "enc": b64(b"\4" + secrets.token_bytes(64)),
                      "ct": b64(secrets.token_bytes(48))}
                     for key, generation in generations], **changes}
    return (at or node.fleet.tenant).post(node.path("/payload"), body)


def upload(node, version, *generations):
    data = file_of(node, version)
    expect(describe(node, version, data, *generations), 201)
    expect(node.fleet.tenant.put(node.path(f"/payload/{version}"), data), 201)
    return data


def files(fleet, node):
    return sorted(name for name in os.listdir(fleet.tenant.directory / "payload") if name.startswith(node.id))


def fetch(node, ticket):
    headers = {} if ticket is None else {"Authorization": f"Tallyboot {ticket}"}
    return node.fleet.tenant.get(node.path("/payload"), cert=None, headers=headers)


def offered(node):
    return node.unlock()["tenant"][1]["payload"]


def test_dealt_key(fleet):
    node, key = diskless(fleet), secrets.token_hex(16)
    dealt = deal(node, key)
    assert dealt["key"] == key and dealt["generation"] == 1
    opened = node.unlock()
    for party in PARTIES:
        assert opened[party][1]["keys"] == [{"id": key, "kind": "payload", "generation": 1, "state": "live"}]
    assert hpke.point(node.payload_key(key, 1).public_key()) == unb64(dealt["public"])
    shown = node.shown("tenant")["keys"][0]
    assert shown["origin"] == "dealt" and shown["public"] == dealt["public"]
    refused("conflict", node.confirm, key, kind="payload")  # nothing to confirm
    expect(fleet.tenant.post(node.path("/rotate"), {"key": key}), 409, "conflict")


def test_a_deal_is_allowed_once(fleet):
    node, key = diskless(fleet), secrets.token_hex(16)
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 409, "conflict")
    assert node.unlock()["tenant"][0] == {}  # what the tenant had made is gone
    first = deal(node, key)
    expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 409, "conflict")
    second = deal(node, key)
    assert second["generation"] > first["generation"]
    assert node.unlock()["verifier"][0].keys() == {(key, first["generation"]), (key, second["generation"])}


def test_a_deal_for_a_joint_key(fleet):
    node = enrolled(fleet, ("payload",), swtpm=SoftTpm(fleet.test_ca))
    expect(fleet.verifier.post(node.path("/deals"), {"key": node.key_ids[0]}), 409, "conflict")
    expect(fleet.tenant.post(node.path("/deals"), {"key": node.key_ids[0]}), 409, "conflict")
    assert len(node.shown("verifier")["keys"][0]["generations"]) == 1


def test_the_tenant_alone_deals_nothing(fleet):
    """What a tenant could try by itself: no deal allowed, another key than the one allowed, a half that is none."""
    node, key = diskless(fleet), secrets.token_hex(16)
    body = {"generation": 1, "enc": b64(b"\4" + bytes(64)), "ct": b64(bytes(48))}
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}, cert="tenant"), 403, "unauthorized")
    expect(fleet.verifier.put(node.path(f"/keys/{key}/half"), body, cert="tenant"), 400, "malformed")
    expect(fleet.verifier.put(node.path(f"/keys/{key}/half"), body), 403, "unauthorized")
    expect(fleet.verifier.put(node.path(f"/keys/{key}/half"), body, cert=None), 401, "unauthorized")
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    expect(fleet.tenant.post(node.path("/deals"), {"key": secrets.token_hex(16)}), 409, "conflict")
    assert node.shown("verifier")["keys"] == []


def test_a_deal_with_a_dead_verifier(fleet):
    node, key = diskless(fleet), secrets.token_hex(16)
    expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
    fleet.verifier.stop()
    try:
        answer = expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        fleet.verifier.start()
    assert expect(fleet.tenant.post(node.path("/deals"), {"key": key}), 200).json["key"] == key


def test_upload_and_fetch(fleet):
    node, key = diskless(fleet), secrets.token_hex(16)
    generation = deal(node, key)["generation"]
    data = upload(node, 1, (key, generation))
    digest = hashlib.sha256(data).hexdigest()
    expect(fleet.verifier.post(node.path("/payload"), {"version": 1, "sha256": digest, "final": False}), 201)
    opened = node.unlock()
    payload = opened["tenant"][1]["payload"]
    assert (payload["version"], payload["size"], payload["sha256"]) == (1, len(data), digest)
    assert [(one["id"], one["generation"]) for one in payload["keys"]] == [(key, generation)]
    assert opened["verifier"][1]["payload"] == {"accept": [{"version": 1, "sha256": digest}]}
    answer = fetch(node, payload["ticket"])
    assert answer.status == 200 and answer.body == data and answer.headers["Content-Type"] == "application/octet-stream"
    assert files(fleet, node) == [f"{node.id}.1.payload"]
    mode = os.stat(fleet.tenant.directory / "payload" / files(fleet, node)[0]).st_mode
    assert mode & 0o777 == 0o600

    newer = upload(node, 2, (key, generation))
    assert files(fleet, node) == [f"{node.id}.2.payload"]
    expect(fetch(node, payload["ticket"]), 404, "not-found")
    assert fetch(node, offered(node)["ticket"]).body == newer
    expect(fleet.verifier.post(node.path("/payload"), {"version": 2, "sha256": hashlib.sha256(newer).hexdigest(),
                                                       "final": False}), 201)
    assert [one["version"] for one in node.unlock()["verifier"][1]["payload"]["accept"]] == [2, 1]
    expect(fleet.verifier.post(node.path("/payload"), {"version": 2, "sha256": digest, "final": True}), 409, "conflict")
    expect(fleet.verifier.post(node.path("/payload"), {"version": 2, "sha256": hashlib.sha256(newer).hexdigest(), "final": True}),
           201)
    assert [one["version"] for one in node.unlock()["verifier"][1]["payload"]["accept"]] == [2]
    for party in PARTIES:
        assert node.shown(party)["payload"] == {"version": 2, "sha256": hashlib.sha256(newer).hexdigest()}

    assert fleet.tenant.delete(node.path()).status == 204
    assert files(fleet, node) == []


def test_tickets(fleet):
    node, other, key = diskless(fleet), diskless(fleet), secrets.token_hex(16)
    upload(node, 1, (key, deal(node, key)["generation"]))
    ticket = offered(node)["ticket"]
    raw = unb64(ticket)
    for wrong in (None, "", "x", ticket[:-2], ticket + "AA", b64(bytes(52)), b64(raw[:12] + (2).to_bytes(8, "big") + raw[20:]),
                  b64(raw[:4] + (1 << 62).to_bytes(8, "big") + raw[12:])):
        expect(fetch(node, wrong), 401, "unauthorized")
    expect(fetch(other, ticket), 401, "unauthorized")
    assert fetch(node, ticket).status == 200
    for action, status in (("suspend", 401), ("resume", 200)):
        expect(fleet.tenant.post(node.path(f"/{action}"), {}), 200)
        assert fetch(node, ticket).status == status


def test_upload_that_is_not_what_was_said(fleet):
    node, key = diskless(fleet), secrets.token_hex(16)
    generation = deal(node, key)["generation"]
    data = file_of(node, 1)
    expect(fleet.tenant.put(node.path("/payload/1"), data), 404, "not-found")
    for changes in ({"version": 0}, {"size": 91}, {"size": (1 << 30) + 1}, {"sha256": "00"}, {"keys": []}, {"version": "1"}):
        expect(describe(node, 1, data, (key, generation), **changes), 400, "malformed")
    for wrong in ((key, generation + 1), (secrets.token_hex(16), 1)):
        expect(describe(node, 1, data, wrong), 409, "conflict")
    expect(describe(node, 1, data, (key, generation)), 201)
    for wrong in (data[:-1], data + b"x", data[:-1] + b"\0", b"", data[:10], b"TBP2" + data[4:]):
        expect(fleet.tenant.put(node.path("/payload/1"), wrong), 400, "malformed")
        assert files(fleet, node) == [] and "payload" not in node.unlock()["tenant"][1]
    expect(fleet.tenant.put(node.path("/payload/2"), data), 404, "not-found")
    for header in (file_of(node, 2), data[:24] + diskless(fleet).id.encode() + data[76:]):  # another version, another node
        expect(describe(node, 1, header, (key, generation)), 201)
        expect(fleet.tenant.put(node.path("/payload/1"), header), 400, "malformed")
    expect(describe(node, 1, data, (key, generation)), 201)
    expect(fleet.tenant.put(node.path("/payload/1"), data), 201)
    expect(fleet.tenant.put(node.path("/payload/1"), data), 404, "not-found")
    expect(describe(node, 1, data, (key, generation)), 409, "conflict")  # not newer


def slow_rename(service):
    """strace on all of its threads: each waits for a second before its first rename."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(service.process.pid), "-o", "/dev/null", "-e", "trace=rename", "-e",
                               "inject=rename:delay_enter=1000000:when=1"], stderr=subprocess.DEVNULL)
    for status in pathlib.Path(f"/proc/{service.process.pid}/task").glob("*/status"):
        while "TracerPid:\t0\n" in status.read_text():
            assert tracer.poll() is None, "strace does not run"
            time.sleep(0.01)
    return tracer


def test_two_uploads_of_one_version(fleet):
    """Two operators at once: each has counted to the same number. The slow one's file does not end under the other one's
    digest."""
    if not shutil.which("strace"):
        skip("no strace")
    fleet.tenant.extra["payload-dir"] = fleet.tenant.directory / "payload"
    other = fleet.replica(fleet.tenant)
    node = diskless(fleet)
    dealt = deal(node, secrets.token_hex(16))
    slow, quick = file_of(node, 1), file_of(node, 1)
    expect(describe(node, 1, slow, (dealt["key"], dealt["generation"])), 201)
    tracer = slow_rename(fleet.tenant)
    answers = []
    first = threading.Thread(target=lambda: answers.append(fleet.tenant.put(node.path("/payload/1"), slow)))
    first.start()
    while not files(fleet, node):  # from here on the tenant goes by what the first one has said
        time.sleep(0.001)
    second = describe(node, 1, quick, (dealt["key"], dealt["generation"]), at=other)
    if second.status == 201:
        expect(other.put(node.path("/payload/1"), quick), 201)
    first.join()
    tracer.terminate()
    tracer.wait()
    other.kill()
    wanted = slow if answers[0].status == 201 else quick
    assert (answers[0].status, second.status) in ((201, 409), (404, 201)), (answers, second)
    payload = offered(node)
    assert payload["sha256"] == hashlib.sha256(wanted).hexdigest()
    assert expect(fetch(node, payload["ticket"]), 200).body == wanted
    assert files(fleet, node) == [f"{node.id}.1.payload"]


def test_dealt_anew(fleet):
    """The older generation goes when a payload that is sealed to the newer one is there, and not before."""
    node, key = diskless(fleet), secrets.token_hex(16)
    first = deal(node, key)["generation"]
    upload(node, 1, (key, first))
    second = deal(node, key)["generation"]
    assert node.unlock()["tenant"][0].keys() == {(key, first), (key, second)}
    upload(node, 2, (key, first))
    assert node.unlock()["tenant"][0].keys() == {(key, first), (key, second)}
    upload(node, 3, (key, first), (key, second))
    assert node.unlock()["tenant"][0].keys() == {(key, second)}


def test_rotation_of_a_joint_payload_key(fleet):
    node = enrolled(fleet, ("payload",), swtpm=SoftTpm(fleet.test_ca))
    key, = node.key_ids
    node.reboot()
    node.unlock()
    upload(node, 7, (key, 1))
    for party in fleet.parties:
        expect(party.post(node.path("/rotate"), {}), 200)
    node.join_halves(node.ask("rotate", {"key": key, "generation": 2}))
    node.confirm(key, 2, "payload")  # without the payload's key
    refused("conflict", node.ask, "confirm", node.confirm_body(key, 2, opened=True), None, ("tenant",))
    sealed = {"version": 7, "enc": b64(b"\4" + bytes(64)), "ct": b64(bytes(48))}
    for wrong in ({**sealed, "version": 6}, sealed):
        node.ask("confirm", {**node.confirm_body(key, 2, "payload"), "payload": wrong})
    assert [one["generation"] for one in offered(node)["keys"]] == [2, 1]
    assert node.confirm(key, 2, opened=True)["tenant"]["retired"] == [1]


if __name__ == "__main__":
    main(Setup)
