# SPDX-License-Identifier: LGPL-2.1-or-later
"""Something between the program and its software TPM.

    with BusyTpm(swtpm, 30) as tpm:          the next 30 commands are answered with TPM_RC_RETRY; None: all
        run(..., tpm=tpm.tcti)
    with DeviceTpm(swtpm) as tpm:            a character device, as /dev/tpmrm0 is one: appears with tpm.appear()
        run(..., tpm=tpm.tcti)
"""

import os
import pathlib
import shutil
import socket
import struct
import tempfile
import threading
import tty

RC_RETRY = 0x922
RETRY = struct.pack(">HII", 0x8001, 10, RC_RETRY)


def message(read):
    """A whole command or response (TPM 2.0 Library, Part 1, 18: tag, size of all, code), b"" at the end."""
    data = b""
    while len(data) < 10 or len(data) < struct.unpack(">I", data[2:6])[0]:
        chunk = read((10 if len(data) < 10 else struct.unpack(">I", data[2:6])[0]) - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


class Between:
    def __init__(self, swtpm):
        self.swtpm = swtpm
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-", dir="/tmp"))

    def ask(self, tpm, command):
        tpm.sendall(command)
        return message(tpm.recv)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class BusyTpm(Between):
    def __init__(self, swtpm, count=None):
        super().__init__(swtpm)
        self.left = count
        path = self.directory / "tpm"
        self.tcti = f"swtpm:path={path}"
        os.symlink(swtpm.control, f"{path}.ctrl")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                client, _ = self.listener.accept()
                self._serve(client)
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as tpm:
            tpm.connect(self.swtpm.socket)
            for command in iter(lambda: message(client.recv), b""):
                if self.left == 0:
                    client.sendall(self.ask(tpm, command))
                    continue
                self.left = self.left and self.left - 1
                client.sendall(RETRY)

    def close(self):
        self.listener.close()


class DeviceTpm(Between):
    def __init__(self, swtpm):
        super().__init__(swtpm)
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = self.directory / "tpm0"
        self.tcti = f"device:{self.path}"
        self.thread = threading.Thread(target=self._run, daemon=True)

    def appear(self):
        self.thread.start()
        os.symlink(os.ttyname(self.slave), self.path)

    def _run(self):
        with socket.socket(socket.AF_UNIX) as tpm:
            tpm.connect(self.swtpm.socket)
            try:
                for command in iter(lambda: message(lambda size: os.read(self.master, size)), b""):
                    os.write(self.master, self.ask(tpm, command))
            except OSError:
                pass

    def close(self):
        os.close(self.slave)    # the reader of the other end gets EIO
        if self.thread.ident:
            self.thread.join(5)
        os.close(self.master)
