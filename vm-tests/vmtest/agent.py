# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands in a booted guest: the other end of guest/usr/local/sbin/test-agent."""
import base64
import socket
import time
from collections import namedtuple

from . import Failure, process

Result = namedtuple("Result", "status output")


class Agent:
    """Talks to the agent through QEMU's socket for the machine's virtio port."""

    def __init__(self, path, log):
        self.log, self._rest, self._number = log, b"", 0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def close(self):
        self._socket.close()

    def _line(self, limit, what):
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.01, limit - time.monotonic()))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise Failure(f"in the guest: no answer to: {what}", self.log) from None
            if not data:
                raise Failure(f"the machine went off during: {what}", self.log)
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def wait(self, seconds):
        """Wait until the guest's multi-user system runs the agent."""
        limit = time.monotonic() + seconds * process.PATIENCE
        while self._line(limit, "the agent's start") != "ready":
            pass

    def send(self, script):
        """Start a script; its answer may never come (a reboot)."""
        self._number += 1
        self._socket.settimeout(30 * process.PATIENCE)
        self._socket.sendall(f"{self._number} {base64.b64encode(script.encode()).decode()}\n".encode())

    def run(self, script, seconds):
        """Run a script with bash; both outputs come together."""
        start, what = time.monotonic(), script.strip().split("\n")[0][:100]
        self.send(script)
        while True:
            number, *answer = self._line(start + seconds * process.PATIENCE, what).split(" ")
            if number == str(self._number):    # else: late, or "ready" of an agent that was restarted
                break
        result = Result(int(answer[0]), base64.b64decode(answer[1]).decode(errors="replace"))
        with open(self.log, "a") as file:
            print(f"+ {script.strip()}\n{result.output.rstrip()}\n= {result.status}, {time.monotonic() - start:.1f} s", file=file)
        return result
