# SPDX-License-Identifier: LGPL-2.1-or-later
"""Releases a second of a tenant whose master key is in an HSM (SoftHSM, its module in a process apart) beside one whose is a
file. The evidence is made beforehand; clients write ready requests on open connections. In turns, so that a busy machine slows
both."""
import concurrent.futures
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

from node import ready
from services import BUILD, Fleet
from softhsm import MODULE, PIN, SoftHsm
from softtpm import SoftTpm
from table import row, title, undisturbed

CLIENTS, RELEASES = 8, 400
LIMITS = {"answers-per-minute": 100000, "requests-per-minute": 10000000}
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Party(Fleet):
    def __init__(self, keystore=None):
        super().__init__(start=False)
        self.rates, self.processor = [], []
        for one in self.services:
            one.limits = dict(LIMITS)
        self.registrar.start()
        self.verifier.start()
        if keystore:
            self.tenant.keystore = keystore(self)
            self.tenant.configure()
            subprocess.run([str(BUILD / "tallyctl"), "keystore", "init", "--config", str(self.tenant.directory / "conf")],
                           check=True, stdout=subprocess.DEVNULL)
        self.tenant.start()
        self.group()
        self.node = ready(self, swtpm=SoftTpm(self.test_ca))
        self.node.unlock()

    def requests(self, n):
        """So many releases of this boot, each with a nonce of its own."""
        verifier = self.node.challenge("verifier", "boot")
        out = []
        for _ in range(n):
            message = self.node.evidence("boot", {"tenant": self.node.challenge("tenant", "boot"), "verifier": verifier})
            body = json.dumps(message).encode()
            out.append(f"POST {self.node.path('/release')} HTTP/1.1\r\nHost: tenant\r\nContent-Type: application/json\r\nContent-Length: "
                       f"{len(body)}\r\nTallyboot-Incident: {self.node.incident}\r\n\r\n".encode() + body)
        return out

    def used(self):
        """Seconds of processor time of the tenant and what it started."""
        pids = [self.tenant.process.pid, *map(int, subprocess.run(["pgrep", "-P", str(self.tenant.process.pid)],
                                                                  stdout=subprocess.PIPE, check=False).stdout.split())]
        fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def client(self, requests):
        connection = self.tenant.connection(None)
        connection.connect()
        sock = connection.sock
        yield
        for request in requests:
            sock.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += sock.recv(65536)
            head, body = answer.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200"), head + body
            length = int(LENGTH.search(head)[1])
            while len(body) < length:
                body += sock.recv(65536)
        connection.close()

    def once(self, measured=True):
        requests = self.requests(RELEASES)
        clients = [self.client(requests[i::CLIENTS]) for i in range(CLIENTS)]
        for client in clients:
            next(client)
        before, start = self.used(), time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(lambda one: next(one, None), client) for client in clients]:
                done.result()
        if measured:
            self.rates.append(RELEASES / (time.perf_counter() - start))
            self.processor.append((self.used() - before) / RELEASES * 1000)


def cold(fleet, rounds):
    """ms of the first release after a start, and of the next one: the difference is the HSM."""
    first, second = [], []
    for _ in range(rounds):
        fleet.tenant.restart()
        for times in (first, second):
            message = fleet.node.evidence("boot", fleet.node.challenges("boot"))
            start = time.perf_counter()
            assert fleet.node.release("tenant", message).status == 200
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(first), statistics.median(second)


def report(file, hsm, away, warm, rounds):
    title(f"Releases by a tenant, its group's key in memory (median of {rounds} times {RELEASES}, {CLIENTS} connections)")
    for name, fleet in (("master key in a file", file), ("master key in SoftHSM", hsm)):
        row(name, f"{statistics.median(fleet.rates):.0f} a second",
            f"{statistics.median(fleet.processor):.2f} ms of processor time each")
    ratio = statistics.median(hsm.rates) / statistics.median(file.rates)
    row("SoftHSM / file", f"{ratio:.2f}", f"goal 0.9: {'met' if ratio >= 0.9 else 'NOT met'}")
    row("SoftHSM, first release of a group after a start", f"{away:.1f} ms",
        f"{warm:.1f} the next: one question to the token between them")


def measure(rounds):
    with SoftHsm() as token:
        token.token("bench")
        os.environ.update(token.environment)
        pin = token.directory / "pin"
        pin.write_text(PIN)
        pin.chmod(0o600)
        options = {"master": "pkcs11:token=bench;object=master", "module": MODULE, "pin": f"file:{pin}"}
        with Party() as file, Party(lambda fleet: options) as hsm:
            for fleet in (file, hsm):
                fleet.once(measured=False)
            for _ in range(rounds):
                file.once()
                hsm.once()
            report(file, hsm, *cold(hsm, rounds), rounds)


def run(rounds):
    with undisturbed():
        measure(rounds)
