#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariant 14: every route of docs/protocol.md, 10, with every wrong certificate; and a service's certificate changes
nothing."""

import datetime
import http.client
import os
import re
import secrets
import signal
import sqlite3
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hpke
from cases import expect, main, refused
from node import PARTIES, Node, b64, ready, unb64
from pki import Pki
from services import TOP, Fleet, encode_fields
from softtpm import SoftTpm

KEY = "0123456789abcdef" * 2
DAY = datetime.timedelta(days=1)


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()
        self.node = ready(self, ("volumes", "payload"), swtpm=SoftTpm(self.test_ca))
        self.wrong = wrong_certificates(self)
        self.token = open_token(self)


def open_token(fleet):
    """The id of one that is open at both parties: to cancel it would change something."""
    name = secrets.token_hex(8)
    for party in fleet.parties:
        expect(party.post("/v1/join-tokens", {"id": name, "sha256": secrets.token_hex(32), "group": "default",
                                              "expires": int(time.time()) + 3600}), 201)
    return name


def wrong_certificates(fleet):
    """name -> what to present; none of them is an operator's, and each says something of its own."""
    pki, other = fleet.pki, Pki(fleet.directory / "other-pki")
    operator = ["urn:tallyboot:operator:alice"]
    return {
        "no certificate": None,
        "another CA": other.issue("operator", operator),
        "another CA of the same name": Pki(fleet.directory / "third-pki", "tallyboot test CA").issue("operator", operator),
        "expired": pki.issue("expired", operator, begin=-5 * DAY, end=-DAY),
        "not yet valid": pki.issue("early", operator, begin=DAY, end=5 * DAY),
        "no URI": pki.issue("urn:tallyboot:operator:alice"),
        "host name alone": pki.issue("host", [], ["127.0.0.1", "operator"]),
        "empty name": pki.issue("empty", ["urn:tallyboot:operator:"]),
        "other case": pki.issue("case", ["URN:TALLYBOOT:OPERATOR:alice"]),
        "longer word": pki.issue("longer", ["urn:tallyboot:operators:alice"]),
        "prefix": pki.issue("prefix", ["x-urn:tallyboot:operator:alice"]),
        "several names": pki.issue("several", [*operator, "urn:tallyboot:tenant"]),
        "a node": pki.issue("node", ["urn:tallyboot:node:x"]),
        "tenant": pki.issue("tenant-client", ["urn:tallyboot:tenant"]),
        "verifier": pki.issue("verifier-client", ["urn:tallyboot:verifier"]),
        "registrar": pki.issue("registrar-client", ["urn:tallyboot:registrar"]),
        "monitor": pki.issue("monitor-client", ["urn:tallyboot:monitor:watch"]),
    }


def routes():
    """[(method, path, roles of service, who may)] of the table in docs/protocol.md."""
    text = (TOP / "docs/protocol.md").read_text()
    table = text[text.index("## 10. Routes"):text.index("## 11. Errors")]
    found = []
    for line in table.splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        where = PARTIES if cells[1].startswith("party") else ("registrar", *PARTIES) if cells[1] == "all" else (cells[1],)
        method = re.search("`(GET|POST|PUT|DELETE) ", cells[0])[1]
        paths = re.findall(r"`(?:\w+ )?([^` ]+)`", cells[0])
        for path in paths:
            if not path.startswith("/"):  # "`.../suspend`, `resume`"
                path = paths[0].rsplit("/", 1)[0] + "/" + path
            for role in where:
                who = cells[2]
                allowed = {"operator"} | {one for one in PARTIES if re.search(rf"\b{one}\b",
                                                                              who.replace("verifier: tenant too", ""))}
                if "verifier: tenant too" in who and role == "verifier":
                    allowed.add("tenant")
                if who == "tenant, verifier":
                    allowed = {"tenant", "verifier"}
                if who == "tenant":
                    allowed = {"tenant"}
                if "monitor" in who:
                    allowed.add("monitor")
                if who == "anyone":
                    allowed = None
                found.append((method, path.split("?")[0], role, allowed))
            if path.endswith("/revoke"):
                found.append((method, path, "registrar", {"operator"}))
    assert len(found) > 45, len(found)
    return found


def fill(fleet, path):
    return (path.replace("{id}", fleet.node.id).replace("{name}", "default").replace("{key}", KEY).replace("{version}", "1")
            .replace("{token}", fleet.token))


def head(fleet, role):
    """A good one, of somebody: who sends it is not who signed it."""
    return next(one for one in fleet.services if one.role != role).get("/v1/audit").json["head"]


def body(fleet, method, path, role):
    """One that would do something."""
    if method in ("GET", "DELETE"):
        return None
    tail = path.rsplit("/", 1)[1]
    return {
        "approve": {"group": "default"}, "revoke": {"reason": "x"}, "rotate": {}, "suspend": {}, "resume": {}, "accept-reset": {},
        "{name}": {"accept_first_boot": True}, "policy": {"text": "", "version": 1},
        "join-tokens": {"sha256": secrets.token_hex(32), "group": "default", "expires": int(time.time()) + 100},
        "deals": {"key": KEY}, "half": {"generation": 1, "enc": b64(fleet.node.nk_point), "ct": b64(bytes(48))},
        "payload": {"version": 1, "sha256": "0" * 64, "final": True, "size": 0, "keys": []} if role == "verifier" else
                   {"version": 1, "size": 100, "sha256": "0" * 64, "keys": []},
        "{version}": b"x" * 100, "accept": {}, "heads": {"head": head(fleet, role), "known": 0},
    }[tail]


def attempt(fleet, method, path, role, cert):
    """An Answer, or None where TLS already refused."""
    try:
        return getattr(fleet, role).request(method, fill(fleet, path), body(fleet, method, path, role), cert=cert)
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return None


def state(fleet):
    """All rows of all tables, but for what a service writes by itself: heads of logs, and how many were refused."""
    own = re.compile(r"INSERT INTO \"(audit_peers|audit_exchanges)\"|INSERT INTO \"audit\" VALUES\(\d+,\d+,'(audit-head|unproven)'")
    rows = []
    for one in fleet.services:
        with sqlite3.connect(one.database, timeout=120) as database:
            rows.append(sorted(line for line in database.iterdump() if line.startswith("INSERT") and not own.match(line)))
        database.close()
    return rows


def test_invariant_14_operator_routes(fleet):
    before = state(fleet)
    tried = 0
    for method, path, role, allowed in routes():
        for name, cert in fleet.wrong.items():
            if allowed is None or name in allowed:
                continue
            answer = attempt(fleet, method, path, role, cert)
            tried += 1
            if answer is not None:
                assert answer.status in (401, 403) and answer.problem == "unauthorized", (method, path, role, name, answer)
            else:
                assert "CA" in name or name in ("expired", "not yet valid"), (method, path, role, name)
    assert state(fleet) == before
    assert tried > 600, tried


def test_the_control_operators_are_heard(fleet):
    """The same requests from an operator get past the certificate."""
    with Fleet() as other:
        other.group()
        other.node = ready(other, ("payload",), swtpm=SoftTpm(other.test_ca))
        other.token = open_token(other)
        for method, path, role, allowed in sorted(routes(), key=lambda route: route[0] == "DELETE"):
            if allowed is None or "operator" in allowed:
                answer = attempt(other, method, path, role, "operator")
                assert answer is not None and answer.problem != "unauthorized", (method, path, role, answer)
                assert answer.status in (200, 201, 204, 404, 409, 400), (method, path, role, answer)
            if allowed:
                for service in allowed - {"operator", "monitor"}:
                    answer = attempt(other, method, path, role, service)
                    assert answer is not None and answer.problem != "unauthorized", (method, path, role, service, answer)


def test_invariant_14_service_creates_and_never_changes(fleet):
    """What the tenant's certificate may ask of the verifier: to read a node, the inbox; and to leave a half that an operator
    allowed."""
    node = fleet.node
    shown = node.shown("verifier")
    key = shown["keys"][0]["id"]
    inbox = unb64(expect(fleet.verifier.get("/v1/inbox", cert="tenant"), 200).json["public"])
    for name in (key, KEY):
        for generation in (1, 2):
            enc, context = hpke.sender(inbox, encode_fields("tallyboot deal v1", node.id, name, generation))
            half = {"generation": generation, "enc": b64(enc), "ct": b64(context.seal(b"", secrets.token_bytes(32)))}
            answer = fleet.verifier.put(node.path(f"/keys/{name}/half"), half, cert="tenant")
            assert answer.status in (403, 404, 409) and answer.problem in ("conflict", "unauthorized", "not-found"), answer
            assert node.shown("verifier") == shown
    for cert in ("tenant", "registrar"):
        expect(fleet.verifier.post(node.path("/deals"), {"key": KEY}, cert=cert), 403, "unauthorized")
    node.reboot()
    node.unlock()


def test_a_dealt_generation_is_the_next_one(fleet):
    """A tenant that was taken over, in a deal that was allowed: no generation after which there is no other, none that was
    there."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    assert node.register().status == 201
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, None, (party,))
    node.approve()
    key = secrets.token_hex(16)
    inbox = unb64(fleet.verifier.get("/v1/inbox").json["public"])

    def hand_over(generation):
        expect(fleet.verifier.post(node.path("/deals"), {"key": key}), 201)
        enc, context = hpke.sender(inbox, encode_fields("tallyboot deal v1", node.id, key, generation))
        return fleet.verifier.put(node.path(f"/keys/{key}/half"), {"generation": generation, "enc": b64(enc),
                                                                  "ct": b64(context.seal(b"", bytes(range(32))))}, cert="tenant")

    for generation in (2**32 - 1, 2**31, 17):
        expect(hand_over(generation), 409, "conflict")
    expect(hand_over(16), 201)
    for generation in (2**32 - 1, 33, 16, 1):
        expect(hand_over(generation), 409, "conflict")
    expect(hand_over(17), 201)
    assert [one["generation"] for one in node.shown("verifier")["keys"][0]["generations"]] == [16, 17]


def test_invariant_14_each_party_for_itself(fleet):
    """What an operator told one party, the other one has not heard."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for party, other in (PARTIES, PARTIES[::-1]):
        before = node.shown(other)
        for verb, say in (("suspend", "suspended"), ("resume", "approved")):
            expect(getattr(fleet, party).post(node.path(f"/{verb}"), {}), 200)
            assert node.shown(party)["state"] == say and node.shown(other) == before
    expect(fleet.registrar.post(node.path("/revoke"), {}), 200)
    node.reboot()
    node.unlock()  # the registrar's word is not the parties'


def test_node_routes_need_no_certificate_and_gain_nothing_by_one(fleet):
    node = fleet.node
    for cert in (None, "operator", "tenant", "verifier"):
        for party in PARTIES:
            expect(getattr(fleet, party).post(node.path("/challenge"), {"purpose": "boot"}, cert=cert), 200)
            answer = getattr(fleet, party).post(node.path("/release"), {"purpose": "boot"}, cert=cert)
            expect(answer, 400, "malformed")


def ask_again(connection, name):
    """A PUT on a connection that is there already: the status, None where the server has closed it."""
    try:
        connection.request("PUT", f"/v1/groups/{name}", "{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.auto_open = 0  # never a second connection


def read_anew(service):
    told = service.log_text().count("were read anew")
    service.process.send_signal(signal.SIGHUP)
    while service.log_text().count("were read anew") == told:
        time.sleep(0.01)


def test_invariant_14_a_connection_does_not_outlive_the_ca(fleet):
    """Two operators keep a connection open; the CA that vouched for one of them is taken out, the tenant told."""
    file, other = fleet.directory / "clients.pem", Pki(fleet.directory / "next-pki", "the next CA")
    next_one = other.issue("next", ["urn:tallyboot:operator:next"])
    file.write_bytes(fleet.pki.ca.read_bytes() + other.ca.read_bytes())
    fleet.tenant.extra["client-ca"] = file
    fleet.tenant.restart()
    try:
        idle, half = (fleet.tenant.connection("operator") for _ in range(2))
        stays = fleet.tenant.connection(next_one)
        for connection in (idle, half, stays):
            assert ask_again(connection, "before") == 200
        half.sock.sendall(b"PUT /v1/groups/after HTTP/1.1\r\nContent-Length: 2\r\n")  # its header has not ended
        file.write_bytes(other.ca.read_bytes())
        read_anew(fleet.tenant)
        try:
            half.sock.sendall(b"\r\n{}")
            answer = half.sock.recv(65536)
        except OSError:
            answer = b""  # it was told before it had read the beginning
        assert answer.startswith(b"HTTP/1.1 401 ") or not answer, answer
        assert ask_again(idle, "after") is None
        assert ask_again(stays, "before") == 200
    finally:
        del fleet.tenant.extra["client-ca"]
        fleet.tenant.restart()
    assert "after" not in str(fleet.tenant.get("/v1/groups").json)


def test_invariant_14_a_connection_does_not_outlive_its_certificate(fleet):
    for seconds in (2, 4, 8, 16):  # until the machine is quick enough to begin in that time
        cert = fleet.pki.issue("short", ["urn:tallyboot:operator:bob"], end=datetime.timedelta(seconds=seconds))
        expires = time.time() + seconds
        connection = fleet.tenant.connection(cert)
        if ask_again(connection, "before") == 200:
            break
    while time.time() < expires + 1.1:
        time.sleep(0.1)
    assert ask_again(connection, "expired") == 401
    assert ask_again(connection, "expired") is None
    assert "expired" not in str(fleet.tenant.get("/v1/groups").json)


def test_unknown_routes(fleet):
    node = fleet.node
    for one in fleet.services:
        for method, path in (("GET", "/"), ("GET", "/v1"), ("GET", "/v2/nodes"), ("GET", "/v1/nodes/"), ("GET", "/v1//nodes"),
                             ("PUT", "/v1/nodes"), ("PATCH", node.path()), ("GET", node.path("/half")),
                             ("GET", "/v1/nodes/" + "a" * 51),
                             ("GET", "/v1/nodes/" + node.id.upper()), ("GET", "/v1/nodes/../log"),
                             ("GET", "/v1/nodes/%2e%2e/log"), ("GET", node.path() + "%00"), ("GET", "/v1/groups/..%2f")):
            for cert in ("operator", None):
                answer = one.request(method, path, cert=cert)
                assert answer.status in (400, 401, 403, 404, 405) and answer.problem in ("not-found", "malformed", "unauthorized",
                                                                                         "method-not-allowed"), \
                    (one.role, method, path, answer)


if __name__ == "__main__":
    main(Setup)
