# SPDX-License-Identifier: LGPL-2.1-or-later
"""The three services, really running, on the loopback; and a client for them.

    with Fleet() as fleet:
        fleet.tenant.get("/v1/nodes")                      as the operator
        fleet.tenant.post("/v1/...", {...}, cert=None)     as a node
        fleet.tenant.kill(); fleet.tenant.start()

The programs come from build/, or from the directory in BUILD.
"""

import atexit
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import time

from pki import Pki
from swtpm import TestCa

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build")).resolve()
ROLES = ("registrar", "tenant", "verifier")
PROBLEM = "urn:tallyboot:problem:"
START_LIMIT = 240    # seconds; as all limits of the tests far more than a slow and busy machine takes
RESERVED = []    # sockets, see free_port
# How many requests come within a minute depends on the machine: only a test that sets a limit meets it.
NO_LIMIT = {"answers-per-minute": 100000, "requests-per-minute": 10000000, "uncertified-per-hour": 100000}


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The name of the problem, or None."""
        if self.headers.get("Content-Type", "").split(";")[0] != "application/problem+json":
            return None
        kind = self.json["type"]
        assert kind.startswith(PROBLEM) and self.json["status"] == self.status, self.body
        return kind[len(PROBLEM):]

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def free_port(number=0):
    """A port (this one) that nobody else is given until the end of this process: a socket is bound to it, and never listens.
    A service may listen there all the same, after a restart too, as both say SO_REUSEADDR: this one only when it has the port."""
    keeper = socket.socket()
    RESERVED.append(keeper)
    keeper.bind(("127.0.0.1", number))
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return keeper.getsockname()[1]


class Service:
    def __init__(self, fleet, role, name=None, database=None, port=None):
        self.fleet = fleet
        self.role = role
        self.name = name or role
        self.directory = fleet.directory / self.name
        self.directory.mkdir()
        self.database = database or self.directory / "database"
        self.port = port or free_port()
        self.process = None
        self.limits = {}
        self.heads = {}
        self.extra = {}
        self.keystore = {}
        self.log = self.directory / "log"

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def configure(self):
        """Written anew at every start, so that a test can change self.extra and self.limits."""
        pki, master = self.fleet.pki, self.fleet.master[self.role]
        service = {"listen": f"127.0.0.1:{self.port}", "certificate": pki.directory / f"{self.role}.pem",
                   "key": pki.directory / f"{self.role}.key", "client-ca": pki.ca, "database": self.database,
                   "master-key": master, "ek-roots": self.fleet.test_ca.roots, "ek-certificates": "required"}
        sections = {"service": service}
        if self.role == "tenant":
            service["payload-dir"] = self.directory / "payload"
            service["payload-dir"].mkdir(exist_ok=True, mode=0o700)
            sections["verifier"] = {"url": self.fleet.verifier.url, "ca": pki.ca}
        if self.role != "registrar":
            sections["registrar"] = {"url": self.fleet.registrar.url, "ca": pki.ca}
        service.update(self.extra)
        sections["limits"] = {**NO_LIMIT, **self.limits}
        if self.heads:
            sections["audit"] = self.heads
        if self.keystore:
            del service["master-key"]
            sections["keystore"] = self.keystore
        text = "".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items() if value is not None)
                       for name, section in sections.items())
        (self.directory / "conf").write_text(text)

    def command(self):
        return [str(BUILD / f"tallyboot-{self.role}"), "--config", str(self.directory / "conf")]

    def start(self):
        """Returns when the service has said that it is ready."""
        assert self.process is None
        self.configure()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            path = str(self.directory / "notify")
            if os.path.exists(path):
                os.unlink(path)
            ready.bind(path)
            ready.settimeout(0.1)
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                env={**os.environ, "NOTIFY_SOCKET": path})
            deadline = time.monotonic() + START_LIMIT
            while True:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(f"{self.name} does not start:\n{self.log_text()[-2000:]}")
                try:
                    if b"READY=1" in ready.recv(4096):
                        return
                except socket.timeout:
                    pass

    def stop(self):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(120)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None
        return code

    def kill(self):
        """As a power cut of the process: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        self.start()

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def context(self, cert):
        context = ssl.create_default_context(cafile=self.fleet.pki.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if cert is not None:
            files = cert if isinstance(cert, tuple) else (self.fleet.pki.directory / f"{cert}.pem",
                                                          self.fleet.pki.directory / f"{cert}.key")
            context.load_cert_chain(*files)
        return context

    def connection(self, cert=None, timeout=120):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context(cert), timeout=timeout)

    def request(self, method, path, body=None, cert="operator", headers=None, incident=None):
        """body: bytes as they are, anything else as JSON. cert: a name of the fleet's PKI, a pair of files, or None."""
        sent = {"Tallyboot-Incident": incident or secrets.token_hex(8)}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        elif method in ("POST", "PUT") and body is None:
            body = b""
        sent.update(headers or {})
        connection = self.connection(cert)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **keywords):
        return self.request("GET", path, **keywords)

    def post(self, path, body=None, **keywords):
        return self.request("POST", path, body, **keywords)

    def put(self, path, body=None, **keywords):
        return self.request("PUT", path, body, **keywords)

    def delete(self, path, **keywords):
        return self.request("DELETE", path, **keywords)

    def sql(self, text, *arguments):
        """Straight from the database file, as a thief or a test sees it."""
        with sqlite3.connect(self.database, timeout=120) as connection:
            return connection.execute(text, arguments).fetchall()

    def change(self, text, *arguments):
        """What a test cannot wait for. The number of rows."""
        with sqlite3.connect(self.database, timeout=120) as connection:
            return connection.execute(text, arguments).rowcount

    def audit(self, **query):
        """The records, as the operator gets them, but for the counts that a service writes by itself."""
        path = "/v1/log?" + "&".join(f"{key}={value}" for key, value in {"limit": 1000, **query}.items())
        answer = self.get(path)
        assert answer.status == 200, answer
        return [record for record in answer.json["records"] if record["event"] != "unproven"]


class Fleet:
    """A registrar, a tenant and a verifier with certificates of one CA, and EK roots of the software TPMs' CA."""

    def __init__(self, start=True, limits=None, **service):
        """limits: [limits], service: [service], of all three, in the words of their configuration."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-fleet-"))
        atexit.register(self.destroy)
        self.test_ca = TestCa(TOP / "build" / "test-ca")
        self.pki = Pki(self.directory / "pki")
        self.pki.issue("operator", ["urn:tallyboot:operator:alice"])
        for role in ROLES:
            self.pki.issue(role, [f"urn:tallyboot:{role}"], ["127.0.0.1", "localhost"])
        self.master = {}
        for role in ROLES:
            self.master[role] = self.directory / f"{role}.master"
            with open(os.open(self.master[role], os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        self.registrar, self.tenant, self.verifier = self.services = [Service(self, role) for role in ROLES]
        self.parties = self.services[1:]
        self.replicas = []
        for one in self.services:
            one.extra.update(service)
            one.limits.update(limits or {})
        if start:
            for one in self.services:
                one.start()

    @contextlib.contextmanager
    def nonces_of(self, seconds):
        """The parties' nonces are good for so long within, and as before after it."""
        usual = self.tenant.limits["nonce-ttl"]
        try:
            self.restart_parties(**{"nonce-ttl": seconds})
            yield
        finally:
            self.restart_parties(**{"nonce-ttl": usual})

    def restart_parties(self, **limits):
        for party in self.parties:
            party.limits.update(limits)
            party.restart()

    def replica(self, service):
        """A second process of the same role on the same database."""
        other = Service(self, service.role, f"{service.role}-{len(self.replicas) + 2}", service.database)
        other.extra, other.limits, other.heads, other.keystore = (dict(one)
                                                                  for one in (service.extra, service.limits, service.heads,
                                                                                       service.keystore))
        self.replicas.append(other)
        other.start()
        return other

    def join_token(self, group="default", seconds=3600, parties=None):
        """Makes one and gives it to both parties. The token's 20 bytes."""
        token = secrets.token_bytes(20)
        for party in parties or self.parties:
            join = field_hash("tallyboot join v1", party.role, token)
            answer = party.post("/v1/join-tokens", {"sha256": hashlib.sha256(join).hexdigest(), "group": group,
                                                   "expires": int(time.time()) + 1 + seconds})
            assert answer.status == 201, answer
        return token

    def expire(self, token):
        """Its time is over now, at both parties."""
        for party in self.parties:
            digest = hashlib.sha256(field_hash("tallyboot join v1", party.role, token)).hexdigest()
            assert party.change("UPDATE join_tokens SET expires = ? WHERE sha256 = ?", int(time.time()), digest) == 1

    def group(self, name="default", **settings):
        for party in self.parties:
            answer = party.put(f"/v1/groups/{name}", settings)
            assert answer.status == 200, answer

    def ctl(self, *words):
        """tallyctl as the operator: (exit code, all that it said)"""
        config = self.directory / "tallyctl.conf"
        mine = self.pki.directory / "operator"
        config.write_text(f"[operator]\nca = {self.pki.ca}\ncertificate = {mine}.pem\nkey = {mine}.key\n"
                          + "".join(f"{one.role} = {one.url}\n" for one in self.services))
        done = subprocess.run([BUILD / "tallyctl", "--config", config, *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False)
        return done.returncode, done.stdout

    def destroy(self):
        for one in self.services + self.replicas:
            one.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.destroy)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


def encode_fields(*values):
    """L(a, b, ...) of docs/protocol.md, 1."""
    out = b""
    for value in values:
        if isinstance(value, int):
            value = value.to_bytes(8, "big")
        elif isinstance(value, str):
            value = value.encode()
        out += len(value).to_bytes(4, "big") + value
    return out


def field_hash(*values):
    return hashlib.sha256(encode_fields(*values)).digest()
