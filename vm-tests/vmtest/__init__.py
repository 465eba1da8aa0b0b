# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines that really boot: QEMU without KVM, a software TPM each, and the services on the host's loopback."""
from pathlib import Path

VM_TESTS = Path(__file__).resolve().parent.parent
REPO = VM_TESTS.parent
BUILD = REPO / "build"
VM = BUILD / "vm"


class Failure(Exception):
    """A scenario's expectation was not met; `log` is the file to read."""

    def __init__(self, what, log=None):
        super().__init__(what)
        self.log = log


class Skip(Exception):
    """A scenario cannot run here; says why."""
