#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write token.json: the keys, ids, messages and signatures of docs/protocol.md, 13, made by a second implementation
(tests/lib/tokens.py), and what is to be refused, with its name. Signatures have random parts: each run makes others. Bytes are in
hexadecimal."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import tokens  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils  # noqa: E402

RSA_OID, PSS_OID = bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a")
ORDERS = {256: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551,
          384: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973}


def pattern(start, size):
    return bytes((start + i) & 0xff for i in range(size))


def der(tag, content):
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 + (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length()
                                                                                                            + 7) // 8, "big")
    return bytes([tag]) + length + content


def integer(value, pad=0):
    return der(2, bytes(pad) + value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_public(n, e, algorithm=der(6, RSA_OID) + b"\x05\x00", unused=0, tail=b"", pad=0):
    return der(0x30, der(0x30, algorithm) + der(3, bytes([unused]) + der(0x30, integer(n, pad) + integer(e) + tail)))


def valid(kind):
    key = tokens.make(kind)
    node_id, nonces, nk, body = tokens.node_id(key), (pattern(0x81, 60), pattern(0x91, 60)), b"\x04" + pattern(9,
                                                                                                               64), b'{"keys":[]}'
    challenge = pattern(0x21, 60)
    message = tokens.register_message(node_id, challenge)
    private = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    vector = {"type": kind, "private": private, "public": tokens.public(key), "node_id": node_id, "digest": tokens.digest(key),
              "code": tokens.code(key), "challenge": challenge,
              "register": {"message": message, "signature": tokens.sign(key, message)},
              "nonce_tenant": nonces[0], "nonce_verifier": nonces[1], "nk": nk, "body": body}
    for purpose in ("boot", "enroll", "rotate", "confirm"):
        message = tokens.evidence_message(node_id, purpose, nonces, nk=b"" if purpose == "confirm" else nk,
                                          body=b"" if purpose == "boot" else body)
        vector[purpose] = {"message": message, "signature": tokens.sign(key, message)}
    vector["refused"] = dict(refused_signatures(key, vector["boot"]["message"], vector["boot"]["signature"]))
    return vector


def refused_signatures(key, message, good):
    """Of the same message, under the same key, or nearly."""
    yield "another message", tokens.sign(key, message + b"\0")
    yield "the fields without the prefix", tokens.sign(key, message[64:])
    yield "the prefix with another last byte", tokens.sign(key, message[:63] + b" " + message[64:])
    yield "by another key", tokens.sign(tokens.make(f"P-{key.curve.key_size}" if hasattr(key, "curve")
                                                    else f"RSA-{key.key_size}"), message)
    yield "cut", good[:-1]
    yield "a byte more", good + b"\0"
    yield "none", b""
    yield "zeros", bytes(len(good))
    yield "changed", good[:-1] + bytes([good[-1] ^ 1])
    if isinstance(key, rsa.RSAPrivateKey):
        sha256, sha384 = hashes.SHA256(), hashes.SHA384()
        yield "PKCS #1 v1.5", key.sign(message, padding.PKCS1v15(), sha256)
        for name, salt in (("no salt", 0), ("a salt of 20", 20), ("the longest salt", padding.PSS.MAX_LENGTH)):
            yield name, key.sign(message, padding.PSS(padding.MGF1(sha256), salt), sha256)
        yield "SHA-384", key.sign(message, padding.PSS(padding.MGF1(sha384), 32), sha384)
        yield "SHA-384 in MGF1", key.sign(message, padding.PSS(padding.MGF1(sha384), 32), sha256)
        return
    size = len(good) // 2
    r, s = int.from_bytes(good[:size], "big"), int.from_bytes(good[size:], "big")
    order = ORDERS[key.curve.key_size]
    yield "DER", utils.encode_dss_signature(r, s)
    yield "s and r", good[size:] + good[:size]
    yield "s of zero", good[:size] + bytes(size)
    yield "r of zero", bytes(size) + good[size:]
    yield "s of the order", good[:size] + order.to_bytes(size, "big")
    yield "a zero byte before each", b"\0" + good[:size] + b"\0" + good[size:]
    other = hashes.SHA384() if size == 32 else hashes.SHA256()
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(other)))
    yield "another hash", r.to_bytes(size, "big") + s.to_bytes(size, "big")


def refused_publics():
    p256, p384, key = tokens.make("P-256"), tokens.make("P-384"), tokens.make("RSA-2048")
    good, numbers = tokens.public(p256), key.public_key().public_numbers()
    point = good[-65:]
    head = der(6, bytes.fromhex("2a8648ce3d0201"))
    curve = der(6, bytes.fromhex("2a8648ce3d030107"))

    def ec_public(parameters, encoded):
        return der(0x30, der(0x30, head + parameters) + der(3, b"\0" + encoded))

    assert ec_public(curve, point) == good and rsa_public(numbers.n, numbers.e) == tokens.public(key)
    yield "nothing", b""
    yield "P-256, a byte more", good + b"\0"
    yield "P-256, cut", good[:-1]
    yield "P-256, compressed", ec_public(curve, bytes([2 + (point[-1] & 1)]) + point[1:33])
    yield "P-256, hybrid", ec_public(curve, bytes([6 + (point[-1] & 1)]) + point[1:])
    yield "P-256, off the curve", good[:-1] + bytes([good[-1] ^ 1])
    yield "P-256, zeros", good[:-64] + bytes(64)
    yield "P-256, the point at infinity", ec_public(curve, b"\0")
    yield "P-256, no curve", ec_public(b"", point)
    yield "P-256, NULL for a curve", ec_public(b"\x05\x00", point)
    yield "P-256, a length in two bytes", b"\x30\x81" + good[1:]
    yield "P-256, an indefinite length", b"\x30\x80" + good[2:] + b"\0\0"
    yield "P-256's point under P-384", ec_public(der(6, bytes.fromhex("2b81040022")), point)
    yield "P-384, off the curve", tokens.public(p384)[:-1] + bytes([tokens.public(p384)[-1] ^ 1])
    yield "P-521", tokens.public(tokens.make("P-521"))
    yield "secp256k1", ec.generate_private_key(ec.SECP256K1()).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    yield "Ed25519", ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    whole = rsa_public(numbers.n, numbers.e)
    yield "RSA, a byte more", whole + b"\0"
    yield "RSA, cut", whole[:-1]
    yield "RSA, no NULL", rsa_public(numbers.n, numbers.e, der(6, RSA_OID))
    yield "RSA, named for PSS", rsa_public(numbers.n, numbers.e, der(6, PSS_OID))
    yield "RSA, unused bits", rsa_public(numbers.n, numbers.e, unused=1)
    yield "RSA, a third number", rsa_public(numbers.n, numbers.e, tail=integer(1))
    yield "RSA, a modulus with a zero byte more", rsa_public(numbers.n, numbers.e, pad=1)
    yield "RSA, exponent 3", rsa_public(numbers.n, 3)
    yield "RSA, exponent 65536", rsa_public(numbers.n, 65536)
    yield "RSA, exponent 1", rsa_public(numbers.n, 1)
    yield "RSA, exponent of five bytes", rsa_public(numbers.n, 2**32 + 65537)
    for name, encoded in (("exponent with a zero byte more", "020400010001"),
                          ("exponent with a length in two bytes", "028103010001"),
                          ("exponent with a length in three bytes", "02820003010001")):
        yield f"RSA, {name}", der(0x30, der(0x30, der(6, RSA_OID) + b"\x05\x00") + der(3, b"\0" + der(
            0x30, integer(numbers.n) + bytes.fromhex(encoded))))
    yield "RSA, even modulus", rsa_public(numbers.n - 1, numbers.e)
    yield "RSA, 1024 bits", rsa_public(numbers.n >> 1024 | 1, numbers.e)
    yield "RSA, 2047 bits", rsa_public(numbers.n >> 1 | 1, numbers.e)
    yield "RSA, 2044 bits", rsa_public(numbers.n >> 4 | 1, numbers.e)
    yield "RSA, 4104 bits", rsa_public((1 << 4103) + numbers.n, numbers.e)
    yield "RSA, negative", der(0x30, der(0x30, der(6, RSA_OID) + b"\x05\x00") + der(3, b"\0" + der(0x30, der(
        2, numbers.n.to_bytes(256, "big")) + integer(numbers.e))))
    yield "the key alone, not in a SubjectPublicKeyInfo", der(0x30, integer(numbers.n) + integer(numbers.e))


def main():
    vectors = {"prefix": tokens.PREFIX, "keys": [valid(kind) for kind in tokens.TYPES], "refused_keys": dict(refused_publics())}
    text = json.dumps(vectors, indent=1, default=bytes.hex)
    pathlib.Path(__file__).with_name("token.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
