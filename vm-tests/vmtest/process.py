# SPDX-License-Identifier: LGPL-2.1-or-later
"""Child processes that do not outlive the test, and the waiting for what they do."""
import os
import subprocess
import time
from pathlib import Path

from . import Failure

# For a machine that is slower than two shared cores: all limits, times this.
PATIENCE = float(os.environ.get("VM_TESTS_PATIENCE", "1"))


def spawn(command, **options):
    """Start a child that the kernel kills when the starting process dies, in whatever way that is."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)], **options)


def stop(process, seconds=10):
    """End a child in the polite way, then in the other one; return its status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def wait_until(condition, what, seconds=30, process=None, log=None):
    """Wait for condition() to be true. A failure names `what`, and comes at once when `process` has ended."""
    limit = time.monotonic() + seconds * PATIENCE
    while not condition():
        if process and process.poll() is not None:
            raise Failure(f"{what}: ended with status {process.returncode}", log)
        if time.monotonic() > limit:
            raise Failure(f"{what}: not within {seconds * PATIENCE:.0f} s", log)
        time.sleep(0.02)


def command(*words, log="commands.log", check=True, **options):
    """Run a host's command to its end and return what it printed; its words and errors are in the log. check: it has to
    succeed."""
    words = [str(word) for word in words]
    with open(log, "a") as file:
        print("+", *words, file=file, flush=True)
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=file, check=False, **options)
    if check and done.returncode:
        raise Failure(f"{Path(words[0]).name} ended with status {done.returncode}: {' '.join(words)}", log)
    return done.stdout
