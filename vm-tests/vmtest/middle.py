# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody between the nodes and a party, who has the party's certificate: sees everything in clear, keeps it, and may answer
instead."""
import http.client
import http.server
import ssl
import threading
from collections import namedtuple

from . import process
from .lab import FROM_HOST

Exchange = namedtuple("Exchange", "method path body status answer")


def client_context(lab):
    return ssl.create_default_context(cafile=lab.directory / "operator" / "ca.pem")


def ask(lab, party, method, path, body):
    """What anybody can send to a party: (status, answer)."""
    connection = http.client.HTTPSConnection(FROM_HOST, lab.ports[party], context=client_context(lab),
                                             timeout=30 * process.PATIENCE)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


class Middle:
    """Passes on what nodes ask a party, and keeps it in `exchanges`. answer(method, path): an Exchange to give instead, or
    None."""

    def __init__(self, lab, party):
        self.exchanges, self.answer = [], None
        middle = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):    # the interface's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                given = middle.answer and middle.answer(self.command, self.path)
                if given:
                    status, content = given.status, given.answer
                else:
                    status, content = ask(lab, party, self.command, self.path, body)
                    middle.exchanges.append(Exchange(self.command, self.path, body, status, content))
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status < 300 else "application/problem+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(lab.directory / party / f"{party}.pem", lab.directory / party / f"{party}.key")
        self._server = http.server.ThreadingHTTPServer((FROM_HOST, 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def last(self, path_end):
        """The last exchange that succeeded on a path that ends so."""
        return next(one for one in reversed(self.exchanges) if one.path.endswith(path_end) and one.status == 200)
