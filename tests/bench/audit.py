# SPDX-License-Identifier: LGPL-2.1-or-later
"""Durable audit records a second, by how many wait at once: one, a service's default of workers, its maximum. Beside it, how
often this disk can be asked to have something for good."""
import os
import pathlib
import subprocess
import tempfile
import time

from services import BUILD

SECONDS = 3


def syncs(directory):
    file = os.open(pathlib.Path(directory) / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    until, n = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        os.write(file, bytes(4096))
        os.fdatasync(file)
        n += 1
    os.close(file)
    return n // SECONDS


def run(_rounds):
    with tempfile.TemporaryDirectory(prefix="tb-bench-") as directory:
        print(f"\nAudit records that are on the disk, a second (this disk: {syncs(directory)} fdatasync of 4 KB)")
        for threads in (1, 16, 64, 256):
            done = subprocess.run([BUILD / "tests/tools/bench-audit", f"{directory}/{threads}", str(threads), str(SECONDS)],
                                  check=True, stdout=subprocess.PIPE, text=True)
            print(f"  {threads:4} at once  {int(done.stdout):8}", flush=True)
