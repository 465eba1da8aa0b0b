#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyctl keystore rewrap, killed at 200 points, and rotate-group, at 100: at each change of a file that they make, before it
and in the middle of it. Everything still opens, verify says what is left, and (tried at every third point) a second run
finishes."""

import concurrent.futures
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from node import ready
from services import BUILD, TOP, Fleet
from softtpm import SoftTpm

GROUPS = [f"group-{number}" for number in range(16)]
POINTS = {"rewrap": 10, "rotate-group": 10} if BUILD.name == "asan" else {"rewrap": 200, "rotate-group": 100}


class Setup:
    """The tenant's database of a small fleet, and copies of it to kill at."""

    def __enter__(self):
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-kills-", dir=memory))
        self.library = self.directory / "kill-at-write.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(self.library), str(TOP / "tests/lib/kill-at-write.c")], check=True)
        with Fleet() as fleet:
            for name in GROUPS:
                fleet.group(name)
                ready(fleet, group=name, swtpm=SoftTpm(fleet.test_ca))
            for _ in range(16):  # with two keys each, more than one step of rotate-group
                ready(fleet, ("volumes", "payload"), GROUPS[0], SoftTpm(fleet.test_ca))
            fleet.tenant.stop()
            shutil.copy(fleet.tenant.database, self.directory / "database")
            shutil.copy(fleet.master["tenant"], self.directory / "first")
        self.configure(self.directory, {"master": "file:first"})
        assert self.run(self.directory, "verify") == 0
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def configure(directory, keys):
        text = "[service]\ndatabase = database\n[keystore]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        (directory / "conf").write_text(text)

    def run(self, directory, *words, **environment):
        done = subprocess.run([str(BUILD / "tallyctl"), "keystore", *words, "--config", str(directory / "conf")], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240,
                              env={**os.environ, **environment})
        with open(directory / "log", "ab") as log:
            log.write(f"{words} {environment}: {done.returncode}\n".encode() + done.stdout)
        return done.returncode

    def killed(self, directory, at, half, *words):
        more = {"KILL_HALF": "1"} if half else {}
        return self.run(directory, *words, LD_PRELOAD=str(self.library), KILL_AT=str(at), KILL_COUNT=str(directory / "count"),
                        ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0", **more)

    def copy(self, name):
        directory = self.directory / name
        directory.mkdir()
        for one in self.directory.iterdir():
            if one.is_file() and one.suffix != ".so":
                shutil.copy(one, directory / one.name)
        return directory

    def changes(self, *words):
        """How many a run makes that is not killed."""
        directory = self.copy("whole")
        assert self.killed(directory, 0, False, *words) == 0, (directory / "log").read_text()
        count = int((directory / "count").read_text())
        shutil.rmtree(directory)
        return count

    def at_point(self, number, at, half, *words):
        """Whether something was left to do then."""
        directory = self.copy(f"{words[0]}-{number}")
        code = self.killed(directory, at, half, *words)
        found = self.run(directory, "verify")
        again = last = 0
        if number % 3 == 0:  # each takes its time, and where it was killed is drawn by lot
            again, last = self.run(directory, *words), self.run(directory, "verify")
        assert code == -9 and found in (0, 5) and again == 0 and last == 0, (at, half, (directory / "log").read_text())
        shutil.rmtree(directory)
        return found == 5

    @staticmethod
    def spread(points, wanted):
        """As many as are wanted: one drawn by lot from each of as many stretches, so that few of them fall into every phase of
        the run too."""
        return [points[int((number + random.random()) * len(points) / wanted)] for number in range(wanted)]

    def kill_everywhere(self, *words):
        changes = self.changes(*words)
        points = self.spread([(at, half) for at in range(1, changes + 1) for half in (False, True)], POINTS[words[0]])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            left = list(pool.map(lambda number: self.at_point(number, *points[number], *words), range(len(points))))
        print(f"# {' '.join(words)}: {changes} changes of files, killed at {len(points)} points, {sum(left)} left something")
        assert 0 < sum(left) < len(left)


def test_rewrap(store):
    store.configure(store.directory, {"master": "file:second", "old-master": "file:first"})
    assert store.run(store.directory, "init") == 0
    assert store.run(store.directory, "verify") == 5
    store.kill_everywhere("rewrap")


def test_rotate_group(store):
    store.configure(store.directory, {"master": "file:first"})
    store.kill_everywhere("rotate-group", GROUPS[0])


if __name__ == "__main__":
    main(Setup)
