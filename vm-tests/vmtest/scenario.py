# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a scenario is given: its directory, its machines and services, a voice, and the end of all that it started."""
import os
import re
import time
from pathlib import Path

from . import Failure, Skip, images
from .lab import Lab
from .machine import Machine


class Scenario:
    """The current directory is the scenario's run directory, build/vm/run/NAME: file names are short and relative."""

    def __init__(self, name, narrate=False):
        self.name, self._narrate = name, narrate
        self._started, self._parts = time.monotonic(), []

    def machine(self, name="node", **settings):
        """A machine that is stopped at the end; settings are those of Machine."""
        return self.remember(Machine(name, **settings))

    def tiny(self, name="node", files=None, append=None, base="initramfs", **settings):
        """A machine with the tiny root on LUKS, booted from -kernel; /etc/crypttab asks for a passphrase unless `files` has
        one."""
        machine = self.machine(name, **settings)
        machine.add_root("tiny-root")
        machine.boot_kernel({"etc/crypttab": f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}\n"} | (files or {}), append,
                            base)
        return machine

    def debian(self, name="node", **settings):
        """A machine with OVMF, an ESP and the multi-user system on LUKS, which asks for its passphrase."""
        machine = self.machine(name, firmware="ovmf", **settings)
        machine.add_esp(images.path("debian-root", "boot.efi"))
        machine.add_root("debian-root")
        return machine

    def lab(self, **settings):
        """Registrar, tenant and verifier, running, that are stopped at the end; settings are those of Lab."""
        lab = self.remember(Lab(**settings))
        lab.start()
        return lab

    def enrolled(self, files=None, lab=None, **settings):
        """A lab and a quick machine whose root the halves open; its first boot is accepted as it is. Settings are those of
        tiny()."""
        lab = lab or self.lab()
        lab.accept_first_boots()
        node = self.tiny(files=lab.node_files() | (files or {}), **settings)
        node.id = lab.enroll(node, (node.disks[0], "root", "root"))
        return lab, node

    def enrolled_by_token(self, token, settings, files=None, lab=None, plugged=True, base="initramfs-softhsm", **machine):
        """A lab and a quick machine without a TPM, which has this token (softhsm.Token) in its initramfs, if it is plugged.
        settings: of its configuration; `machine`: more settings of tiny()."""
        lab, files = lab or self.lab(), (token.files() if plugged else {}) | (files or {})
        lab.accept_tokens()
        node = self.tiny(files=lab.node_files(**settings) | files, base=base, tpm=None, **machine)
        node.id = lab.enroll_by_token(token, (node.disks[0], "root", "root"), **settings)
        return lab, node

    def remember(self, part):
        """Something to stop() at the end."""
        self._parts.append(part)
        return part

    def stop(self):
        while self._parts:
            self._parts.pop().stop()

    def seconds(self):
        return time.monotonic() - self._started

    def say(self, text=""):
        """A line for a person who watches; it is in narration.log in any case."""
        line = f"{self.seconds():6.1f} s  {text}" if text else ""
        with open("narration.log", "a") as file:
            print(line, file=file)
        if self._narrate:
            print(line, flush=True)

    @staticmethod
    def part(name):
        """Whether a part of a scenario that can be left out is to run: $VM_TESTS_PARTS, a regular expression, finds its name."""
        return re.search(os.environ.get("VM_TESTS_PARTS", ""), name) is not None

    @staticmethod
    def check(condition, what, log=None):
        """Fail unless the condition holds; `what` says what should have been."""
        if not condition:
            raise Failure(what, log or Path("narration.log").resolve())

    @staticmethod
    def skip(why):
        raise Skip(why)
