#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""enroll --again on a node that boots by itself: it goes on doing so, whatever comes in between and however often it is said."""

import os
import sys
from shutil import which

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, skip
from enrolled import EnrolledNode, opens, slots, tokens
from services import Fleet
from test_enroll_command import cut, enrolled


def test_invariant_11_power_cut_while_enrolling_anew(fleet):
    """By what it had, or by what is new. Of some forty writes each has been cut once."""
    if not which("strace"):
        skip("no strace")
    if os.path.basename(os.environ.get("BUILD", "build")) == "asan":
        skip("a minute for what the other build has shown")
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        for number in (4, 12, 18, 24, 28, 31, 34):
            assert cut(node, image, number, "--again"), number
            done = node.unlock_test(image)
            assert done.code == 0 and opens(image), (number, done, tokens(image))
        node.reset()
        done = node.enroll("--again", image)
        assert done.code == 0 and node.unlock_test(image).code == 0, done
        token, = tokens(image)
        assert slots(image) == [0, token["slot"]], token


def test_as_often_as_one_likes(fleet):
    """Each is another key, and those before stay live at the parties."""
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        for number in range(8):
            node.reset()
            assert node.enroll("--again", image).code == 0
            done = node.unlock_test(image)
            assert done.code == 0, (number, done)


if __name__ == "__main__":
    main(Fleet)
