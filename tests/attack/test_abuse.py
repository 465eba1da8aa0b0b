#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services under abuse: connections that do nothing, floods of what proves nothing, handlers that fail, a disk that fills. Honest
nodes are served, memory and log stay bounded, and nothing dies silently."""

import base64
import http.client
import json
import os
import resource
import secrets
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused, skip
from node import PARTIES, Node, ready
from services import BUILD, Fleet
from softtpm import SoftTpm

CONNECTIONS = 1000
LIMIT = 120  # seconds that a slow machine may take for what takes no time
STRANGER = "127.0.0.2"  # another address than the honest nodes'
MB = 1024 * 1024


class Setup(Fleet):
    def __init__(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
        super().__init__()
        self.group()
        self.node = ready(self, swtpm=SoftTpm(self.test_ca))

    def serve_honest(self):
        """A whole boot, at each party."""
        self.node.reboot()
        opened = self.node.unlock()
        assert all(opened[party][0] for party in PARTIES)


def dial(service, source=STRANGER):
    return socket.create_connection(("127.0.0.1", service.port), LIMIT, (source, 0))


def tls(service, connection):
    return service.context(None).wrap_socket(connection, server_hostname="127.0.0.1")


def peak(service):
    """The most memory that it ever had, in bytes; 0 for one that AddressSanitizer keeps freed memory of."""
    if "asan" in BUILD.parts:
        return 0
    text = open(f"/proc/{service.process.pid}/status").read()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def counted(service):
    return expect(service.get("/v1/audit"), 200).json["counts"]


def slow(service, number, kind):
    """number connections that hold what they can and never end what they begin."""
    held = []
    for i in range(number):
        try:
            connection = dial(service)
            if kind == "idle tls":
                connection = tls(service, connection)
            elif kind == "handshake":
                connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # a ClientHello that begins
            elif kind == "slow body":
                connection = tls(service, connection)
                connection.sendall(b"POST /v1/nodes/x/release HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n" + b"{" * 4000)
            elif kind == "slow header":
                connection = tls(service, connection)
                connection.sendall(b"GET /v1/health HTTP/1.1\r\nX-Y: " + b"a" * 10000)
            held.append(connection)
        except (OSError, ssl.SSLError):
            pass  # it was thrown out meanwhile
    return held


def test_idle_tls_connections_block_the_service(fleet):
    """CVE-2023-38200: 1,000 connections of each kind at each party."""
    for kind in ("silent", "handshake", "idle tls", "slow header", "slow body"):
        held = slow(fleet.tenant, CONNECTIONS, kind) + slow(fleet.verifier, CONNECTIONS // 4, kind)
        try:
            assert len(held) > CONNECTIONS * 0.9, (kind, len(held))
            fleet.serve_honest()
        finally:
            for one in held:
                one.close()
    for service in fleet.parties:
        assert peak(service) < 200 * MB, (service.role, peak(service) / MB)


def until(is_true, what):
    deadline = time.monotonic() + LIMIT
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def open_ones(held):
    """How many the other side has not closed."""
    alive = 0
    for one in held:
        one.settimeout(0)
        try:
            alive += one.recv(1) != b""
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
    return alive


def test_no_address_holds_more_than_its_share(fleet):
    """Places for 48, and a stranger who wants 1,000: he gets 12, and the honest node's own connection stays open meanwhile."""
    service = fleet.registrar
    service.limits.update({"connections": 48, "connections-per-address": 12})
    service.restart()
    try:
        honest = service.connection()
        honest.request("GET", "/v1/health")
        assert honest.getresponse().read()
        mine = honest.sock
        held = slow(service, 300, "silent")
        until(lambda: open_ones(held) <= 12, "the stranger has more than his share")
        assert open_ones(held) >= 4
        honest.request("GET", "/v1/health")
        assert honest.getresponse().read() and honest.sock is mine
        assert counted(service)["evicted"] >= 280
        for one in held:
            one.close()
        honest.close()
    finally:
        service.limits.clear()
        service.restart()


def test_memory_has_a_budget(fleet):
    """Bodies under way have 4 MB together, and an address half of it: 503 above, and all of it comes back."""
    service = fleet.tenant
    service.limits.update({"memory": 4})
    service.restart()
    held, answers, room = [], {}, 2 * MB // 16384

    def read_answers():
        for connection in set(held) - set(answers):
            try:
                answers[connection] = connection.recv(4096)
            except ssl.SSLWantReadError:
                pass

    def statuses():
        return [int(answer.split(b" ")[1]) for answer in answers.values()]

    try:
        for _ in range(room + 60):  # shaken hands with before the first of them has to be done with its request
            held.append(tls(service, dial(service)))
        for connection in held:
            connection.sendall(b"POST /v1/nodes/x/release HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\n\r\n{")
            connection.settimeout(0)
        until(lambda: read_answers() or len(answers) >= 60, "there is more room than that")
        fleet.serve_honest()
        read_answers()
        assert statuses() == [503] * 60 and all(b"Retry-After:" in answer for answer in answers.values()), statuses()
        assert counted(service)["memory-full"] == 60
    finally:
        for one in held:
            one.close()

    def is_served():
        connection = tls(service, dial(service))
        connection.sendall(b"POST /v1/nodes/x/release HTTP/1.1\r\nHost: x\r\n"
                           b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        return b" 404 " in connection.recv(4096)
    until(is_served, "the memory of those that are gone")
    service.limits.clear()
    service.restart()


def flood(service, path, bodies, over, statuses):
    """Until it is over; statuses: how often each was answered."""
    context = service.context(None)
    while not over.is_set():
        connection = http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=LIMIT,
                                                 source_address=(STRANGER, 0))
        try:
            for body in bodies:
                connection.request("POST", path, body, {"Tallyboot-Incident": secrets.token_hex(8)})
                answer = connection.getresponse()
                answer.read()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()


def test_a_flood_of_bad_evidence_leaves_honest_nodes_served(fleet):
    """Evidence with a nonce that is right and a signature that is not, from another address, in the name of the honest node."""
    service, node = fleet.tenant, fleet.node
    service.limits.update({"requests-per-minute": 300, "nonce-ttl": 3600})
    service.restart()
    node.reboot()
    good = node.evidence("boot", node.challenges("boot"))
    bodies = []
    for _ in range(8):
        bad = dict(good)
        signature = bytearray(base64.urlsafe_b64decode(bad["signature"] + "=="))
        signature[-1] ^= secrets.randbelow(255) + 1
        bad["signature"] = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        bodies.append(json.dumps(bad).encode())
    bodies += [b"{", b"[" * 5000, b"x" * 16385]
    records, statuses = len(service.audit()), {}
    size = os.path.getsize(service.log)
    over, began = threading.Event(), time.monotonic()
    threads = [threading.Thread(target=flood, args=(service, node.path("/release"), bodies, over, statuses)) for _ in range(6)]
    for one in threads:
        one.start()
    try:
        for _ in range(3):
            fleet.serve_honest()
        while sum(statuses.values()) <= 700 and time.monotonic() < began + 400:  # however slow this machine is
            time.sleep(0.05)
        fleet.serve_honest()
    finally:
        over.set()
        for one in threads:
            one.join()
    minutes = 1 + int((time.monotonic() - began) // 60)
    assert set(statuses) <= {400, 403, 413, 429} and statuses[429] > 0 and statuses[403] > 0, statuses
    assert sum(statuses.values()) > 700 and statuses[400] + statuses[403] <= 300 * minutes + 10, statuses
    new = [record["event"] for record in service.audit()[records:]]
    assert set(new) <= {"release", "refusal"} and len(new) <= 5, new
    assert os.path.getsize(service.log) - size < 20000 * minutes  # a few lines of each kind, and not one for each
    assert peak(service) < 200 * MB
    service.limits.clear()
    service.restart()


def unproven(service):
    return [json.loads(record["detail"]) for record in service.get("/v1/log?limit=1000").json["records"]
            if record["event"] == "unproven"]


def test_what_is_not_proven_is_counted_and_sampled(fleet):
    """Hundreds of bad requests: one record with numbers, and a few samples with their address."""
    service, incident = fleet.verifier, secrets.token_hex(8)
    service.restart()
    before = len(unproven(service))
    for _ in range(60):
        expect(service.post(fleet.node.path("/release"), b"{", cert=None, incident=incident), 400, "malformed")
    for _ in range(40):
        expect(service.get("/v1/nodes", cert=None), 401, "unauthorized")
    until(lambda: len(unproven(service)) > before, "they are in no record")
    found = unproven(service)[before:]
    assert len(found) == 1, found
    totals = counted(service)
    assert totals["malformed"] == 60 and totals["unauthorized"] == 40, totals
    assert all(len(one["samples"]) <= 12 for one in found)
    sample = next(one for one in found[-1]["samples"] if one["reason"] == "malformed")
    assert sample == {"reason": "malformed", "address": "127.0.0.1", "node": fleet.node.id, "incident": incident}, sample


def test_silent_death_of_a_verifier_task(fleet):
    """CVE-2022-3500: whatever fails in a handler is an answer, a number, a line; the next request is served."""
    service, node = fleet.verifier, fleet.node
    node.reboot()
    before = counted(service).get("unavailable", 0)
    with sqlite3.connect(service.database, timeout=LIMIT) as database:
        database.execute("ALTER TABLE groups RENAME TO groups_gone")
    database.close()
    try:
        for _ in range(40):  # more than there are threads
            expect(node.send("verifier", "/challenge", {"purpose": "boot"}), 503, "unavailable")
        assert counted(service)["unavailable"] - before == 40
        assert f"/v1/nodes/{node.id}/challenge" in service.log_text()[-4000:]
        expect(service.get("/v1/health", cert=None), 200)
    finally:
        with sqlite3.connect(service.database, timeout=LIMIT) as database:
            database.execute("ALTER TABLE groups_gone RENAME TO groups")
        database.close()
    fleet.serve_honest()


def test_challenge_bypass_through_an_error_message(fleet):
    """CVE-2023-38201: what any refusal says is a text of the program's own, whatever was sent; nothing that was derived from a
    secret."""
    node = fleet.node
    node.reboot()
    good = node.evidence("boot", node.challenges("boot"))
    titles = set()
    for party in fleet.parties:
        for name in good:
            for wrong in ("A" * len(str(good[name])), "", 7, None, {"sha256": {"0": "00" * 32}}):
                answer = node.release(party.role, {**good, name: wrong})
                assert answer.status >= 400 and set(answer.json) == {"type", "title", "status", "incident"}, answer
                titles.add(answer.json["title"])
        for path in ("/release", "/challenge", "/payload", "/confirm"):
            for body in (b"", b"{", secrets.token_bytes(64), json.dumps({"purpose": "enroll"}).encode()):
                answer = party.post(node.path(path), body, cert=None)
                if answer.status >= 400:
                    titles.add(answer.json["title"])
        words = " ".join(titles)
        sources = "".join(open(os.path.join(root, name)).read() for root, _, names in os.walk(SOURCES)
                          for name in names if name.endswith(".c"))
        for title in titles:
            assert f'"{title}"' in sources, title  # word for word in the program: nothing was put into it
        assert not any(char.isdigit() for char in words), words
    fleet.serve_honest()


SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")


class Small:
    """A service's database on a file system of a few megabytes."""

    def __init__(self, service, megabytes):
        self.service, self.megabytes = service, megabytes
        self.where = service.directory / "small"

    def __enter__(self):
        self.service.stop()
        self.where.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m,mode=700", "tmpfs", self.where],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            self.service.start()
            skip(f"no file system can be mounted here: {done.stdout.decode().strip()}")
        self.before = self.service.database
        for tail in ("", "-wal", "-shm"):
            if os.path.exists(f"{self.before}{tail}"):
                subprocess.run(["cp", "-p", f"{self.before}{tail}", self.where], check=True)
        self.service.database = self.where / self.before.name
        self.service.limits["free-space"] = 2
        self.service.start()
        return self

    def fill(self, leave):
        """All but leave bytes."""
        with open(self.where / "ballast", "ab") as file:
            fs = os.statvfs(self.where)
            left = fs.f_bavail * fs.f_frsize - leave
            try:
                while left > 0:
                    left -= os.write(file.fileno(), bytes(min(left, 65536)))
            except OSError:
                pass

    def empty(self):
        (self.where / "ballast").unlink()

    def __exit__(self, *_):
        self.service.stop()
        for tail in ("", "-wal", "-shm"):
            if os.path.exists(f"{self.before}{tail}"):
                os.unlink(f"{self.before}{tail}")
            if os.path.exists(f"{self.service.database}{tail}"):
                subprocess.run(["cp", "-p", f"{self.service.database}{tail}", self.before.parent], check=True)
        subprocess.run(["umount", self.where], check=True)
        self.service.database = self.before
        self.service.limits.clear()
        self.service.start()


def health(service, wanted):
    until(lambda: expect(service.get("/v1/health", cert=None), 200).json["status"] == wanted, wanted)


def test_disk_full(fleet):
    """Little room: nothing new, releases go on. None: no release without its record. Room again: all as before, nothing
    damaged."""
    service, node = fleet.tenant, fleet.node
    stranger = Node(fleet, SoftTpm(fleet.test_ca))
    assert stranger.register().status == 201
    with Small(service, 8) as small:
        fleet.serve_honest()
        small.fill(1500 * 1024)
        health(service, "low-space")
        answer = expect(stranger.send("tenant", "/challenge", {"purpose": "enroll"}), 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        expect(service.post("/v1/join-tokens", {"sha256": secrets.token_hex(32), "group": "default",
                                                "expires": int(time.time()) + 100}),
               503, "unavailable")
        fleet.serve_honest()
        small.fill(0)

        def is_refused():
            node.reboot()
            answer = node.release("tenant", node.evidence("boot", node.challenges("boot")))
            if answer.status == 200:  # what is left in the log's own file is used up first
                return False
            expect(answer, 503, "unavailable")
            assert b"halves" not in answer.body
            return True

        refusals = 0
        for _ in range(300):
            refusals += is_refused()
            if refusals == 5:
                break
        assert refusals == 5
        # it is called full for some seconds after a record had no room
        until(lambda: is_refused() and service.get("/v1/health", cert=None).json["status"] == "full", "full")
        expect(service.get(node.path("")), 200)
        small.empty()
        health(service, "ok")
        fleet.serve_honest()
        refused("pending-approval", stranger.ask, "enroll", {"keys": []}, None, ("tenant",))
        with sqlite3.connect(service.database, timeout=LIMIT) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            seqs = [row[0] for row in database.execute("SELECT seq FROM audit ORDER BY seq")]
        database.close()
        assert seqs == list(range(1, len(seqs) + 1))
    fleet.serve_honest()


def half_an_upload(service, path, ticket, size):
    """Says 30 MB, sends so many bytes; the socket."""
    connection = tls(service, dial(service))
    connection.settimeout(LIMIT)
    try:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {30 * MB}\r\n"
                           f"Authorization: Tallyboot {ticket}\r\n\r\n".encode())
        connection.sendall(bytes(size))
    except OSError:
        pass    # cut off
    return connection


def test_uploads_leave_room_for_releases(fleet):
    """A proven node sends logs, many at a time and none to its end: they are cut off before the disk is full, and others boot."""
    service, node = fleet.verifier, fleet.node
    old = service.get("/v1/groups/default/policy").json
    service.limits["answers-per-minute"] = 1000
    with Small(service, 24) as small:
        put = service.put("/v1/groups/default/policy", {"text": old["text"] + "\n[firmware]\nsecure-boot = on\n",
                                                        "version": old["version"]})
        node.reboot()
        answer = node.release("verifier", node.evidence("boot", node.challenges("boot")))
        assert answer.problem == "logs-wanted", answer
        expect(service.put("/v1/groups/default/policy", {"text": old["text"], "version": expect(put, 200).json["version"]}), 200)

        def left():
            time.sleep(0.2)
            fs = os.statvfs(small.where)
            return fs.f_bavail * fs.f_frsize

        held = []
        try:
            for size in (6 * MB, MB, MB // 16):
                for _ in range(24):
                    if left() > size + MB // 16:
                        held.append(half_an_upload(service, node.path("/release/logs"), answer.json["ticket"], size))
            assert left() > MB, left()
            fleet.serve_honest()
        finally:
            for connection in held:
                connection.close()
        health(service, "ok")
        fleet.serve_honest()


if __name__ == "__main__":
    main(Setup)
