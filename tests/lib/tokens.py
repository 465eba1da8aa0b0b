# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keys of nodes without a TPM, by docs/protocol.md, 13, with nothing of the C code: python3-cryptography has the keys that a
PKCS#11 token would have."""
import base64
import hashlib
import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

PREFIX = b"tallyboot token signature v1".ljust(63) + b"\0"
TYPES = ("P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096")


def fields(*values):
    out = b""
    for value in values:
        value = value.encode() if isinstance(value, str) else value
        out += struct.pack(">I", len(value)) + value
    return out


def register_message(node_id, challenge):
    return PREFIX + fields("tallyboot token register v1", node_id, challenge)


def evidence_fields(node_id, purpose, nonces, nk=b"", body=b""):
    """nonces: of the tenant, of the verifier."""
    digests = [hashlib.sha256(data).digest() if data else b"" for data in (nk, body)]
    return fields("tallyboot quote v1", node_id, purpose, digests[0], *nonces, digests[1])


def evidence_message(*what, **rest):
    return PREFIX + evidence_fields(*what, **rest)


def make(kind):
    """A key of a type of docs/protocol.md, 13; others are for tests of what is refused."""
    family, _, bits = kind.partition("-")
    if family == "RSA":
        return rsa.generate_private_key(65537, int(bits))
    return ec.generate_private_key({"256": ec.SECP256R1, "384": ec.SECP384R1, "521": ec.SECP521R1}[bits]())


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def digest(key):
    return hashlib.sha256(public(key)).digest()


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def node_id(key):
    return base32(digest(key))


def code(key):
    text = base32(hashlib.sha256(fields("tallyboot code v1", digest(key), node_id(key))).digest())
    return f"{text[:4]}-{text[4:8]}"


def sign(key, message):
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    size = (key.curve.key_size + 7) // 8
    hash_of = {32: hashes.SHA256, 48: hashes.SHA384}.get(size, hashes.SHA512)
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hash_of())))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")
