# SPDX-License-Identifier: LGPL-2.1-or-later
"""The serial console of a machine: everything is read, written down with its time, and waited for."""
import os
import re
import threading
import time

from . import Failure, process

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()].|\x1b[A-Z78=>]|\r")


class Console:
    """Reads a process' output in a thread of its own, so that times are right while a scenario does other things."""

    def __init__(self, output, write, log, who):
        self._output, self._write, self._log, self._who = output, write, log, who
        self.started, self.text, self.ended = time.monotonic(), "", False
        self._read_up_to = 0    # expect() goes on from here
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        raw, logged = b"", 0
        with open(self._log, "a") as log:
            while data := os.read(self._output.fileno(), 1 << 16):
                raw += data
                # What may be the first part of an escape sequence or of a character waits for the rest.
                keep = re.search(rb"(\x1b[^a-zA-Z]{0,12}|[\xc0-\xff][\x80-\xbf]{0,2})$", raw)
                ready, raw = (raw[:keep.start()], raw[keep.start():]) if keep else (raw, b"")
                with self._changed:
                    self.text += ESCAPES.sub("", ready.decode(errors="replace"))
                    self._changed.notify_all()
                *lines, rest = self.text[logged:].split("\n")
                for line in lines:
                    print(f"{self.seconds():7.2f} {line}", file=log)
                log.flush()
                logged = len(self.text) - len(rest)
            print(f"{self.seconds():7.2f} {self.text[logged:]}", file=log)
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def seconds(self):
        """Since power-on."""
        return time.monotonic() - self.started

    def expect(self, regex, seconds):
        """Wait for the text after what was matched before; return the match. "$" is the end of a line, never of a half line."""
        limit = time.monotonic() + seconds * process.PATIENCE
        with self._changed:
            while True:
                match = re.compile(regex, re.MULTILINE).search(self.text, self._read_up_to)
                if match and not (regex.endswith("$") and match.end() == len(self.text)):
                    self._read_up_to = match.end()
                    return match
                if self.ended:
                    raise Failure(f"{self._who}: went off, not seen: {regex}", self._log)
                if not self._changed.wait(limit - time.monotonic()):
                    raise Failure(f"{self._who}: not seen in {seconds * process.PATIENCE:.0f} s: {regex}", self._log)

    def seen(self, regex):
        """The last match in all of this boot, or None."""
        matches = list(re.finditer(regex, self.text, re.MULTILINE))
        return matches[-1] if matches else None

    def send(self, text):
        self._write(text.encode())

    def close(self):
        self._thread.join(10)
