# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that is a program: it sees each read, and may answer the next one with something else (the NBD protocol, fixed
newstyle)."""
import os
import socket
import struct
import threading
from pathlib import Path

MAGIC, OPTION, REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9    # "NBDMAGIC", "IHAVEOPT"
REQUEST, SIMPLE = 0x25609513, 0x67446698
EXPORT_NAME, ABORT, GO = 1, 2, 7
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
ACK, INFO, UNSUPPORTED = 1, 3, 0x80000001
FLAGS = 1 | 4    # has flags, can flush


class Disk:
    """Serves `images`[`which`] on a Unix socket; on_read(disk, offset, size) is called after each read and may set `which`."""

    def __init__(self, path, images, on_read):
        self.images, self.which, self.on_read = [open(image, "r+b") for image in images], 0, on_read
        self.size, self.url = os.path.getsize(images[0]), f"nbd:unix:{path}"
        Path(path).unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self):
        self._listening.close()

    def _serve(self):
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._client, args=(connection,), daemon=True).start()

    def _client(self, connection):
        with connection, connection.makefile("rwb") as file:
            try:
                if self._negotiate(file):
                    while self._request(file):
                        pass
            except (struct.error, OSError):
                pass    # QEMU is gone

    def _negotiate(self, file):
        def reply(option, kind, data=b""):
            file.write(struct.pack(">QIII", REPLY, option, kind, len(data)) + data)
            file.flush()

        file.write(struct.pack(">QQH", MAGIC, OPTION, 3))    # fixed newstyle, no zeroes
        file.flush()
        file.read(4)
        while True:
            _, option, length = struct.unpack(">QII", file.read(16))
            file.read(length)
            if option == GO:
                reply(option, INFO, struct.pack(">HQH", 0, self.size, FLAGS))
                reply(option, ACK)
                return True
            if option == EXPORT_NAME:
                file.write(struct.pack(">QH", self.size, FLAGS))
                file.flush()
                return True
            reply(option, ACK if option == ABORT else UNSUPPORTED)
            if option == ABORT:
                return False

    def _request(self, file):
        _, _, kind, handle, offset, length = struct.unpack(">IHHQQI", file.read(28))
        data = b""
        if kind == DISCONNECT:
            return False
        if kind == READ:
            image = self.images[self.which]
            image.seek(offset)
            data = image.read(length)
            self.on_read(self, offset, length)
        elif kind == WRITE:
            content = file.read(length)
            for image in self.images:
                image.seek(offset)
                image.write(content)
        file.write(struct.pack(">IIQ", SIMPLE, 0, handle) + data)
        file.flush()
        return True
