# SPDX-License-Identifier: LGPL-2.1-or-later
"""The firmware's event log of a machine that has booted, out of the machine, and what two programs make of it."""
import json
import re
from pathlib import Path

from . import BUILD, REPO, process

SOURCE = "/sys/kernel/security/tpm0/binary_bios_measurements"
ROOM = 4 << 20


def add_disk(node):
    """A disk for the log, the machine's last one; returns its name."""
    name = node.file("eventlog.img")
    process.command("truncate", "-s", ROOM, name)
    node.disks.append(name)
    return name


def unit_files(service, device):
    """The unit that writes the log to that disk: `service` is probes.service."""
    return service("copy-eventlog", f"cat {SOURCE} > /run/eventlog\ndd if=/run/eventlog of={device} conv=fsync\n",
                   unit="After=initrd-fs.target\nBefore=initrd.target")


def read(node, name):
    """The log of the boot that was just seen, as a file: its size is on the console."""
    size, log = int(node.seen(r"^EVENT-LOG (\d+)$")[1]), Path(f"{name}.ev")
    with open(name, "rb") as file:
        log.write_bytes(file.read(size))
    return log


def ours(log):
    """Our reader: {bank: {pcr: hex}} and [(pcr, {bank: digest})] of all events."""
    tool = BUILD / "tests/tools/evidence-dump"
    process.command("make", "-s", "-C", REPO, tool.relative_to(REPO))
    said = json.loads(process.command(tool, "log", log))
    return said["pcrs"], [(event["pcr"], event["digests"]) for event in said["events"]]


def tpm2_eventlog(log):
    """The same by tpm2-tools; the text is YAML of a simple kind."""
    text = process.command("tpm2_eventlog", log).decode(errors="replace")
    head, tail = text.split("\npcrs:\n")
    pcrs, bank = {}, None
    for line in tail.split("\n"):
        if match := re.match(r"  (\w+):$", line):
            bank = pcrs.setdefault(match[1], {})
        elif match := re.match(r"    (\d+) *: 0x([0-9a-f]+)$", line):
            bank[match[1]] = match[2]
    events = []
    for event in re.split(r"^- EventNum: ", head, flags=re.MULTILINE)[1:]:
        pcr = re.search(r"^  PCRIndex: (\d+)$", event, re.MULTILINE)
        digests = re.findall(r"^  - AlgorithmId: (\w+)\n    Digest: \"([0-9a-f]+)\"$", event, re.MULTILINE)
        events.append((int(pcr[1]), dict(digests)))
    return pcrs, events[1:]    # the first is the header, which has no digests of its own
