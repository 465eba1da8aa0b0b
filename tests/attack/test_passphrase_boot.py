#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A boot is either by halves or by passphrase. In one that a person took over the check of the root is off (invariant 13), so no halves
may come any more: whoever plugs a second disk in after typing the passphrase of her own root starts the unlocker again."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from node import PARTIES
from unlocking import Unlocking


def setup():
    lab = Unlocking()
    lab.volume("root")
    lab.ready()
    return lab


def releases(lab):
    return [sum(record["event"] == "release" for record in lab.fleet.parties[i].audit()) for i in range(len(PARTIES))]


def unlock(lab):
    process = subprocess.Popen(lab.command("unlock"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    try:
        text, _ = process.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        process.terminate()
        text, _ = process.communicate(timeout=30)
    return text


def test_invariant_13_no_halves_after_a_passphrase(lab):
    lab.power_on()
    (lab.run_dir / "passphrase").write_text("")
    before = releases(lab)
    text = unlock(lab)
    assert releases(lab) == before, text
    assert not (lab.run_dir / "halves").exists(), text
    assert not (lab.run_dir / "gate-closed").exists(), text


def test_the_control_of_this_test(lab):
    """Without that note the same command gets both halves."""
    lab.power_on()
    before = releases(lab)
    text = unlock(lab)
    assert all(now > then for now, then in zip(releases(lab), before)), text


if __name__ == "__main__":
    main(setup)
