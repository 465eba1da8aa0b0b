# SPDX-License-Identifier: LGPL-2.1-or-later
"""HPKE (RFC 9180) with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; modes base and PSK. For tests: a second
implementation."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEM = b"KEM" + struct.pack(">H", 0x0010)
SUITE = b"HPKE" + struct.pack(">HHH", 0x0010, 0x0001, 0x0002)


def point(public):
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def from_point(data):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)


def extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
        counter += 1
    return out[:length]


def hkdf(ikm, salt, info, length):
    return expand(extract(salt, ikm), info, length)


def labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


def derive_key_pair(ikm):
    """RFC 9180, 7.1.3. A private key object."""
    prk = labeled_extract(KEM, b"", b"dkp_prk", ikm)
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    for counter in range(256):
        scalar = int.from_bytes(labeled_expand(KEM, prk, b"candidate", bytes([counter]), 32), "big")
        if 0 < scalar < order:
            return ec.derive_private_key(scalar, ec.SECP256R1())
    raise ValueError("no key")


class Context:
    def __init__(self, shared, info, psk=None, psk_id=b""):
        mode = 0 if psk is None else 1
        context = (bytes([mode]) + labeled_extract(SUITE, b"", b"psk_id_hash", psk_id) + labeled_extract(SUITE, b"", b"info_hash",
                                                                                                         info))
        secret = labeled_extract(SUITE, shared, b"secret", psk or b"")
        self.key = AESGCM(labeled_expand(SUITE, secret, b"key", context, 32))
        self.nonce = int.from_bytes(labeled_expand(SUITE, secret, b"base_nonce", context, 12), "big")
        self.sequence = 0

    def _next(self):
        nonce = (self.nonce ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return nonce

    def seal(self, aad, data):
        return self.key.encrypt(self._next(), data, aad)

    def open(self, aad, data):
        return self.key.decrypt(self._next(), data, aad)


def _shared(dh, enc, recipient):
    prk = labeled_extract(KEM, b"", b"eae_prk", dh)
    return labeled_expand(KEM, prk, b"shared_secret", enc + recipient, 32)


def sender(recipient, info, psk=None, psk_id=b""):
    """recipient: a point. (enc, context)"""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    enc = point(ephemeral.public_key())
    return enc, Context(_shared(ephemeral.exchange(ec.ECDH(), from_point(recipient)), enc, recipient), info, psk, psk_id)


def receiver(private, enc, info, psk=None, psk_id=b""):
    recipient = point(private.public_key())
    return Context(_shared(private.exchange(ec.ECDH(), from_point(enc)), enc, recipient), info, psk, psk_id)
