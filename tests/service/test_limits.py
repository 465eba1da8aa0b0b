#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What no service may be made to do: read much, hang, fall over, or speak to somebody it should not. And how one is run."""

import concurrent.futures
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, skip
from node import ready
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()
        self.soft = ready(self, swtpm=SoftTpm(self.test_ca))


def raw(service, cert=None, **versions):
    """A TLS connection by hand."""
    context = service.context(cert)
    for name, value in versions.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", service.port), 120), server_hostname="127.0.0.1")


def answer_of(connection, request):
    """The status of what comes back, or None where the connection is closed."""
    connection.settimeout(120)
    data = b""
    try:
        connection.sendall(request)
    except OSError:
        pass
    try:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(4096)
            if not piece:
                break
            data += piece
    except OSError:
        pass
    return int(data.split(b" ", 2)[1]) if data else None


def test_health(fleet):
    for service in fleet.services:
        assert expect(service.get("/v1/health", cert=None), 200).json == {"status": "ok", "role": service.role}


def test_metrics(fleet):
    """Numbers for a monitor, which may read them and nothing else; nothing in them names a node."""
    monitor = "watch"
    fleet.pki.issue(monitor, ["urn:tallyboot:monitor:watch"])
    for service in fleet.services:
        for cert in (None, "tenant", "verifier"):
            expect(service.get("/v1/metrics", cert=cert), 403 if cert else 401, "unauthorized")
        for path in ("/v1/nodes", "/v1/log", "/v1/audit", "/v1/groups"):
            if path != "/v1/groups" or service.role != "registrar":
                expect(service.get(path, cert=monitor), 403, "unauthorized")
        answer = expect(service.get("/v1/metrics", cert=monitor), 200)
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text"), answer.headers
        text = answer.body.decode()
        assert text.endswith("# EOF\n") and fleet.soft.id not in text
        for name in ("tallyboot_info{role=\"%s\"" % service.role, "tallyboot_space 1\n", "tallyboot_certificate_end_seconds ",
                     "tallyboot_audit_records ", "tallyboot_nodes{state=", "tallyboot_refused_total{reason=\"unauthorized\"}"):
            assert name in text, (name, text)

    def releases(party):
        text = party.get("/v1/metrics", cert=monitor).body.decode()
        return int(text.split("tallyboot_releases_total ", 1)[1].split("\n", 1)[0])

    before = [releases(party) for party in fleet.parties]
    fleet.soft.unlock()
    assert [releases(party) for party in fleet.parties] == [number + 1 for number in before]


def test_malformed_requests(fleet):
    node = fleet.soft
    good = node.evidence("boot", node.challenges("boot"))
    for party in fleet.parties:
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b'{"purpose":"boot","purpose":"boot"}',
                     b'{"purpose":"\\u0000"}',
                     b'{"purpose":1}', b'{"purpose":"Boot"}', b'{"purpose":"boot "}', b"[" * 10000, b'{"a":' * 2000,
                     b'{"purpose":"boot"} x', b'{"purpose":1e999}'):
            expect(party.post(node.path("/challenge"), body, cert=None), 400, "malformed")
            expect(party.post(node.path("/release"), body, cert=None), 400, "malformed")
        for name in good:
            expect(node.release(party, {key: value for key, value in good.items() if key != name}), 400, "malformed")
            for wrong in (None, 1, True, [], {}, "", "!", "A"):
                answer = node.release(party, {**good, name: wrong})
                assert (answer.status, answer.problem) in ((400, "malformed"), (403, "bad-evidence")), (name, wrong, answer)
        for wrong in ({"sha256": {"24": "00" * 32}}, {"sha256": {"0": "00" * 31}}, {"md5": {"0": "00" * 16}},
                      {"sha256": {"00": "00" * 32}},
                      {"sha256": {"-1": "00" * 32}}, {"sha256": {"0": "zz" * 32}}, {"sha256": {"0": 1}}, {"sha256": []}):
            expect(node.release(party, {**good, "pcrs": wrong}), 400, "malformed")
    node.unlock()


def test_too_large(fleet):
    node = fleet.soft
    for party in fleet.parties:
        for tail in ("/challenge", "/release"):
            expect(party.post(node.path(tail), b" " * 16385, cert=None), 413, "too-large")
            expect(party.post(node.path(tail), b" " * 16384, cert=None), 400, "malformed")
        expect(party.put("/v1/groups/default/policy", b" " * (8 << 20)), 413, "too-large")
        expect(party.put("/v1/groups/default/policy", b" " * 100000, cert=None), 413, "too-large")  # who may not is read no more


def test_http_by_hand(fleet):
    """Chunked, without a length, two lengths, a header of a megabyte, another protocol."""
    for service in fleet.services:
        for request in (b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                        b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
                        b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                        b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
                        b"GET /v1/health HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20000)) + b"\r\n",
                        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"\0" * 100,
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            with raw(service) as connection:
                status = answer_of(connection, request)
                assert status is None or 400 <= status < 500, (service.role, request[:60], status)
        expect(service.get("/v1/health", cert=None), 200)


def test_tls_versions(fleet):
    for service in fleet.services:
        with raw(service) as connection:
            assert connection.version() == "TLSv1.3"
        with raw(service, minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2) as connection:
            assert connection.version() == "TLSv1.2"
        try:
            warnings.simplefilter("ignore")
            old = service.context(None)
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.wrap_socket(socket.create_connection(("127.0.0.1", service.port), 120), server_hostname="127.0.0.1").close()
            raise AssertionError("TLS 1.1 was accepted")
        except (ssl.SSLError, OSError):
            pass
        with socket.create_connection(("127.0.0.1", service.port), 120) as plain:
            status = answer_of(plain, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status is None or status >= 400, "answered without TLS"


def test_keep_alive(fleet):
    connection = fleet.tenant.connection()
    for _ in range(5):
        connection.request("GET", "/v1/health")
        assert connection.getresponse().read()
    connection.close()


def test_idle_connections_block_nobody(fleet):
    """CVE-2023-38200: hundreds of connections that never say a word, some without TLS; the node is served."""
    idle = []
    try:
        for _ in range(300):
            idle.append(socket.create_connection(("127.0.0.1", fleet.tenant.port), 120))
        for _ in range(30):
            connection = raw(fleet.tenant)
            connection.sendall(b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            idle.append(connection)
        begin = time.monotonic()
        fleet.soft.boot()
        fleet.soft.reboot()
        fleet.soft.unlock()
        assert time.monotonic() - begin < 100    # one after the other they would take an hour
    finally:
        for one in idle:
            one.close()


def test_many_at_once(fleet):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: fleet.soft.send("tenant", "/challenge", {"purpose": "boot"}).status, range(200)))
    assert set(answers) <= {200, 429} and answers.count(200) >= 5, {status: answers.count(status) for status in set(answers)}


def test_problem_documents(fleet):
    """RFC 9457, with the node's incident id, and with nothing of ours that helps anybody."""
    incident = secrets.token_hex(8)
    for service in fleet.services:
        answer = service.get("/v1/nothing", cert=None, incident=incident)
        expect(answer, 404, "not-found")
        assert set(answer.json) == {"type", "title", "status", "incident"} and answer.json["incident"] == incident
        assert service.post("/v1/nodes", b"x", cert=None, incident="../../x\x1b").status in (400, 404, 405)
        log = service.log_text()
        assert "\x1b" not in log
        assert not [name for name in answer.headers if name.lower() == "server"]


def test_log_lines_are_clean(fleet):
    """CVE-2022-23949: nothing foreign puts lines or colours into the log."""
    before = fleet.tenant.log_text().count("\n")
    for path in ("/v1/nodes?state=%0aok", "/v1/\x01", "/v1/nodes/\x1b[31m"):
        with raw(fleet.tenant, "operator") as connection:
            answer_of(connection, f"GET {path} HTTP/1.1\r\nHost: x\r\nTallyboot-Incident: a\x1bb\r\n\r\n".encode("latin-1"))
    text = fleet.tenant.log_text()
    assert not any(ord(c) < 32 and c != "\n" for c in text) and text.count("\n") - before < 10


def start(service, text):
    """(exit code, what it said) of a service with this configuration; it must end by itself."""
    path = service.directory / "other-conf"
    path.write_text(text)
    done = subprocess.run([service.command()[0], "--config", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def test_configuration(fleet):
    """An unknown key with its line, a missing one, a key that others can read, another role's database: words, exit code, no
    service."""
    for service in fleet.services:
        good = (service.directory / "conf").read_text()
        for text, words in ((good + "[nonsense]\nx = 1\n", "nonsense"), (good.replace("listen =", "lisen ="), "2: "),
                            (good.replace("[service]\n", "[service]\ncolour = red\n"), "2: "),
                            ("\n".join(good.splitlines()[:2]), "certificate"),
                            (good.replace("required", "perhaps"), "ek-certificates"), ("", "listen"), ("x" * 100, "1: ")):
            code, said = start(service, text)
            assert code == 2 and words in said, (service.role, code, said)
        key = service.directory / "wide.key"
        key.write_bytes((fleet.pki.directory / f"{service.role}.key").read_bytes())
        os.chmod(key, 0o644)
        other = next(one for one in fleet.services if one != service)
        lines = {line.split(" = ")[0]: line for line in good.splitlines()}
        free = "listen = 127.0.0.1:0"
        for text, words in ((good.replace(lines["key"], f"key = {key}"), "600"),
                            (good.replace(lines["database"], f"database = {other.database}"), "database"),
                            (good.replace(lines["master-key"], f"master-key = {fleet.master[other.role]}"), "master key"),
                            (good.replace(lines["certificate"], "certificate = /nonexistent"), "/nonexistent")):
            code, said = start(service, text.replace(lines["listen"], free))
            assert code in (1, 2) and words in said, (service.role, words, code, said)
        code, said = start(service, good)
        assert code != 0 and str(service.port) in said, said  # its address is taken


def test_reload(fleet):
    """SIGHUP: a new certificate for new connections; one that is broken leaves the old one in place."""
    service = fleet.verifier
    pem = fleet.pki.directory / "verifier.pem"

    def served():
        with raw(service) as connection:
            return connection.getpeercert(binary_form=True)

    before = served()
    fleet.pki.issue("verifier", ["urn:tallyboot:verifier"], ["127.0.0.1"])
    service.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 120
    while served() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    after = served()
    assert after != before
    keep = pem.read_bytes()
    pem.write_bytes(b"broken")
    service.process.send_signal(signal.SIGHUP)
    while "The certificates could not be read anew" not in service.log_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "The certificates could not be read anew" in service.log_text()
    assert served() == after and service.process.poll() is None
    pem.write_bytes(keep)


def test_socket_activation(fleet):
    """Started by a socket of systemd's: nothing is lost while the service is not there."""
    service = fleet.registrar
    service.stop()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", service.port))
        listener.listen(16)
        descriptor = os.dup2(listener.fileno(), 50, inheritable=True)
        script = "import os,sys; os.dup2(50,3); os.environ['LISTEN_PID']=str(os.getpid()); os.environ['LISTEN_FDS']='1'; " \
                 "os.execv(sys.argv[1], sys.argv[1:])"
        with open(service.log, "ab") as log:
            process = subprocess.Popen([sys.executable, "-c", script, *service.command()], pass_fds=[descriptor],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.close(descriptor)
        try:
            expect(service.get("/v1/health", cert=None), 200)
        finally:
            process.terminate()
            assert process.wait(120) == 0
    service.start()


def test_database_full(fleet):
    """No room for the record: no release. When there is room again it goes on by itself."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        skip("needs root for prlimit")
    node = fleet.soft
    node.reboot()
    party = fleet.tenant
    wal = party.database.with_name(party.database.name + "-wal")
    message = node.evidence("boot", node.challenges("boot"))
    size = max(os.path.getsize(party.database), os.path.getsize(wal) if wal.exists() else 0)
    subprocess.run(["prlimit", "--pid", str(party.process.pid), f"--fsize={min(size, 4096)}:"], check=True)
    answer = node.release("tenant", message)
    assert answer.status in (500, 503) and answer.problem in ("unavailable", "internal"), answer
    assert b"halves" not in answer.body
    subprocess.run(["prlimit", "--pid", str(party.process.pid), "--fsize=unlimited:"], check=True)
    expect(node.release("tenant", message), 200)
    assert json.loads(node.release("tenant", message).body)["status"] == 409


def test_audit_chain_of_a_live_service(fleet):
    """After all of this the records are chained from the first to the last (checked here, with no code of ours)."""
    from services import field_hash
    for service in fleet.services:
        previous, count = bytes(32), 0
        for seq, when, event, node, incident, who, detail, found in service.sql("SELECT * FROM audit ORDER BY seq"):
            count += 1
            previous = field_hash("tallyboot audit v1", previous, seq, when, event, node, incident, who, detail)
            assert seq == count and found == previous, (service.role, seq)
        assert count > 0 or service.role == "registrar"


if __name__ == "__main__":
    main(Setup)
