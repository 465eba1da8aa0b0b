# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that boots: its root opened by both halves and by a key file, and the prompt without servers beside plain systemd's,
in turns. From power-on to the first line of the root's first program, or to the prompt."""
import os
import pathlib
import shutil
import statistics
import sys

from services import BUILD, TOP
from table import goal, row, title

sys.path.append(str(TOP / "vm-tests"))
from vmtest import images  # noqa: E402
from vmtest.scenario import Scenario  # noqa: E402

NEEDS = ("tpm-ca", "debian", "kernel", "tiny-root", "initramfs")
BOOTS = 3
PROMPT_AFTER = 10  # s, the product's default
KEY_FILE = {"etc/crypttab": f"root UUID={images.TINY_UUID} /etc/root.key luks\n", "etc/root.key": (images.passphrase(), 0o600)}
ROOT, PROMPT = r"^ROOT /dev/mapper/root ext4", "enter passphrase for disk"


class Boots:
    """Seconds from power-on to a line of the console."""

    def __init__(self, name, machine, until):
        self.name, self.machine, self.until, self.times = name, machine, until, []

    def once(self):
        self.machine.start()
        self.machine.expect(self.until)
        self.times.append(self.machine.seconds())
        if self.until == ROOT:
            self.machine.off()
        self.machine.stop()

    @property
    def median(self):
        return statistics.median(self.times)

    def row(self):
        row(self.name, f"{self.median:.1f} s", f"of {', '.join(f'{seconds:.1f}' for seconds in self.times)}")


def measure(scenario, boots):
    lab, node = scenario.enrolled()
    halves = Boots("root opened by both halves", node, ROOT)
    key_file = Boots("root opened by a key file, tallyboot not configured", scenario.tiny("key-file", files=KEY_FILE), ROOT)
    dead = Boots("prompt, tenant and verifier dead", node, PROMPT)
    plain = Boots("prompt, tallyboot not configured", scenario.tiny("plain"), PROMPT)
    halves.once()  # once for the caches, and its first boot becomes the policy
    halves.times.clear()
    for _ in range(boots):
        halves.once()
        key_file.once()
        lab.kill()
        dead.once()
        plain.once()
        lab.start()
    return halves, key_file, dead, plain


def report(halves, key_file, dead, plain):
    title(f"A machine that boots (software emulation, median of {len(halves.times)} in turns)")
    for boots in (halves, key_file, dead, plain):
        boots.row()
    slower, later = halves.median - key_file.median, dead.median - plain.median
    row("both halves - key file", f"{slower:+.1f} s", goal(slower, 1.0, " s"))
    row("prompt without servers - plain prompt", f"{later:+.1f} s", goal(later, PROMPT_AFTER + 1, " s (prompt-after + 1)"))


def run(rounds):
    images.Builder(lambda _: None).build(NEEDS)
    os.environ.setdefault("VM_TESTS_CPUS", "2")
    before, work = pathlib.Path.cwd(), BUILD / "vm/run/bench"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.chdir(work)  # file names of a scenario are relative to its directory
    scenario = Scenario("bench")
    try:
        report(*measure(scenario, min(rounds, BOOTS)))
    finally:
        scenario.stop()
        os.chdir(before)
    shutil.rmtree(work)
