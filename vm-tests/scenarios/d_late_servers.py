# SPDX-License-Identifier: LGPL-2.1-or-later
"""The servers come up a minute after the node (a power cut): the prompt goes away by itself, nobody types, the node boots."""
import time

from vmtest import process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 800
LATE = 60    # s after power-on; at least some of them after the prompt


def run(t):
    lab, node = t.enrolled()
    lab.kill()
    node.start()
    node.expect("enter passphrase for disk", seconds=200)
    t.say(f"prompt {node.seconds():.0f} s after power-on; nobody types")
    time.sleep(max(LATE - node.seconds(), 15 * process.PATIENCE))
    t.say(f"the servers start {node.seconds():.0f} s after power-on")
    lab.start()
    node.expect("root: opened with both halves", seconds=120)
    after = len(node.console.text)
    t.say(f"opened by both halves {node.seconds():.0f} s after power-on")
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 15 .*[1-9A-F]")
    node.expect(r"^RUN .*/run/tallyboot/halves")
    node.expect(r"^DONE")
    node.off()
    t.check("enter passphrase" not in node.console.text[after:], "the prompt is gone", node.log)
