# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fleet that `tallyctl init --lab` makes, running, and tallyctl to speak to it."""

import atexit
import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from services import BUILD, ROLES, TOP, Fleet, Service, free_port
from swtpm import TestCa


class Pki:
    """What services.Service looks for: the operator's certificate and the CA."""

    def __init__(self, directory):
        self.directory = directory / "operator"
        self.ca = self.directory / "ca.pem"


class LabService(Service):
    def __init__(self, lab, role, port):  # nothing is made: all of it is there
        self.fleet, self.role, self.name, self.port = lab, role, role, port
        self.directory = lab.directory / role
        self.database = self.directory / f"{role}.db"
        self.log = lab.home / f"{role}.log"
        self.process = None

    def configure(self):
        pass

    def command(self):
        return [str(BUILD / f"tallyboot-{self.role}"), "--config", str(self.directory / f"{self.role}.conf")]


class Said:
    def __init__(self, done):
        self.code = done.returncode
        self.out, self.err = done.stdout.decode(), done.stderr.decode()

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit status {self.code}\n{self.out}\n{self.err}"


def free_ports():
    """The first of three in a row."""
    while True:
        first = free_port()
        try:
            for port in (first + 1, first + 2):
                free_port(port)
            return first
        except OSError:
            pass


class Lab:
    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="tb-lab-"))
        atexit.register(self.destroy)
        self.directory = self.home / "lab"
        self.test_ca = TestCa(TOP / "build" / "test-ca")
        first = free_ports()
        done = self.ctl("init", "--dir", self.directory, "--lab", "--port", first, "--ek-roots", self.test_ca.roots)
        assert done.code == 0, done
        self.pki = Pki(self.directory)
        self.registrar, self.tenant, self.verifier = self.services = [LabService(self, role, first + i) for i,
                                                                      role in enumerate(ROLES)]
        self.parties = self.services[1:]
        for one in self.services:
            one.start()

    def ctl(self, *words, stdin=b"", config=None):
        """tallyctl as the operator."""
        environment = {**os.environ, "TALLYCTL_CONFIG": str(config or self.directory / "operator" / "tallyctl.conf")}
        return Said(subprocess.run([BUILD / "tallyctl", *map(str, words)], input=stdin, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment, timeout=240, check=False))

    def join_token(self, group="default"):
        """Through tallyctl; the 20 bytes of what it prints."""
        done = self.ctl("join-token", "create", "--group", group)
        assert done.code == 0, done
        text = next(word for word in done.out.split() if word.startswith("tj1-"))
        return base64.b32decode(text[4:].upper())

    group = Fleet.group

    def destroy(self):
        for one in getattr(self, "services", []):
            one.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        atexit.unregister(self.destroy)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()
