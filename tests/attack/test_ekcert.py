#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariant 3, what certificates alone do not say: keys that their maker revoked, TPMs that an operator refuses, TPMs without a
certificate. The registrar checks nothing of it but where a case says so: each party does, for itself."""

import datetime
import hashlib
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cases import expect, main, refused
from node import PARTIES, Node, ready
from services import Fleet
from softtpm import SoftTpm, issue_ek

DAY = datetime.timedelta(days=1)


def maker_ca(name):
    """(certificate, key) of a root that may sign CRLs."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    usage = x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                          key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - DAY).not_valid_after(now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())), key


class Setup(Fleet):
    """A maker of its own, whose root is at every service; CRLs and the list are read by the parties alone."""

    def __init__(self):
        super().__init__(start=False)
        self.maker = maker_ca("Maker of the tests")
        self.roots, self.crls, self.list = (self.directory / name for name in ("roots", "crls", "list"))
        shutil.copytree(self.test_ca.roots, self.roots)
        self.crls.mkdir()
        self.list.write_text("")
        (self.roots / "maker.pem").write_bytes(self.maker[0].public_bytes(Encoding.PEM))
        for one in self.services:
            one.extra["ek-roots"] = self.roots
        for one in self.parties:
            one.extra.update({"ek-crls": self.crls, "ek-allow": self.list})
        for one in self.services:
            one.start()
        self.group()

    def tpm(self):
        tpm = SoftTpm(self.test_ca)
        tpm.certificate = issue_ek(self.test_ca, tpm.ek_key.public_key(), issuer=self.maker)
        return tpm

    def revoke(self, *tpms, days=7):
        """The maker's CRL: these, and nobody else."""
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.maker[0].subject).last_update(now - 30 * DAY)
                   .next_update(now + days * DAY))
        for tpm in tpms:
            number = x509.load_der_x509_certificate(tpm.certificate).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        (self.crls / "maker.crl").write_bytes(builder.sign(self.maker[1], hashes.SHA256()).public_bytes(Encoding.DER))

    def reload(self, *services):
        for one in services or self.parties:
            seen = one.log_text().count("were read anew")
            one.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 120
            while one.log_text().count("were read anew") == seen:
                assert time.monotonic() < deadline, one.log_text()[-500:]
                time.sleep(0.02)  # what EKs are held against comes right after, before the next request


def expect_refused(node):
    for party in PARTIES:
        expect(node.send(party, "/challenge", {"purpose": "enroll"}), 403, "bad-evidence")


def without_certificate(fleet):
    tpm = SoftTpm(fleet.test_ca)
    tpm.certificate = b""
    return registered(fleet, tpm)


def digest(node):
    return hashlib.sha256(node.tpm.ek_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def each_refuses(problem, node, purpose, body=None):
    for first in PARTIES:
        assert refused(problem, node.ask, purpose, body, order=(first,)).party == first


def registered(fleet, tpm):
    node = Node(fleet, tpm)
    expect(node.register(), 201)
    return node


def test_invariant_3_revoked_ek_at_each_party(fleet):
    """The registrar does not look at CRLs: that helps nobody."""
    good, bad = registered(fleet, fleet.tpm()), registered(fleet, fleet.tpm())
    fleet.revoke(bad.tpm)
    fleet.reload()
    expect_refused(bad)
    for party in fleet.parties:
        assert "was revoked by its issuer 'CN=Maker of the tests'" in party.log_text()
        assert party.get("/v1/nodes").json["nodes"] == []
    each_refuses("pending-approval", good, "enroll", {"keys": []})

    fleet.revoke(days=-1)  # a list that is out of date still counts
    fleet.reload()
    each_refuses("pending-approval", bad, "enroll", {"keys": []})
    fleet.revoke(bad.tpm, days=-1)
    fleet.reload()
    other = registered(fleet, fleet.tpm())
    each_refuses("pending-approval", other, "enroll", {"keys": []})
    assert "out of date" in fleet.tenant.log_text()


def test_invariant_3_revoked_ek_at_the_registrar(fleet):
    bad, good = Node(fleet, fleet.tpm()), Node(fleet, fleet.tpm())
    fleet.revoke(bad.tpm)
    fleet.registrar.extra["ek-crls"] = fleet.crls
    fleet.registrar.restart()
    try:
        expect(bad.register_begin(), 403, "bad-evidence")
        begun = expect(good.register_begin(), 200).json
        proof = good.activate_proof(begun)
        fleet.revoke(bad.tpm, good.tpm)  # between the two requests
        fleet.reload(fleet.registrar)
        expect(good.register_end(begun, proof), 403, "bad-evidence")
    finally:
        del fleet.registrar.extra["ek-crls"]
        fleet.registrar.restart()


def test_invariant_3_crl_required(fleet):
    """Without a current list of the issuer nobody is taken."""
    for party in fleet.parties:
        party.extra["ek-crl-check"] = "required"
    try:
        (fleet.crls / "maker.crl").unlink(missing_ok=True)
        for party in fleet.parties:
            party.restart()
        node = registered(fleet, fleet.tpm())
        expect_refused(node)
        fleet.revoke(days=-1)
        fleet.reload()
        expect_refused(node)
        (fleet.crls / "maker.crl").write_bytes(b"0\x03\x02\x01\x01")
        fleet.reload()
        expect_refused(node)
        assert f"{fleet.crls}/maker.crl: not a CRL in DER" in fleet.verifier.log_text()
        fleet.revoke()
        fleet.reload()
        each_refuses("pending-approval", node, "enroll", {"keys": []})
    finally:
        for party in fleet.parties:
            del party.extra["ek-crl-check"]
            party.restart()


def test_invariant_3_no_certificate_and_a_lax_registrar(fleet):
    """A registrar that takes everybody: no party does. A list of digests is the way in, at each party."""
    fleet.registrar.extra["ek-certificates"] = "optional"
    fleet.registrar.restart()
    try:
        assert "Nothing then shows that it is a TPM's" in fleet.registrar.log_text()
        node = without_certificate(fleet)
        assert '{"ek":"none"}' in [one["detail"] for one in fleet.registrar.audit(node=node.id)]
        expect_refused(node)
        assert f"put its EK digest {digest(node)} on the list ek-allow" in fleet.tenant.log_text()
        fleet.list.write_text(f"# one of the cellar's\n{digest(node)}  rack 3\n")
        fleet.reload()
        each_refuses("pending-approval", node, "enroll", {"keys": []})
        for party in fleet.parties:
            assert party.get(node.path()).json["tpm"]["proof"] == "listed"
            assert any('"proof":"listed"' in one["detail"] for one in party.audit(node=node.id))
    finally:
        fleet.list.write_text("")
        del fleet.registrar.extra["ek-certificates"]
        fleet.registrar.restart()


def test_certificates_optional_is_called_what_it_is(fleet):
    for one in fleet.services:
        one.extra["ek-certificates"] = "optional"
        one.restart()
    try:
        node = without_certificate(fleet)
        each_refuses("pending-approval", node, "enroll", {"keys": []})
        for party in fleet.parties:
            assert "can claim any PCR values" in party.log_text()
            assert party.get(node.path()).json["tpm"]["proof"] == "none"
            assert any('"proof":"none"' in one["detail"] for one in party.audit(node=node.id))
    finally:
        for one in fleet.services:
            del one.extra["ek-certificates"]
            one.restart()


def test_invariant_3_refused_makers_tpm(fleet):
    for party in fleet.parties:
        party.extra["ek-refuse"] = "manufacturer=NTC; manufacturer=id:00001014, model=so*"
        party.restart()
    try:
        expect_refused(registered(fleet, fleet.tpm()))
    finally:
        for party in fleet.parties:
            del party.extra["ek-refuse"]
            party.restart()


def test_refused_firmware_gets_no_half(fleet):
    """Enrolled long ago; its firmware turns out to be broken. The quote says what runs."""
    node = ready(fleet, swtpm=fleet.tpm())
    node.unlock()
    for party in fleet.parties:
        shown = party.get(node.path()).json["tpm"]
        assert shown == {"proof": "certificate", "manufacturer": "id:00001014", "model": "soft", "version": "id:00000001"}, shown
        party.extra["ek-refuse"] = "manufacturer=id:00001014, firmware=0.0-0.9"
        party.restart()
    try:
        node.reboot()
        each_refuses("policy-refused", node, "boot")
        for party in fleet.parties:
            assert any(one["event"] == "refusal" and "firmware 0.0" in one["detail"]
                       for one in party.audit(node=node.id)), party.audit(node=node.id)
            party.extra["ek-refuse"] = "manufacturer=IFX, firmware=0.0-0.9; firmware=0.1"
            party.restart()
        node.unlock()
    finally:
        for party in fleet.parties:
            party.extra.pop("ek-refuse", None)
            party.restart()


def wait_for(found, what):
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def shown_as_revoked(party, node):
    return party.get(node.path()).json["tpm"].get("revoked", False)


def test_invariant_3_revoked_after_the_enrollment_is_said(fleet):
    """By default a maker's list shuts out nobody that is enrolled: it is said, in the journal, to operators, to the monitor."""
    node, other = (ready(fleet, swtpm=fleet.tpm()) for _ in range(2))
    fleet.revoke(node.tpm)
    fleet.reload()
    for party in fleet.parties:
        wait_for(lambda party=party: shown_as_revoked(party, node), party.role)
        line = next(line for line in party.log_text().splitlines() if node.id in line and "revoked by its issuer" in line)
        assert "It is answered as before (ek-crl-recheck = optional)" in line, line
        assert not shown_as_revoked(party, other)
        assert "tallyboot_nodes_ek_revoked 1\n" in party.get("/v1/metrics").body.decode()
    for one, said in ((node, 2), (other, 0)):
        status, text = fleet.ctl("node", "show", one.id)
        assert status == 0 and text.count("ITS MAKER HAS REVOKED that certificate") == said, text
    node.reboot()
    node.unlock()
    fleet.revoke()
    fleet.reload()
    for party in fleet.parties:
        wait_for(lambda party=party: not shown_as_revoked(party, node), party.role)


def test_invariant_3_revoked_after_the_enrollment_is_refused(fleet):
    """Where an operator asked for that, at each party. Dates do not count, the list ek-allow is the way out."""
    node, other = (ready(fleet, swtpm=fleet.tpm()) for _ in range(2))
    fleet.revoke(node.tpm, days=-1)
    for party in fleet.parties:
        party.extra["ek-crl-recheck"] = "required"
        party.restart()
    try:
        node.reboot()
        each_refuses("policy-refused", node, "boot")
        for party in fleet.parties:
            assert any(one["event"] == "refusal" and "was revoked by its issuer" in one["detail"]
                       for one in party.audit(node=node.id))
            wait_for(lambda party=party: "It gets no more halves" in party.log_text(), party.role)
        other.reboot()
        other.unlock()
        fleet.list.write_text(f"{digest(node)} the maker's mistake\n")
        fleet.reload()
        node.unlock()
    finally:
        fleet.list.write_text("")
        fleet.revoke()
        for party in fleet.parties:
            del party.extra["ek-crl-recheck"]
            party.restart()


def test_reload_that_fails_keeps_what_was(fleet):
    node = registered(fleet, fleet.tpm())
    fleet.list.write_text("nonsense\n")
    fleet.reload()
    for party in fleet.parties:
        wait_for(lambda p=party: "the old stays" in p.log_text(), "what it is about the list")
        assert "line 1 is no EK digest" in party.log_text()
    fleet.list.write_text("")
    each_refuses("pending-approval", node, "enroll", {"keys": []})


if __name__ == "__main__":
    main(Setup)
