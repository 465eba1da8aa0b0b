#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write protocol.json: every construction of docs/protocol.md with fixed inputs, made by a second implementation (this one and
tests/lib/hpke.py), so that the C code is not compared with itself. Bytes are in hexadecimal, names and numbers as they are."""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import hpke  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding  # noqa: E402


def fields(*values):
    """L(a, b, ...), docs/protocol.md, 1."""
    out = b""
    for value in values:
        if isinstance(value, int):
            value = struct.pack(">Q", value)
        elif isinstance(value, str):
            value = value.encode()
        out += struct.pack(">I", len(value)) + value
    return out


def sha256(data):
    return hashlib.sha256(data).digest()


def mac(key, *values):
    return hmac.new(key, fields(*values), hashlib.sha256).digest()


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def pattern(start, size):
    return bytes((start + i) & 0xff for i in range(size))


def scalar_hex(private):
    return private.private_numbers().private_value.to_bytes(32, "big")


def sealed(ikm, recipient, info, messages, psk=None, psk_id=b""):
    """HPKE with the ephemeral key that DeriveKeyPair(ikm) is. (enc, [ciphertext, ...])"""
    ephemeral = hpke.derive_key_pair(ikm)
    enc = hpke.point(ephemeral.public_key())
    context = hpke.Context(hpke._shared(hpke_exchange(ephemeral, recipient), enc, recipient), info, psk, psk_id)
    return enc, [context.seal(aad, data) for aad, data in messages]


def hpke_exchange(private, recipient):
    return private.exchange(hpke.ec.ECDH(), hpke.from_point(recipient))


def names(vectors):
    name_digest, ek_digest = pattern(0x10, 32), pattern(0x80, 32)
    node_id = base32(name_digest)
    code = base32(sha256(fields("tallyboot code v1", ek_digest, node_id)))
    vectors["names"] = {"name_digest": name_digest, "node_id": node_id, "ek_digest": ek_digest, "code": f"{code[:4]}-{code[4:8]}"}
    token = pattern(0xa0, 20)
    join = {party: sha256(fields("tallyboot join v1", party, token)) for party in ("tenant", "verifier")}
    vectors["join"] = {"token": "tj1-" + base32(token), **join}
    vectors["fields"] = {"list": fields("tallyboot", b"", 258, b"\x00\xff"),
                         "sha256": sha256(fields("tallyboot", b"", 258, b"\x00\xff")),
                         "hmac_key": pattern(1, 32), "hmac": mac(pattern(1, 32), "tallyboot", b"", 258, b"\x00\xff")}
    return node_id


def derived(vectors, node_id):
    u, v, generation, uuid = pattern(0x21, 32), pattern(0xc3, 32), 7, "0f9c6a3e-5d1b-4c8e-9a70-1234567890ab"
    k_b = bytes(a ^ b for a, b in zip(u, v))
    volume = hpke.hkdf(k_b, node_id.encode(), fields("tallyboot luks2 v1", generation, uuid), 32)
    payload_ikm = hpke.hkdf(k_b, node_id.encode(), fields("tallyboot payload v1", generation), 32)
    payload = hpke.derive_key_pair(payload_ikm)
    manifest_key = hpke.hkdf(k_b, node_id.encode(), fields("tallyboot manifest v1", generation), 32)
    manifest = b'{"version":1}'
    vectors["derived"] = {
        "u": u, "v": v, "k_b": k_b, "generation": generation, "luks_uuid": uuid, "volume_key": volume,
        "payload_scalar": scalar_hex(payload),
        "payload_public": hpke.point(payload.public_key()), "manifest_key": manifest_key, "manifest": manifest,
        "manifest_mac": mac(manifest_key, "tallyboot manifest v1", manifest)}
    return payload


def released(vectors, node_id):
    keys = ["000102030405060708090a0b0c0d0e0f", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"]
    halves = [(keys[0], 1, 2, 3, pattern(1, 32)), (keys[0], 1, 1, 4, pattern(2, 32)), (keys[1], 2, 2, 1, pattern(3, 32))]
    plain = b"TBH1" + struct.pack(">H", len(halves))
    for key, kind, state, generation, half in halves:
        plain += bytes.fromhex(key) + bytes([kind, state]) + struct.pack(">I", generation) + half
    vectors["halves"] = {"plain": plain, "items": [
        {"key": key, "kind": kind, "state": state, "generation": generation, "half": half}
        for key, kind, state, generation, half in halves]}

    nk = hpke.derive_key_pair(pattern(0x31, 32))
    recipient, details = hpke.point(nk.public_key()), b'{"keys":[]}'
    aad = sha256(b"attest")
    info = fields("tallyboot half v1", "tenant", node_id, "boot")
    enc, (sealed_halves, sealed_details) = sealed(pattern(0x41, 32), recipient, info, [(aad, plain), (aad, details)])
    vectors["release"] = {"nk_scalar": scalar_hex(nk), "nk_public": recipient, "party": "tenant", "purpose": "boot",
                          "attest": b"attest", "ephemeral_ikm": pattern(0x41, 32),
                          "details_plain": details, "enc": enc, "halves": sealed_halves, "details": sealed_details}

    info = fields("tallyboot half v1", "verifier", node_id, "enroll")
    secret, psk_id = pattern(0x51, 32), fields("tallyboot credential v1", "verifier", node_id)
    enc, (sealed_halves, sealed_details) = sealed(pattern(0x42, 32), recipient, info, [(aad, plain), (aad, details)], secret,
                                                  psk_id)
    vectors["release_enroll"] = {"party": "verifier", "purpose": "enroll", "attest": b"attest", "credential_secret": secret,
                                 "psk_id": psk_id, "details_plain": details, "enc": enc, "halves": sealed_halves,
                                 "details": sealed_details}
    return recipient


def quoted(vectors, node_id, nk):
    key, number, time, purpose, party = pattern(0x61, 32), 5, 1767323045678, "boot", "verifier"
    random = pattern(0x71, 16)
    head = struct.pack(">IQ", number, time) + random
    nonce = head + mac(key, "tallyboot nonce v1", number, party, node_id, purpose, time, random)
    credential = mac(key, "tallyboot credential v1", number, party, node_id, nonce)
    proof = mac(credential, "tallyboot proof v1", party, node_id, nonce, sha256(b"attest"))
    vectors["nonce"] = {"mac_key": key, "number": number, "party": party, "purpose": purpose, "time": time, "random": random,
                        "nonce": nonce, "credential_secret": credential, "attest": b"attest", "proof": proof}

    version, expiry = 9, 1767323945678
    ticket = struct.pack(">IQQ", number, expiry, version) + mac(key, "tallyboot ticket v1", number, node_id, version, expiry)
    logs_expiry = 1767323165678
    log_ticket = struct.pack(">IQ", number, logs_expiry) + sha256(b"attest")
    log_ticket += mac(key, "tallyboot log ticket v1", number, party, node_id, sha256(b"attest"), logs_expiry)
    vectors["log_ticket"] = {"mac_key": key, "number": number, "party": party, "attest": b"attest", "expiry": logs_expiry,
                             "ticket": log_ticket}

    vectors["ticket"] = {"mac_key": key, "number": number, "version": version, "expiry": expiry, "ticket": ticket}

    nonce_t, nonce_v, body = pattern(0x81, 60), pattern(0x91, 60), b'{"keys":[]}'
    quote = {"nk": nk, "nonce_tenant": nonce_t, "nonce_verifier": nonce_v, "body": body}
    for purpose in ("boot", "enroll", "confirm"):
        nk_hash = b"" if purpose == "confirm" else sha256(nk)
        body_hash = b"" if purpose == "boot" else sha256(body)
        quote[purpose] = sha256(fields("tallyboot quote v1", node_id, purpose, nk_hash, nonce_t, nonce_v, body_hash))
    vectors["quote"] = quote


def packed(vectors, node_id, payload):
    entries = [(2, 0o755, "etc", None), (1, 0o640, "etc/key", b"secret\n"), (1, 0o600, "empty", b"")]
    archive = b"TBA1"
    for kind, mode, path, data in entries:
        archive += struct.pack(">BHH", kind, mode, len(path)) + path.encode()
        if kind == 1:
            archive += struct.pack(">Q", len(data)) + data
    archive += b"\0"
    vectors["archive"] = {"archive": archive, "entries": [
        {"type": kind, "mode": mode, "path": path, "data": data or b""} for kind, mode, path, data in entries]}

    content_key, version, key_id, generation = pattern(0xd1, 32), 3, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 2
    for name, plain in (("payload", archive), ("payload_long", pattern(0, 256) * 257)):
        header = b"TBP1" + struct.pack(">IQQ", 65536, version, len(plain)) + node_id.encode()
        pieces = [plain[i:i + 65536] for i in range(0, len(plain), 65536)] or [b""]
        file = header
        for index, piece in enumerate(pieces):
            nonce = struct.pack(">IQ", index == len(pieces) - 1, index)
            file += AESGCM(content_key).encrypt(nonce, piece, sha256(header))
        vectors[name] = {"content_key": content_key, "version": version, "length": len(plain), "header": header,
                         "file_sha256": sha256(file)}
        if len(plain) < 1000:
            vectors[name]["file"] = file
    header = vectors["payload"]["header"]
    info = fields("tallyboot payload key v1", node_id, key_id, generation, version)
    enc, (ct,) = sealed(pattern(0x43, 32), hpke.point(payload.public_key()), info, [(sha256(header), content_key)])
    vectors["payload_key"] = {"key": key_id, "generation": generation, "enc": enc, "ct": ct}

    inbox, half = hpke.derive_key_pair(pattern(0x32, 32)), pattern(0xe1, 32)
    info = fields("tallyboot deal v1", node_id, key_id, 1)
    enc, (ct,) = sealed(pattern(0x44, 32), hpke.point(inbox.public_key()), info, [(b"", half)])
    vectors["deal"] = {"inbox_scalar": scalar_hex(inbox), "inbox_public": hpke.point(inbox.public_key()), "key": key_id,
                       "generation": 1, "half": half, "enc": enc, "ct": ct}


def offline(vectors, node_id):
    """docs/protocol.md, 14: what is sealed, and what is signed."""
    derived, group_key, nonce, wrapped = vectors["derived"], pattern(0x91, 32), pattern(0x17, 12), pattern(0xa3, 84)
    binding = (node_id, vectors["payload_key"]["key"], derived["generation"], derived["luks_uuid"])
    plain = derived["k_b"] + derived["manifest"] + derived["manifest_mac"]
    data = nonce + AESGCM(group_key).encrypt(nonce, plain, fields("tallyboot offline v1", *binding))
    message = b"tallyboot token signature v1".ljust(63) + b"\0" + fields("tallyboot offline signature v1", *binding, "ecdh",
                                                                         wrapped, data)
    vectors["offline"] = {"group_key": group_key, "group_binding": fields("tallyboot offline group v1", *binding[:3]),
                          "sealed": data, "mechanism": "ecdh", "wrapped": wrapped, "message": message}


def logged(vectors, node_id):
    """docs/protocol.md, 12: two records, and what a head's signature is over."""
    previous, records = bytes(32), []
    for seq, (event, who, detail) in enumerate((("approve", "alice", '{"group":"default"}'), ("release", "node", "")), 1):
        time, incident = 1767323045678 + seq, "00112233445566%02x" % seq
        previous = sha256(fields("tallyboot audit v1", previous, seq, time, event, node_id, incident, who, detail))
        records.append({"seq": seq, "time": time, "event": event, "node": node_id, "incident": incident, "who": who,
                        "detail": detail, "hash": previous})
    public, time = vectors["deal"]["inbox_public"], 1767323047000
    head = {"role": "tenant", "public": public, "seq": 2, "hash": previous, "from_seq": 1, "from_hash": records[0]["hash"],
            "time": time}
    message = fields("tallyboot audit head v1", "tenant", public, 2, previous, 1, records[0]["hash"], time)
    vectors["audit"] = {"records": records, "head": head, "message": message}


def wrapped_key(vectors, node_id):
    """docs/protocol.md, 15: a key under an AES key, by kwp, with its confirmation."""
    wrapping, key, generation = pattern(0x18, 32), pattern(0x58, 32), 7
    data = aes_key_wrap_with_padding(wrapping, key)
    head = b"tbwk" + bytes([1, 1, 0, 0]) + struct.pack(">I", generation)
    body = head + b"\0" + struct.pack(">H", len(data)) + data
    check = mac(key, "tallyboot wrap confirm v1", body, "tallyboot offline group v1", node_id)
    vectors["wrap"] = {"wrapping_key": wrapping, "key": key, "generation": generation,
                       "binding": ["tallyboot offline group v1", node_id],
                       "mechanism": "kwp", "wrapped": body + bytes([len(check)]) + check}


def main():
    vectors = {}
    node_id = names(vectors)
    payload = derived(vectors, node_id)
    quoted(vectors, node_id, released(vectors, node_id))
    packed(vectors, node_id, payload)
    offline(vectors, node_id)
    logged(vectors, node_id)
    wrapped_key(vectors, node_id)
    text = json.dumps(vectors, indent=2, default=bytes.hex)
    pathlib.Path(__file__).with_name("protocol.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
