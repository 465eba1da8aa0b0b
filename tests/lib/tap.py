# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listens on the wire between a program and its TPM: both sockets of a swtpm are forwarded, every byte of both directions is
kept.

    with Tap(swtpm) as tap:
        ... a program with tap.tcti ...
        tap.seen -> bytes
"""

import os
import shutil
import socket
import tempfile
import threading


class Tap:
    def __init__(self, swtpm):
        self.directory = tempfile.mkdtemp(prefix="tb-tap-", dir="/tmp")
        self.path = os.path.join(self.directory, "tpm")
        self.swtpm = swtpm
        self.record = bytearray()
        self.lock = threading.Lock()
        self.listeners = [self._listen(self.path, swtpm.socket), self._listen(self.path + ".ctrl", swtpm.control)]

    @property
    def tcti(self):
        return f"swtpm:path={self.path}"

    @property
    def seen(self):
        with self.lock:
            return bytes(self.record)

    def _listen(self, path, target):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(8)
        threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()
        return listener

    def _accept(self, listener, target):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            tpm = socket.socket(socket.AF_UNIX)
            tpm.connect(target)
            for one, other in ((client, tpm), (tpm, client)):
                threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, source, sink):
        try:
            while data := source.recv(65536):
                with self.lock:
                    self.record += data
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, sink):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)
