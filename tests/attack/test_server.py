#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server answers as an attacker: the tenant was taken over, has its certificate and key, and answers the node with everything
but an answer. The node's unlocker ends in bounded time and memory, says why, opens nothing, and the next boot with an honest
tenant opens."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from services import BUILD
from unlocking import EXIT, Unlocking

MEMORY = 64 * 1024 if "asan" not in BUILD.parts else 1024 * 1024  # KB; AddressSanitizer keeps freed memory
SECONDS = 120
PATIENCE = {"connect_timeout": "20", "exchange_timeout": "5"}    # the second is what ends those that drip
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def setup():
    lab = Unlocking()
    lab.volume("root")
    lab.ready()
    return lab


def forever(connection, piece, pause=0.0):
    while True:
        connection.sendall(piece)
        if pause:
            time.sleep(pause)


class Evil:
    """A server with the tenant's certificate; behave(connection) sees each of its connections after the first bytes of a
    request."""

    def __init__(self, fleet, behave):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(fleet.pki.directory / "tenant.pem", fleet.pki.directory / "tenant.key")
        self.behave = behave
        self.served = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with self.context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(65536)
                self.served += 1
                self.behave(wrapped)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def unlock_at(lab, url):
    """(status, text, seconds, most memory in KB)"""
    process = subprocess.Popen(lab.command("unlock", "--test", "--device", lab.node.volumes[0][0], tenant=url, **PATIENCE),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    begin = time.monotonic()
    killer = threading.Timer(SECONDS * 2, process.kill)
    killer.start()
    text = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, text, time.monotonic() - begin, usage.ru_maxrss


def attack(lab, behave):
    lab.power_on()
    with Evil(lab.fleet, behave) as evil:
        status, text, seconds, memory = unlock_at(lab, evil.url)
        assert evil.served > 0, text
    assert status in (EXIT["failed"], EXIT["refused"], EXIT["unreachable"]) and "tenant" in text, (status, text)
    assert seconds < SECONDS and memory < MEMORY, (seconds, memory, text)
    assert not any(ord(char) < 32 and char != "\n" for char in text) and text.count("\n") < 40, text


def test_server_answers_as_an_attacker_large_header(lab):
    attack(lab, lambda c: c.sendall(OK + b"X: " + b"a" * (1 << 20) + b"\r\nContent-Length: 2\r\n\r\n{}"))
    attack(lab, lambda c: (c.sendall(OK), forever(c, b"X-Y: z\r\n" * 1000)))


def test_server_answers_as_an_attacker_bomb(lab):
    attack(lab, lambda c: (c.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n"),
                           forever(c, b"fff8\r\n" + b"a" * 0xFFF8 + b"\r\n")))
    attack(lab, lambda c: (c.sendall(OK + b"Content-Length: 99999999999\r\n\r\n"), forever(c, b" " * 65536)))
    attack(lab, lambda c: (c.sendall(OK + b"Content-Encoding: gzip\r\n\r\n"), forever(c, b"\0" * 65536)))


def test_server_answers_as_an_attacker_deep_json(lab):
    for body in (b"[" * 60000, b'{"a":' * 10000, b'{"nonce":"' + b"A" * 60000 + b'"}', b'{"nonce":1,"nonce":2}', b'{"ttl":1e999}',
                 b"\xff" * 1000):
        attack(lab, lambda c, body=body: c.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body))


def test_server_answers_as_an_attacker_truncated(lab):
    attack(lab, lambda c: c.sendall(OK + b"Content-Length: 1000\r\n\r\n{"))
    attack(lab, lambda c: c.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{"))
    attack(lab, lambda c: c.sendall(b"HTTP/1.1 20"))
    attack(lab, lambda c: None)


def test_server_answers_as_an_attacker_slow_drip(lab):
    attack(lab, lambda c: (c.sendall(OK + b"Content-Length: 1000\r\n\r\n"), forever(c, b" ", 0.2)))
    attack(lab, lambda c: forever(c, b"H", 0.2))
    attack(lab, lambda c: time.sleep(SECONDS))


def test_server_answers_as_an_attacker_elsewhere(lab):
    """A redirect, an answer without end of informational ones, words for the terminal."""
    with Evil(lab.fleet, lambda c: None) as other:
        attack(lab, lambda c: c.sendall(f"HTTP/1.1 307 There\r\nLocation: {other.url}/v1\r\nContent-Length: 0\r\n\r\n".encode()))
        assert other.served == 0
    attack(lab, lambda c: forever(c, b"HTTP/1.1 100 Continue\r\n\r\n"))
    problem = b'{"type":"urn:tallyboot:problem:\\u001b[31mx","title":"\\u001b[2J\\nroot: ok","status":403,"incident":"x"}'
    head = b"HTTP/1.1 403 No\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(problem)
    attack(lab, lambda c: c.sendall(head + problem))


def test_the_control_of_these_tests(lab):
    lab.power_on()
    done = lab.unlock()
    assert done.status == 0, done


if __name__ == "__main__":
    main(setup)
