# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recorded firmware event logs with the PCR values they came to, and IMA lists made here (docs/protocol.md, 6, Logs).

Written from the TCG's and the kernel's formats, nothing shared with src/evidence.
"""

import hashlib
import pathlib
import struct

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors" / "eventlog"
SIZES = {0x04: 20, 0x0b: 32, 0x0c: 48, 0x0d: 64}
SHA256 = 0x0b
EV_NO_ACTION = 3


def firmware_log(name):
    return (VECTORS / f"{name}.ev").read_bytes()


def recorded_pcrs(name):
    """{number: SHA-256 value}"""
    lines = (VECTORS / f"{name}.pcrs").read_text().split("\n")
    return {int(line.split()[0]): bytes.fromhex(line.split()[1]) for line in lines if line.strip()}


def events(log):
    """[(pcr, type, {algorithm: digest}, data)] of a crypto-agile log, without its first event."""
    size = struct.unpack_from("<I", log, 28)[0]
    at, found = 32 + size, []
    while at < len(log):
        pcr, kind, count = struct.unpack_from("<III", log, at)
        at += 12
        digests = {}
        for _ in range(count):
            algorithm = struct.unpack_from("<H", log, at)[0]
            digests[algorithm] = log[at + 2:at + 2 + SIZES[algorithm]]
            at += 2 + SIZES[algorithm]
        size = struct.unpack_from("<I", log, at)[0]
        found.append((pcr, kind, digests, log[at + 4:at + 4 + size]))
        at += 4 + size
    return found


def replay(tpm, log, bank="sha256", algorithm=SHA256):
    """Extends a TPM whose PCRs are zero as the firmware did."""
    for pcr, kind, digests, _ in events(log):
        if kind != EV_NO_ACTION:
            tpm.extend(pcr, bank, digests[algorithm])


def take_values(soft, name, numbers=range(16)):
    """A SoftTpm whose PCRs are those of a recorded boot; the gate stays open."""
    for number, value in recorded_pcrs(name).items():
        if number in numbers and number != 15:
            soft.values["sha256"][number] = value


class ImaList:
    """binary_runtime_measurements with template ima-ng, and the PCR 10 that it comes to."""

    def __init__(self, pcrs=None):
        """pcrs: values of 0 to 9, for boot_aggregate."""
        self.entries, self.pcr = [], bytes(32)
        if pcrs is not None:
            self.append("boot_aggregate", hashlib.sha256(b"".join(pcrs[i] for i in range(10))).digest())

    def append(self, path, digest):
        field = b"sha256:\0" + digest
        name = path.encode() + b"\0"
        data = struct.pack("<I", len(field)) + field + struct.pack("<I", len(name)) + name
        self.entries.append(struct.pack("<I", 10) + hashlib.sha1(data).digest() + struct.pack("<I", 6) + b"ima-ng" +
                            struct.pack("<I", len(data)) + data)
        self.pcr = hashlib.sha256(self.pcr + hashlib.sha256(data).digest()).digest()

    def file(self, path, content):
        self.append(path, hashlib.sha256(content).digest())

    def since(self, first):
        return b"".join(self.entries[first:])
