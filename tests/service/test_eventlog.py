#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our parser of event logs beside tpm2_eventlog: the same events, types, PCRs, digests, and the same PCR values at the end.

The logs: tests/vectors/eventlog; ../shared/data/eventlog-hw (of a real machine) where that is; and any *.ev that was put into
build/eventlogs, by machines that booted. What is made here: a log of the older format, and random changes of all of them: what
both take they have to read alike."""
import hashlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
DUMP = BUILD / "tests/tools/evidence-dump"
VECTORS = sorted((ROOT / "tests/vectors/eventlog").glob("*.ev"))
HARDWARE = ROOT.parent / "shared/data/eventlog-hw/bios_measurements.ev"
MADE = sorted((ROOT / "build/eventlogs").glob("*.ev"))


def ours(path):
    done = subprocess.run([DUMP, "log", path], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode not in (0, 1):
        raise AssertionError(f"{path}: status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()


def theirs(path):
    """tpm2_eventlog's YAML, of which only what is compared is read; None where it refuses the log."""
    done = subprocess.run(["tpm2_eventlog", path], capture_output=True, timeout=240, check=False)
    if done.returncode != 0:
        return None
    text = done.stdout.decode(errors="replace")
    body, _, pcrs = text.rpartition("\npcrs:\n")
    events = []
    if "- EventNum: " not in body:    # the older format: events without numbers
        parts = [f"{i}\n  PCRIndex:{part}" for i, part in enumerate(re.split(r"^  PCRIndex:", body, flags=re.M)) if i > 0]
    else:
        parts = re.split(r"^- EventNum: ", body, flags=re.M)[1:]
    for part in parts:
        number, rest = part.split("\n", 1)
        event = {"number": int(number), "pcr": int(re.search(r"^  PCRIndex: (-?\d+)", rest, re.M).group(1)) & 0xffffffff,
                 "type": re.search(r"^  EventType: (.*)", rest, re.M).group(1),
                 "size": int(re.search(r"^  EventSize: (\d+)", rest, re.M).group(1)),
                 "digests": dict(re.findall(r'^  - AlgorithmId: (\w+)\n    Digest: "(\w+)"', rest, re.M))}
        single = re.search(r'^  Digest: "(\w+)"', rest, re.M)
        if single:
            event["digests"] = {"sha1": single.group(1)}
        events.append(event)
    values = {}
    for line in pcrs.splitlines():
        if match := re.match(r"  (\w+):$", line):
            values[match.group(1)] = bank = {}
        elif match := re.match(r"    (\d+) *: 0x(\w+)$", line):
            bank[match.group(1)] = match.group(2)
    return {"events": events, "pcrs": values}


def locality(log):
    """PCR 0 as tpm2_eventlog 5.4 does not have it: it starts with the locality that the log says."""
    at = log.find(b"StartupLocality\0")
    return log[at + 16] if at >= 0 else None


def replay(events, bank, start):
    value = bytes(hashlib.new(bank).digest_size - 1) + bytes([start])
    for event in events:
        if event["pcr"] == 0 and event["type"] != "EV_NO_ACTION":
            value = hashlib.new(bank, value + bytes.fromhex(event["digests"][bank])).digest()
    return value.hex()


def old_format():
    """Without a header event: tpm2_eventlog 5.4 refuses that of the older specification."""
    def event(pcr, kind, data):
        return struct.pack("<II", pcr, kind) + hashlib.sha1(data).digest() + struct.pack("<I", len(data)) + data
    return event(0, 8, b"1.0") + event(4, 13, b"MBR") + b"".join(event(pcr, 4, bytes(4)) for pcr in range(8))


class Eventlog(unittest.TestCase):
    maxDiff = None

    def compare(self, path, must=True):
        """True where both took it."""
        mine, reference = ours(path), theirs(path)
        if isinstance(mine, str) or reference is None:
            self.assertFalse(must, f"{path}: {mine}")
            return False
        # The header of a crypto-agile log is their event 0.
        events = [event for event in reference["events"] if not (mine["agile"] and event["number"] == 0)]
        self.assertEqual([strip(event) for event in mine["events"]], [strip(event) for event in events])
        start = locality(pathlib.Path(path).read_bytes())
        for bank in mine["pcrs"]:
            values = dict(mine["pcrs"][bank])
            if start is not None and "0" in values:
                self.assertEqual(values.pop("0"), replay(mine["events"], bank, start))
                reference["pcrs"].get(bank, {}).pop("0", None)
            self.assertEqual(values, reference["pcrs"].get(bank, {}))
        return True

    def test_recorded_logs(self):
        self.assertEqual(len(VECTORS), 7)
        for path in VECTORS:
            with self.subTest(path.name):
                self.compare(path)

    def test_log_of_a_real_machine(self):
        if not HARDWARE.exists():
            self.skipTest("../shared/data/eventlog-hw is not here")
        self.assertEqual(len(ours(HARDWARE)["events"]), 120)
        self.compare(HARDWARE)

    def test_logs_of_booted_machines(self):
        if not MADE:
            self.skipTest("build/eventlogs has no *.ev")
        for path in MADE:
            with self.subTest(path.name):
                self.compare(path)

    def test_older_format(self):
        with tempfile.NamedTemporaryFile(suffix=".ev") as file:
            file.write(old_format())
            file.flush()
            self.assertEqual(len(ours(file.name)["events"]), 10)
            self.compare(file.name)

    def test_changed_logs(self):
        """What both take reads alike. (What we refuse and they take is fine: they read to the first thing that is wrong.)"""
        chance = random.Random(3)
        both = 0
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "changed.ev"
            for i in range(60):
                log = bytearray(chance.choice(VECTORS).read_bytes())
                for _ in range(chance.randrange(1, 4)):
                    log[chance.randrange(73, len(log))] = chance.choice([0, 1, 0xff, chance.randrange(256)])
                path.write_bytes(log)
                with self.subTest(i):
                    both += self.compare(path, must=False)
        self.assertGreater(both, 10)


def strip(event):
    """Names of types that only one of the two knows are not compared."""
    kind = event["type"] if re.match(r"EV_\w+$", event["type"]) else "?"
    return (event["number"], event["pcr"], kind, event["size"], event["digests"])


if __name__ == "__main__":
    unittest.main()
