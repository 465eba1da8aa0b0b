# SPDX-License-Identifier: LGPL-2.1-or-later
"""A node for tests of the real tallyboot program: a software TPM, a configuration, LUKS2 files; commands with and without a
terminal."""

import base64
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from services import BUILD
from swtpm import Swtpm

PASSPHRASE = b"correct horse"
LIMIT = 240
OK, FAILED, USAGE, REFUSED, UNREACHABLE, TOKEN, VOLUME, CONFIG, PENDING = range(9)  # exit codes; TOKEN: TPM or token


class Result:
    def __init__(self, code, output, errors=""):
        self.code, self.output, self.errors = code, output, errors

    def __repr__(self):
        return f"exit code {self.code}\n{self.output}\n{self.errors}"


def check(done, code, *words):
    """A Result is what it has to be; words: regular expressions."""
    assert done.code == code, f"expected {code}: {done}"
    for word in words:
        assert re.search(word, done.output + done.errors), f"{word!r} not in {done}"
    return done


class Terminal:
    """A command on a pseudo-terminal that is its controlling one, as a person has it."""

    def __init__(self, command, environment):
        self.text = b""
        self.seen = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)
        self.code = None

    def _read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            chunk = os.read(self.fd, 4096)
        except OSError:
            chunk = b""
        self.text += chunk
        return bool(chunk)

    def expect(self, regex):
        """Waits for it, in what came after the last one."""
        deadline = time.monotonic() + LIMIT
        while True:
            found = re.search(regex.encode(), self.text[self.seen:])
            if found:
                self.seen += found.end()
                return found
            if time.monotonic() > deadline or not self._read(1):
                raise AssertionError(f"no {regex!r} in {self.text.decode(errors='replace')}")

    def send(self, data):
        os.write(self.fd, data)

    def wait(self):
        while self._read(LIMIT):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        self.code = os.waitstatus_to_exitcode(status)
        return Result(self.code, self.text.decode(errors="replace"))


class EnrolledNode:
    def __init__(self, fleet, config="", ca=None):
        self.fleet = fleet
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-node-"))
        self.tpm = Swtpm(fleet.test_ca)
        self.config = self.directory / "tallyboot.conf"
        self.key_file = self.directory / "key"
        self.key_file.write_bytes(PASSPHRASE)
        self.ca = ca or fleet.pki.ca
        self.configure(config)

    def configure(self, extra="", **urls):
        servers = {role: urls.get(role) or getattr(self.fleet, role).url for role in ("registrar", "tenant", "verifier")}
        text = "[node]\n" + "".join(f"{role} = {url}\n" for role, url in servers.items())
        self.config.write_text(f"{text}ca = {self.ca}\ntpm = {self.tpm.tcti}\nconnect-timeout = 60\nexchange-timeout = 120\n{extra}")

    def image(self, name="image", passphrase=PASSPHRASE):
        path = self.directory / name
        with open(path, "wb") as file:
            file.truncate(17 << 20)
        subprocess.run(["cryptsetup", "-q", "luksFormat", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
                        "1000", path, "-"], input=passphrase, check=True)
        return path

    def command(self, *words):
        return [str(BUILD / "tallyboot"), "--config", str(self.config), "--run-dir", str(self.directory / "run"),
                *map(str, words)]

    def environment(self, **extra):
        return {**{key: value for key, value in os.environ.items() if key != "CREDENTIALS_DIRECTORY"}, **extra}

    def run(self, *words, stdin=None, **extra):
        """Without a terminal."""
        options = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT,
                              start_new_session=True, env=self.environment(**extra), check=False, **options)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *words, **extra):
        """Without a terminal, in the background."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True, env=self.environment(**extra))

    def terminal(self, *words, **extra):
        return Terminal(self.command(*words), self.environment(**extra))

    def enroll(self, *words, **extra):
        return self.run("enroll", "--key-file", self.key_file, *words, **extra)

    def join_token_file(self, **options):
        token = self.fleet.join_token(**options)
        path = self.directory / "join"
        path.write_text(f"tj1-{base64.b32encode(token).decode().lower()}\n")
        return path

    def reset(self):
        self.tpm.reset()
        shutil.rmtree(self.directory / "run", ignore_errors=True)

    def approve(self, node, **body):
        for party in self.fleet.parties:
            answer = party.post(f"/v1/nodes/{node}/approve", {"group": "default", **body})
            assert answer.status == 200, answer

    def shown(self, party, node):
        answer = party.get(f"/v1/nodes/{node}")
        assert answer.status == 200, answer
        return answer.json

    def unlock_test(self, *images):
        """As the initramfs does it, after a reset; captured as policy where it is held."""
        arguments = [word for image in images for word in ("--device", image)]
        self.reset()
        done = self.run("unlock", "--test", *arguments)
        if "pending-policy" in done.errors:
            self.approve(self.node_id(), capture=True, name="captured")
            self.reset()
            done = self.run("unlock", "--test", *arguments)
        return done

    def node_id(self):
        """As its TPM makes it: of two nodes that registered in one second no server could say which is this one."""
        return re.search(r"^Node +([a-z2-7]{52})$", self.run("evidence").output, re.M)[1]

    def destroy(self):
        self.tpm.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


def header(image):
    """The LUKS2 JSON."""
    done = subprocess.run(["cryptsetup", "luksDump", "--dump-json-metadata", image], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def tokens(image):
    return [token for token in header(image)["tokens"].values() if token["type"] == "tallyboot"]


def slots(image):
    return sorted(map(int, header(image)["keyslots"]))


def opens(image, passphrase=PASSPHRASE, slot=None):
    extra = ["--key-slot", str(slot)] if slot is not None else []
    done = subprocess.run(["cryptsetup", "--disable-external-tokens", "open", "--test-passphrase", *extra, "--key-file", "-",
                           image],
                          input=passphrase, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def node_id_of(result):
    return re.search(r"Node ([a-z2-7]{52}), code ([a-z2-7]{4}-[a-z2-7]{4})", result.output).group(1)


def interrupt(process):
    process.send_signal(signal.SIGINT)
