# SPDX-License-Identifier: LGPL-2.1-or-later
"""The few TPM 2.0 commands that a node needs, spoken to a software TPM's socket without any library (TPM 2.0 Library, Parts 2 and
3).

Nothing is shared with src/tpm: what both say the same way, the protocol says.
"""

import hashlib
import socket
import struct

ALG_RSA, ALG_SHA1, ALG_AES, ALG_SHA256, ALG_SHA384, ALG_NULL = 0x01, 0x04, 0x06, 0x0b, 0x0c, 0x10
ALG_RSASSA, ALG_ECDSA, ALG_ECC, ALG_CFB = 0x14, 0x18, 0x23, 0x43
BANKS = {"sha1": ALG_SHA1, "sha256": ALG_SHA256, "sha384": ALG_SHA384}
CURVE_P256, CURVE_P384 = 3, 4
RH_OWNER, RH_NULL, RS_PW, RH_LOCKOUT, RH_ENDORSEMENT = 0x40000001, 0x40000007, 0x40000009, 0x4000000a, 0x4000000b
GENERATED = 0xff544347
ST_ATTEST_QUOTE = 0x8018

FIXED_TPM, FIXED_PARENT, DATA_ORIGIN, USER_WITH_AUTH, NO_DA = 1 << 1, 1 << 4, 1 << 5, 1 << 6, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
AK_ATTRIBUTES = FIXED_TPM | FIXED_PARENT | DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN

EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
EK_RSA_CERTIFICATE = 0x01c00002


class TpmError(Exception):
    def __init__(self, code):
        super().__init__(f"TPM answered 0x{code:03x}")
        self.code = code


def sized(data):
    """TPM2B: two bytes of length, then the bytes."""
    return struct.pack(">H", len(data)) + data


def unsize(data):
    """The content of a TPM2B, and what follows it."""
    size = struct.unpack_from(">H", data)[0]
    assert len(data) >= 2 + size
    return data[2:2 + size], data[2 + size:]


def selection(banks):
    """TPML_PCR_SELECTION of {"sha256": [0, 1], ...}."""
    data = struct.pack(">I", len(banks))
    for bank, pcrs in banks.items():
        bitmap = bytearray(3)
        for pcr in pcrs:
            bitmap[pcr // 8] |= 1 << pcr % 8
        data += struct.pack(">HB", BANKS[bank], 3) + bytes(bitmap)
    return data


def ak_template(attributes=AK_ATTRIBUTES, curve=CURVE_P256, hash_alg=ALG_SHA256, policy=b"", label=b"tallyboot ak v1",
                scheme=ALG_ECDSA):
    """The template of docs/protocol.md, 2, or one that differs from it."""
    data = struct.pack(">HHI", ALG_ECC, ALG_SHA256, attributes) + sized(policy)
    if attributes & RESTRICTED and attributes & DECRYPT:
        data += struct.pack(">HHH", ALG_AES, 128, ALG_CFB) + struct.pack(">H", ALG_NULL)
    else:
        data += struct.pack(">H", ALG_NULL) + (struct.pack(">HH", scheme,
                                                           hash_alg) if scheme != ALG_NULL else struct.pack(">H", ALG_NULL))
    data += struct.pack(">HH", curve, ALG_NULL)
    return data + sized(hashlib.sha256(label).digest()) + sized(b"")


def ek_template():
    """RSA-2048, TCG EK Credential Profile, template L-1."""
    return (struct.pack(">HHI", ALG_RSA, ALG_SHA256, 0x000300b2) + sized(EK_POLICY) + struct.pack(">HHH", ALG_AES, 128, ALG_CFB) +
            struct.pack(">HHI", ALG_NULL, 2048, 0) + sized(bytes(256)))


class Tpm:
    """A TPM at a UNIX socket that takes bare commands (swtpm socket --server type=unixio)."""

    def __init__(self, path):
        self.path = path

    def command(self, code, handles=(), parameters=b"", auths=None, out_handles=0):
        """Returns (handles, parameters) of the answer."""
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        if auths is not None:
            area = b"".join(struct.pack(">I", auth) + sized(b"") + b"\x01" + sized(b"") for auth in auths)
            body += struct.pack(">I", len(area)) + area
        body += parameters
        request = struct.pack(">HII", 0x8001 if auths is None else 0x8002, 10 + len(body), code) + body
        answer = self._exchange(request)
        tag, size, result = struct.unpack_from(">HII", answer)
        assert size == len(answer)
        if result != 0:
            raise TpmError(result)
        rest = answer[10:]
        out = struct.unpack_from(f">{out_handles}I", rest)
        rest = rest[4 * out_handles:]
        if tag == 0x8002:
            size = struct.unpack_from(">I", rest)[0]
            rest = rest[4:4 + size]
        return out, rest

    def _exchange(self, request):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(240)
            client.connect(self.path)
            client.sendall(request)
            answer = b""
            while len(answer) < 10 or len(answer) < struct.unpack_from(">I", answer, 2)[0]:
                piece = client.recv(65536)
                if not piece:
                    raise RuntimeError("the TPM hung up")
                answer += piece
            return answer

    def create_primary(self, template, hierarchy=RH_ENDORSEMENT):
        """(handle, TPMT_PUBLIC)"""
        handles, rest = self.command(0x131, [hierarchy], sized(sized(b"") + sized(b"")) + sized(template) + sized(b"") +
                                     struct.pack(">I", 0), [RS_PW], 1)
        return handles[0], unsize(rest)[0]

    def flush(self, handle):
        self.command(0x165, [], struct.pack(">I", handle))

    def quote(self, handle, qualifying, banks):
        """(TPMS_ATTEST, TPMT_SIGNATURE)"""
        _, rest = self.command(0x158, [handle], sized(qualifying) + struct.pack(">H", ALG_NULL) + selection(banks), [RS_PW])
        return unsize(rest)

    def sign(self, handle, digest):
        """TPM2_Sign of any digest: an unrestricted key does it, a restricted one refuses."""
        ticket = struct.pack(">HIH", 0x8024, RH_NULL, 0)
        return self.command(0x15d, [handle], sized(digest) + struct.pack(">H", ALG_NULL) + ticket, [RS_PW])[1]

    def activate(self, ak, ek, id_object, secret):
        """TPM2_ActivateCredential under an EK with the usual policy. id_object and secret with their sizes. Returns the
        credential."""
        nonce = sized(bytes(16))
        handles, _ = self.command(0x176, [RH_NULL, RH_NULL], nonce + sized(b"") + struct.pack(">BHH", 1, ALG_NULL, ALG_SHA256),
                                  None, 1)
        session = handles[0]
        try:
            self.command(0x151, [RH_ENDORSEMENT, session], sized(b"") * 3 + struct.pack(">i", 0), [RS_PW])
            return unsize(self.command(0x147, [ak, ek], id_object + secret, [RS_PW, session])[1])[0]
        finally:
            self.flush(session)

    def pcrs(self, bank, numbers):
        """{number: bytes}"""
        values, left = {}, list(numbers)
        while left:
            _, rest = self.command(0x17e, [], selection({bank: left[:8]}))
            assert struct.unpack_from(">I", rest, 4)[0] == 1
            digests = rest[4 + 4 + 2 + 1 + 3:]
            count = struct.unpack_from(">I", digests)[0]
            digests = digests[4:]
            asked = sorted(left[:8])
            assert count == len(asked)
            for number in asked:
                values[number], digests = unsize(digests)
            left = left[8:]
        return values

    def event(self, pcr, data):
        """Extends every bank."""
        self.command(0x13c, [pcr], sized(data), [RS_PW])

    def extend(self, pcr, bank, digest):
        self.command(0x182, [pcr], struct.pack(">IH", 1, BANKS[bank]) + digest, [RS_PW])

    def nv_read(self, index):
        _, rest = self.command(0x169, [index])
        size = struct.unpack(">H", unsize(rest)[0][-2:])[0]
        data = b""
        while len(data) < size:
            piece = min(512, size - len(data))
            _, rest = self.command(0x14e, [RH_OWNER, index], struct.pack(">HH", piece, len(data)), [RS_PW])
            data += unsize(rest)[0]
        return data

    def clear(self):
        self.command(0x126, [RH_LOCKOUT], b"", [RS_PW])


class Attest:
    """TPMS_ATTEST of a quote, taken apart and put together again (Part 2, 10.12.8)."""

    def __init__(self, data):
        self.magic, self.type = struct.unpack_from(">IH", data)
        self.signer, rest = unsize(data[6:])
        self.extra, rest = unsize(rest)
        self.clock, self.reset, self.restart, self.safe, self.firmware = struct.unpack_from(">QIIBQ", rest)
        rest = rest[25:]
        count = struct.unpack_from(">I", rest)[0]
        rest = rest[4:]
        self.selections = []
        for _ in range(count):
            alg, size = struct.unpack_from(">HB", rest)
            self.selections.append((alg, rest[3:3 + size]))
            rest = rest[3 + size:]
        self.digest, self.rest = unsize(rest)

    def pack(self):
        data = struct.pack(">IH", self.magic, self.type) + sized(self.signer) + sized(self.extra)
        data += struct.pack(">QIIBQ", self.clock, self.reset, self.restart, self.safe, self.firmware)
        data += struct.pack(">I", len(self.selections))
        for alg, bitmap in self.selections:
            data += struct.pack(">HB", alg, len(bitmap)) + bitmap
        return data + sized(self.digest) + self.rest
