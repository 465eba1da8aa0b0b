#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyboot unlock --test: the node's own program against real services, a software TPM, LUKS2 files."""

from cases import main
from unlocking import EXIT, Unlocking


def check(done, status, *words):
    assert done.status == EXIT[status], f"expected {status}, got {done}"
    for word in words:
        assert word in done.text, f"{word!r} not in {done.text}"


def test_both_halves_open_the_volume(lab):
    lab.power_on()
    check(lab.unlock(), "ok", "root would open with generation 1")


if __name__ == "__main__":
    class Ready(Unlocking):
        def __enter__(self):
            self.volume("root")
            self.volume("data", "other")
            self.ready()
            return self

    main(Ready)
