#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyboot unlock --test under valgrind: no byte read that was never written, none lost."""

import os
import re
import shlex

from cases import main
from unlocking import EXIT, Unlocking

PATIENT = {"connect_timeout": "60", "exchange_timeout": "120"}    # valgrind is some thirty times slower
WRAPPER = ["valgrind", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite",
           "--errors-for-leak-kinds=definite", "--num-callers=30"]


def wrapped(lab, *paths):
    os.environ["WRAPPER"] = shlex.join(WRAPPER)
    done = lab.run("unlock", "--test", *(word for path in paths for word in ("--device", path)), timeout=400, **PATIENT)
    del os.environ["WRAPPER"]
    print(done.text)
    assert re.search(r"ERROR SUMMARY: 0 errors", done.text), "valgrind saw errors"
    return done


def test_an_unlock_is_clean(lab):
    lab.power_on()
    done = wrapped(lab, *(path for path, _, _ in lab.node.volumes))
    assert done.status == EXIT["ok"], done


def test_a_refusal_is_clean(lab):
    lab.power_on()
    lab.node.swtpm.event(4, b"another boot loader")
    done = wrapped(lab, *(path for path, _, _ in lab.node.volumes))
    assert done.status == EXIT["refused"], done


if __name__ == "__main__":
    class Ready(Unlocking):
        def __enter__(self):
            self.volume("root")
            self.ready()
            return self

    main(Ready)
