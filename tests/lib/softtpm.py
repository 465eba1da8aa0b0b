# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an attacker would give much for: a "TPM" in software whose AK signs anything, with an EK certificate that the services
accept.

A real TPM's restricted key signs no structure of which the TPM did not make every byte; so only with this one the checks behind
the signature can be tried one by one. Has the methods of tpm2.Tpm that a node uses.
"""

import datetime
import hashlib
import hmac
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID

import tpm2
from tpm2 import sized, unsize

HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384}
EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")


def kdfa(key, label, context, bits):
    """TPM 2.0 Library, Part 1, 11.4.10.2, with SHA-256."""
    out, counter = b"", 1
    while len(out) * 8 < bits:
        out += hmac.new(key, struct.pack(">I", counter) + label + b"\0" + context + struct.pack(">I", bits),
                        hashlib.sha256).digest()
        counter += 1
    return out[:bits // 8]


def issue_ek(test_ca, public, usage=EK_USAGE, days=30, issuer=None, begin=-1):
    """A certificate for an EK by the test CA's issuer, or by (certificate, key). DER."""
    if issuer is None:
        certificate = x509.load_pem_x509_certificate((test_ca.ca / "issuercert.pem").read_bytes())
        key = serialization.load_pem_private_key((test_ca.ca / "signkey.pem").read_bytes(), None)
    else:
        certificate, key = issuer
    now = datetime.datetime.utcnow()
    tpm = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:00001014"),
                     x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.2"), "soft"),
                     x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.3"), "id:00000001")])
    builder = (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(certificate.subject).public_key(public)
               .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=begin))
               .not_valid_after(now + datetime.timedelta(days=days))
               .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(tpm)]), critical=True)
               .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
               .add_extension(x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=True,
                                            data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
                                            encipher_only=False, decipher_only=False), critical=True))
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                                        critical=False)
    except x509.ExtensionNotFound:
        pass
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def self_signed_issuer(name="another vendor"):
    """(certificate, key) of a CA that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
                   .serial_number(1)
                   .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    return certificate, key


class SoftTpm:
    def __init__(self, test_ca, rsa_key=None):
        self.ek_key = rsa_key or rsa.generate_private_key(65537, 2048)
        self.certificate = issue_ek(test_ca, self.ek_key.public_key())
        self.ak_keys = {}
        self.ak_publics = []
        self.reset_count, self.restart_count = 1, 0
        self.power_on()

    # what swtpm.Swtpm has
    socket = None

    def reset(self):
        self.reset_count += 1
        self.power_on()

    def destroy(self):
        pass

    def power_on(self):
        self.values = {bank: [bytes(make().digest_size) for _ in range(24)] for bank, make in HASHES.items()}
        for pcr in range(8):
            self.event(pcr, b"firmware")

    # what tpm2.Tpm has
    def create_primary(self, template):
        if struct.unpack_from(">H", template)[0] == tpm2.ALG_RSA:
            modulus = self.ek_key.public_key().public_numbers().n.to_bytes(256, "big")
            return "ek", template[:-258] + sized(modulus)
        if template not in self.ak_keys:
            self.ak_keys[template] = ec.generate_private_key(ec.SECP256R1())
        numbers = self.ak_keys[template].public_key().public_numbers()
        public = template[:-36] + sized(numbers.x.to_bytes(32, "big")) + sized(numbers.y.to_bytes(32, "big"))
        return template, public

    def signer(self, handle):
        """The qualified name, of no interest to anybody."""
        return b"\0\x0b" + hashlib.sha256(handle).digest()

    def attest(self, handle, qualifying, banks):
        """A tpm2.Attest, to be changed at will and signed."""
        attest = tpm2.Attest.__new__(tpm2.Attest)
        attest.magic, attest.type = tpm2.GENERATED, tpm2.ST_ATTEST_QUOTE
        attest.signer, attest.extra = self.signer(handle), qualifying
        attest.clock, attest.reset, attest.restart = 1000, self.reset_count, self.restart_count
        attest.safe, attest.firmware = True, 1
        attest.selections, values = [], b""
        for bank, pcrs in banks.items():
            attest.selections.append((tpm2.BANKS[bank], tpm2.selection({bank: pcrs})[7:]))
            values += b"".join(self.values[bank][pcr] for pcr in sorted(pcrs))
        attest.digest, attest.rest = hashlib.sha256(values).digest(), b""
        return attest

    def sign(self, handle, data):
        """TPMT_SIGNATURE"""
        digest = hashlib.sha256(data).digest()
        r, s = decode_dss_signature(self.ak_keys[handle].sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return struct.pack(">HH", tpm2.ALG_ECDSA, tpm2.ALG_SHA256) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))

    def quote(self, handle, qualifying, banks):
        data = self.attest(handle, qualifying, banks).pack()
        return data, self.sign(handle, data)

    def activate(self, ak, _, id_object, secret):
        seed = self.ek_key.decrypt(unsize(secret)[0], padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0"))
        name = b"\0\x0b" + hashlib.sha256(self.create_primary(ak)[1]).digest()
        integrity, encrypted = unsize(unsize(id_object)[0])
        assert integrity == hmac.new(kdfa(seed, b"INTEGRITY", b"", 256), encrypted + name, hashlib.sha256).digest()
        cipher = Cipher(algorithms.AES(kdfa(seed, b"STORAGE", name, 128)), modes.CFB(bytes(16))).decryptor()
        return unsize(cipher.update(encrypted) + cipher.finalize())[0]

    def pcrs(self, bank, numbers):
        return {number: self.values[bank][number] for number in numbers}

    def event(self, pcr, data):
        for bank, make in HASHES.items():
            self.values[bank][pcr] = make(self.values[bank][pcr] + make(data).digest()).digest()

    def nv_read(self, _):
        return self.certificate
