# SPDX-License-Identifier: LGPL-2.1-or-later
"""LUKS2 headers as an attacker with the disk writes them: any JSON, with the right checksum (LUKS2 on-disk format, section 2)."""
import hashlib
import json
import struct

BINARY, CHECKSUM, CHECKSUM_SIZE = 4096, 448, 64


def read(name):
    """The JSON of a volume's first header."""
    with open(name, "rb") as file:
        size = struct.unpack(">8xQ", file.read(16))[0]
        file.seek(BINARY)
        return json.loads(file.read(size - BINARY).split(b"\0")[0])


def edit(name, change):
    """Change both headers of a volume: change(JSON)."""
    with open(name, "r+b") as file:
        size = struct.unpack(">8xQ", file.read(16))[0]
        for offset in (0, size):
            file.seek(offset)
            binary = bytearray(file.read(BINARY))
            content = json.loads(file.read(size - BINARY).split(b"\0")[0])
            change(content)
            text = json.dumps(content, separators=(",", ":")).encode()
            area = text + b"\0" * (size - BINARY - len(text))
            binary[CHECKSUM:CHECKSUM + CHECKSUM_SIZE] = bytes(CHECKSUM_SIZE)
            binary[CHECKSUM:CHECKSUM + 32] = hashlib.sha256(binary + area).digest()
            file.seek(offset)
            file.write(binary + area)


def segment_offset(name):
    return int(read(name)["segments"]["0"]["offset"])


def our_slot(name):
    """The number of the keyslot that our token names, and what the header says of it."""
    content = read(name)
    token = next(token for token in content["tokens"].values() if token["type"] == "tallyboot")
    number = str(token["slot"] if "slot" in token else token["keyslots"][0])
    return number, content["keyslots"][number]
