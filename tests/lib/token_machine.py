# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine without a TPM for tests of the real tallyboot program: SoftHSM in place of the TPM, a configuration, LUKS2 files; and
those who answer a question for a PIN."""

import configparser
import contextlib
import glob
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import time

from enrolled import PASSPHRASE, EnrolledNode, node_id_of
from services import TOP, Fleet
from softhsm import MODULE, PIN, SoftHsm
from token_node import token_group

SPY = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so"
TROUBLED = TOP / "build/tests/modules/troubled-token.so"  # SoftHSM, and what the files of a folder say
ASK = "/run/systemd/ask-password"


class TokenMachine(EnrolledNode):
    def __init__(self, fleet, group=None, **settings):
        self.fleet, self.group, self.ca = fleet, group or fleet.fast, fleet.pki.ca
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-node-"))
        self.hsm = SoftHsm()
        self.folder = self.hsm.token("node")
        self.hsm.key("node")
        self.config = self.directory / "tallyboot.conf"
        self.key_file = self.directory / "key"
        self.key_file.write_bytes(PASSPHRASE)
        self.pin_file = self.directory / "pin"
        self.pin(PIN)
        self.calls = self.directory / "calls"
        self.troubles = self.directory / "troubles"
        self.troubles.mkdir()
        self.set(**settings)

    def pin(self, text):
        self.pin_file.write_text(f"{text}\n")
        self.pin_file.chmod(0o600)

    def set(self, **changes):
        """The configuration, with changes; None: left out."""
        settings = {role: getattr(self.fleet, role).url for role in ("registrar", "tenant", "verifier")}
        settings |= {"ca": self.ca, "tpm": "device:/nowhere/tpm", "tpm-timeout": 0, "connect-timeout": 60,
                     "exchange-timeout": 120, "token-key": "pkcs11:token=node;object=tallyboot", "token-module": MODULE,
                     "token-pin": f"file:{self.pin_file}", **{name.replace("_", "-"): value for name, value in changes.items()}}
        self.config.write_text("[node]\n" + "".join(f"{name} = {value}\n" for name,
                                                    value in settings.items() if value is not None))
        return self

    def environment(self, **extra):
        return super().environment(**self.hsm.environment, PKCS11SPY=MODULE, PKCS11SPY_OUTPUT=str(self.calls),
                                   TROUBLED_TOKEN=str(self.troubles), **extra)

    @contextlib.contextmanager
    def trouble(self, *names):
        """What tests/modules/troubled-token.c knows (token-module = TROUBLED); "keypad=1234" has that in it."""
        files = [(self.troubles / name.partition("=")[0], name.partition("=")[2]) for name in names]
        for file, text in files:
            file.write_text(text)
        try:
            yield
        finally:
            for file, _ in files:
                file.unlink(missing_ok=True)

    def logins(self):
        """How often a PIN was tried, as a module between us and the token saw it (token-module = SPY or TROUBLED)."""
        if (self.troubles / "logins").exists():
            return (self.troubles / "logins").stat().st_size
        return self.calls.read_text(errors="replace").count("C_Login\n") if self.calls.exists() else 0

    def enrolled(self, *images):
        done = self.enroll("--join-token-file", self.join_token_file(group=self.group), *images)
        assert done.code == 0, done
        return done

    def reset(self):
        shutil.rmtree(self.directory / "run", ignore_errors=True)

    def unlock(self, *images, **environment):
        """As the initramfs does it, in a new boot."""
        self.reset()
        return self.again(*images, **environment)

    def again(self, *images, **environment):
        """In the same boot."""
        return self.run("unlock", "--test", *(word for image in images for word in ("--device", image)), **environment)

    def note(self, name):
        path = self.directory / "run" / name
        return path.read_text() if path.exists() else None

    def destroy(self):
        self.hsm.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)


class TokenFleet(Fleet):
    """Services, a group for tokens (fast), and one machine that is enrolled: most cases need no other."""

    def __init__(self, machine=TokenMachine):
        super().__init__()
        self.fast = token_group(self, "0")
        self.machine = machine(self)
        self.image = self.machine.image()
        self.id = node_id_of(self.machine.enrolled(self.image))

    def destroy(self):
        if hasattr(self, "machine"):
            self.machine.destroy()
        super().destroy()


class Boot:
    """tallyboot unlock as the initramfs runs it, in the background; what it says, line by line."""

    def __init__(self, machine):
        self.machine = machine
        machine.reset()
        self.process = machine.start("unlock")
        self.text = ""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.text += line.decode(errors="replace")

    def expect(self, *words, seconds=240):
        """Until it has said all of them, or wrote the note of that name (note:NAME)."""
        def is_there(word):
            return (self.machine.directory / "run" / word[5:]).exists() if word.startswith("note:") else word in self.text
        end = time.monotonic() + seconds
        while not all(map(is_there, words)):
            if time.monotonic() > end:
                raise AssertionError(f"{words} not in {self.text}")
            time.sleep(0.05)

    def wait(self, seconds=240):
        code = self.process.wait(seconds)
        self.reader.join(60)
        assert not self.reader.is_alive(), "a process that it started goes on without it"
        self.process.stdout.close()
        return code

    def stop(self):
        self.process.terminate()
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.wait()


def questions(pid):
    """The questions for a PIN that a child of this process asks: [(message, echo, socket)]"""
    found = []
    for file in glob.glob(f"{ASK}/ask.*"):
        text = configparser.RawConfigParser()
        try:
            text.read(file)
            ask = text["Ask"]
            with open(f"/proc/{ask['PID']}/stat", encoding="ascii") as stat:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
        except (OSError, KeyError, configparser.Error):
            continue
        if parent == pid and ask["Id"] == "tallyboot:pin":
            found.append((ask["Message"], ask.get("Echo"), ask["Socket"]))
    return found


def question(boot, seconds=240, other_than=None):
    """Waits for one."""
    end = time.monotonic() + seconds
    while True:
        found = [one for one in questions(boot.process.pid) if one != other_than]
        if found:
            return found[0]
        assert time.monotonic() < end, boot.text
        time.sleep(0.05)


def answer(asked, pin):
    """As a password agent does; None: the person cancels. Waits until the question is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"-" if pin is None else b"+" + pin.encode(), asked[2])
    end = time.monotonic() + 60
    while os.path.exists(asked[2]):
        assert time.monotonic() < end
        time.sleep(0.02)
