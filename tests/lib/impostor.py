# SPDX-License-Identifier: LGPL-2.1-or-later
"""A party that has gone bad: its own certificate, its own address, and answers that no honest one gives.

    with Impostor(fleet.verifier) as bad:
        bad.at, bad.act = "/release", lambda exchange: exchange.send(b"...")      to the answers of one route
        lab.unlock(verifier=bad.url)

What it does not spoil it asks the real service and passes on.
"""

import hashlib
import json
import socket
import ssl
import threading

import hpke
from node import unb64, b64
from services import encode_fields


class Exchange:
    """One request, with what the real service answers to it."""

    def __init__(self, impostor, tls, path, body, headers):
        self.impostor, self.tls, self.path, self.body = impostor, tls, path, body
        self.answer = impostor.party.request("POST" if body is not None else "GET", path, body, cert=None,
                                             headers={key: value for key, value in headers.items() if key == "authorization"},
                                             incident=headers.get("tallyboot-incident"))

    @property
    def message(self):
        return json.loads(self.body)

    def raw(self, data):
        self.tls.sendall(data)

    def send(self, body, status=None, kind="application/json"):
        head = f"HTTP/1.1 {status or self.answer.status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.raw(head.encode() + body)

    def seal(self, halves, details, to=None):
        """An answer to a release, to this NK or to another point, as the real party would seal it."""
        message, node = self.message, self.path.split("/")[3]
        aad = hashlib.sha256(unb64(message["attest"])).digest()
        info = encode_fields("tallyboot half v1", self.impostor.party.role, node, message["purpose"])
        enc, context = hpke.sender(to or unb64(message["nk"]), info)
        sealed = [context.seal(aad, halves), context.seal(aad, json.dumps(details).encode())]
        self.send(json.dumps({"enc": b64(enc), "halves": b64(sealed[0]), "details": b64(sealed[1])}).encode(), 200)


class Impostor:
    def __init__(self, party):
        self.party, self.at, self.act, self.asked = party, None, None, 0
        pki = party.fleet.pki.directory
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / f"{party.role}.pem", pki / f"{party.role}.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ended = threading.Event()  # for those that hang or drip
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with self.context.wrap_socket(client, server_side=True) as tls, tls.makefile("rb") as reader:
                while self._one(tls, reader):
                    pass
        except OSError:
            pass

    def _one(self, tls, reader):
        line = reader.readline().split()
        if len(line) != 3:
            return False
        headers = {}
        for header in iter(reader.readline, b"\r\n"):
            name, _, value = header.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0))) if line[0] == b"POST" else None
        exchange = Exchange(self, tls, line[1].decode(), body, headers)
        if self.at and exchange.path.endswith(self.at):
            self.asked += 1
            self.act(exchange)
        else:
            exchange.send(exchange.answer.body, kind=exchange.answer.headers.get("Content-Type", ""))
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.listener.close()
