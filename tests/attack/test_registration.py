#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariants 3 and 4: who gets into the directory, what a lying directory gains, and that nobody takes a node's place."""

import concurrent.futures
import json
import os
import secrets
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography import x509

import tpm2
from cases import expect, main, refused
from node import PARTIES, Node, b64, mac, ready, unb64
from services import Fleet
from softtpm import SoftTpm, issue_ek, self_signed_issuer


class Setup(Fleet):
    def __init__(self):
        super().__init__()
        self.group()


def directory(fleet):
    return fleet.registrar.sql("SELECT * FROM node ORDER BY id"), [record["seq"] for record in fleet.registrar.audit()]


def lie(fleet, node, **members):
    """The registrar tells others something else about this node."""
    with sqlite3.connect(fleet.registrar.database, timeout=120) as database:
        document = json.loads(database.execute("SELECT document FROM node WHERE id = ?", [node.id]).fetchone()[0])
        document.update(members)
        database.execute("UPDATE node SET document = ? WHERE id = ?", [json.dumps(document), node.id])
    database.close()


def lie_about_new(fleet, node, **members):
    """The registrar invents a node."""
    with sqlite3.connect(fleet.registrar.database, timeout=120) as database:
        database.execute("INSERT INTO node (id, ek_sha256, code, state, registered, document) VALUES (?, ?, 'aaaa-aaaa', 'active', 1, ?)",
                         [node.id, secrets.token_hex(32), json.dumps({**node.registration(), **members})])
    database.close()


# Invariant 3: the AK

def templates():
    base = tpm2.AK_ATTRIBUTES
    soft = {
        "not restricted": tpm2.ak_template(base & ~tpm2.RESTRICTED),
        "not fixedTPM": tpm2.ak_template(base & ~tpm2.FIXED_TPM),
        "not fixedParent": tpm2.ak_template(base & ~tpm2.FIXED_PARENT),
        "imported": tpm2.ak_template(base & ~tpm2.DATA_ORIGIN),
        "no userWithAuth": tpm2.ak_template(base & ~tpm2.USER_WITH_AUTH),
        "with dictionary attack protection": tpm2.ak_template(base & ~tpm2.NO_DA),
        "sign and decrypt": tpm2.ak_template(base | tpm2.DECRYPT),
        "stClear": tpm2.ak_template(base | 1 << 2),
        "encryptedDuplication": tpm2.ak_template(base | 1 << 11),
        "adminWithPolicy": tpm2.ak_template(base | 1 << 7),
        "with a policy": tpm2.ak_template(policy=bytes(32)),
        "SHA-384 in the scheme": tpm2.ak_template(hash_alg=tpm2.ALG_SHA384),
        "no scheme": tpm2.ak_template(scheme=tpm2.ALG_NULL),
        "ECSCHNORR": tpm2.ak_template(scheme=0x1c),
        "P-384's number": tpm2.ak_template(curve=tpm2.CURVE_P384),
    }
    return soft


def test_invariant_3_other_template_at_the_registrar(fleet):
    tpm = SoftTpm(fleet.test_ca)
    before = directory(fleet)
    for name, template in templates().items():
        answer = Node(fleet, tpm, template).register_begin()
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), (name, answer)
    good = Node(fleet, tpm)
    for name, public in {"cut": good.ak_public[:-1], "longer": good.ak_public + b"\0", "an EK": good.ek_public,
                         "no point": good.ak_public[:-32] + bytes(32), "short x": good.ak_public[:-68] + tpm2.sized(bytes(31)) +
                         good.ak_public[-34:], "nameAlg": good.ak_public[:2] + b"\0\x0c" + good.ak_public[4:]}.items():
        answer = good.register_begin(ak_public=b64(public))
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), (name, answer)
    assert directory(fleet) == before
    expect(good.register(), 201)


def test_invariant_3_other_template_at_each_party(fleet):
    """The registrar calls it good; tenant and verifier look for themselves."""
    tpm = SoftTpm(fleet.test_ca)
    for name, template in templates().items():
        node = Node(fleet, tpm, template)
        lie_about_new(fleet, node)
        for party in PARTIES:
            answer = node.send(party, "/challenge", {"purpose": "enroll"})
            assert answer.status in (403, 404) and answer.problem in ("bad-evidence", "unknown-node"), (name, party, answer)
    node = Node(fleet, tpm)
    lie_about_new(fleet, node)
    refused("pending-approval", node.enroll)


def test_invariant_3_real_tpm_other_template(fleet):
    """A real TPM makes keys of other kinds willingly."""
    for template in (tpm2.ak_template(tpm2.AK_ATTRIBUTES & ~tpm2.RESTRICTED), tpm2.ak_template(tpm2.AK_ATTRIBUTES & ~tpm2.NO_DA)):
        node = Node(fleet, template=template)
        expect(node.register_begin(), 403, "bad-evidence")
        node.close()


# Invariant 3: the EK and its certificate

def bad_certificates(fleet, tpm):
    """name -> certificate of this TPM's key, or of another one, that must not do."""
    public = tpm.ek_key.public_key()
    issuer, key = self_signed_issuer()
    vendor = x509.load_pem_x509_certificate((fleet.test_ca.ca / "issuercert.pem").read_bytes())
    leaf = rsa.generate_private_key(65537, 2048)
    leaf_certificate = x509.load_der_x509_certificate(issue_ek(fleet.test_ca, leaf.public_key()))
    flipped = bytearray(tpm.certificate)
    flipped[-1] ^= 1
    return {
        "unknown issuer": issue_ek(fleet.test_ca, public, issuer=(issuer, key)),
        "the vendor's name, another key": issue_ek(fleet.test_ca, public,
                                                   issuer=(vendor, ec.generate_private_key(ec.SECP256R1()))),
        "issued by an EK certificate": issue_ek(fleet.test_ca, public, issuer=(leaf_certificate, leaf)),
        "other usage": issue_ek(fleet.test_ca, public, usage=x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")),
        "expired": issue_ek(fleet.test_ca, public, begin=-30, days=-1),
        "not yet": issue_ek(fleet.test_ca, public, begin=1),
        "another EK's": SoftTpm(fleet.test_ca).certificate,
        "the issuer's": vendor.public_bytes(Encoding.DER),
        "changed": bytes(flipped),
        "cut": tpm.certificate[:-1],
        "none": b"",
        "nonsense": b"\x30\x03\x02\x01\x01",
    }


def test_invariant_3_ek_certificate_at_the_registrar(fleet):
    tpm = SoftTpm(fleet.test_ca)
    node = Node(fleet, tpm)
    before = directory(fleet)
    for name, certificate in bad_certificates(fleet, tpm).items():
        answer = node.register_begin(ek_certificate=b64(certificate))
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), (name, answer)
    assert directory(fleet) == before
    expect(node.register(), 201)


def test_invariant_3_ek_certificate_at_each_party(fleet):
    tpm = SoftTpm(fleet.test_ca)
    node = Node(fleet, tpm)
    expect(node.register(), 201)
    for name, certificate in bad_certificates(fleet, tpm).items():
        lie(fleet, node, ek_certificate=b64(certificate))
        for party in PARTIES:
            answer = node.send(party, "/challenge", {"purpose": "enroll"})
            assert answer.status in (403, 404, 503) and answer.problem in ("bad-evidence", "unknown-node",
                                                                           "unavailable"), (name, party, answer)
    lie(fleet, node, ek_certificate=b64(tpm.certificate))
    refused("pending-approval", node.enroll)


def test_invariant_3_chain_brings_no_root(fleet):
    """What the node sends as its chain helps to build the path and is never where it ends."""
    issuer, key = self_signed_issuer()
    tpm = SoftTpm(fleet.test_ca)
    node = Node(fleet, tpm)
    chain = [b64(issuer.public_bytes(Encoding.DER))]
    expect(node.register_begin(ek_certificate=b64(issue_ek(fleet.test_ca, tpm.ek_key.public_key(), issuer=(issuer, key))),
                               ek_chain=chain),
           403, "bad-evidence")


def test_invariant_3_ek_that_is_no_decryption_key(fleet):
    """Attributes of the EK's public area."""
    tpm = SoftTpm(fleet.test_ca)
    node = Node(fleet, tpm)
    for attributes in (0x000300b2 & ~tpm2.RESTRICTED, 0x000300b2 & ~tpm2.DECRYPT, 0x000300b2 | tpm2.SIGN):
        public = node.ek_public[:4] + attributes.to_bytes(4, "big") + node.ek_public[8:]
        answer = node.register_begin(ek_public=b64(public))
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), (hex(attributes), answer)


# Invariant 3: each party's own credential

def test_invariant_3_lying_registrar_gains_nothing(fleet):
    """The registrar says that the attacker's AK is in the victim's TPM. Each party asks that TPM itself."""
    victim = SoftTpm(fleet.test_ca)
    attacker = Node(fleet, SoftTpm(fleet.test_ca))
    owner = Node(fleet, victim)
    attacker.ek_public, attacker.certificate = owner.ek_public, owner.certificate
    lie_about_new(fleet, attacker)
    recorded = [len(party.audit()) for party in fleet.parties]
    for party in PARTIES:
        challenges = attacker.challenges("enroll")
        try:
            secret = attacker.credential_secret(challenges[party])
            raise AssertionError(f"the attacker's TPM opened it: {secret}")
        except ValueError:
            pass
        for proof in (bytes(32), secrets.token_bytes(32)):
            message = attacker.evidence("enroll", attacker.challenges("enroll"), {"keys": []})
            expect(attacker.release(party, {**message, "proof": b64(proof)}), 403, "bad-evidence")
        answer = attacker.release(party, attacker.evidence("enroll", attacker.challenges("enroll"), {"keys": []}))
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), answer
        expect(fleet.services[1 + PARTIES.index(party)].get(attacker.path()), 404, "unknown-node")
    assert recorded == [len(party.audit()) for party in fleet.parties], "nobody has proven anything: counted, not recorded"


def test_invariant_3_proof_is_of_this_enrollment(fleet):
    """The proof of another nonce, of the other party, of other evidence."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    expect(node.register(), 201)
    for party in PARTIES:
        for wrong in ("other nonce", "other party", "other evidence", None):
            challenges, older = node.challenges("enroll"), node.challenges("enroll")
            message = node.evidence("enroll", challenges, {"keys": []})
            if wrong == "other nonce":
                made = node.add_proof(message, party, {**challenges,
                                                       party: {**challenges[party], "credential": older[party]["credential"]}})
            elif wrong == "other party":
                made = node.add_proof(message, PARTIES[party == "tenant"], challenges)
            elif wrong == "other evidence":
                other = node.evidence("enroll", challenges, {"keys": [{"id": secrets.token_hex(16), "kind": "volumes"}]})
                made = node.add_proof(other, party, challenges)
            else:
                made = node.add_proof(message, party, challenges)
            expect(node.release(party, {**message, "proof": made["proof"]}), 403, "bad-evidence" if wrong else "pending-approval")


def test_invariant_3_pinned(fleet):
    """After enrollment the registrar's word counts no more."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    stranger = Node(fleet, SoftTpm(fleet.test_ca))
    lie(fleet, node, ak_public=b64(stranger.ak_public), ek_public=b64(stranger.ek_public),
        ek_certificate=b64(stranger.certificate))
    node.unlock()
    message = node.evidence("boot", node.challenges("boot"))
    for party in PARTIES:
        expect(node.release(party, {**message, "signature": b64(stranger.tpm.sign(stranger.ak, unb64(message["attest"])))}), 403,
               "bad-evidence")
    fleet.registrar.stop()
    node.reboot()
    node.unlock()
    fleet.registrar.start()


# Invariant 4: takeovers

def test_invariant_4_wrong_proof(fleet):
    node = Node(fleet, SoftTpm(fleet.test_ca))
    before = directory(fleet)
    begun = expect(node.register_begin(), 200).json
    good = node.activate_proof(begun)
    for proof in (bytes(32), good[:-1] + bytes([good[-1] ^ 1]), secrets.token_bytes(32)):
        expect(node.register_end(begun, proof), 403, "bad-evidence")
    for proof in (b"", good[:31], good + b"\0"):
        expect(node.register_end(begun, proof), 400, "malformed")
    assert directory(fleet) == before
    expect(node.register_end(begun, good), 201)  # and the failures used it up for nobody
    after = directory(fleet)
    expect(node.register_end(begun, secrets.token_bytes(32)), 403, "bad-evidence")
    expect(node.register_end(begun, good), 201)
    assert directory(fleet) == after


def test_invariant_4_no_secret_in_an_answer(fleet):
    """CVE-2023-38201: the answer to a wrong proof held the right one."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    begun = expect(node.register_begin(), 200).json
    secret = node.tpm.activate(node.ak, node.ek, unb64(begun["credential"]["id_object"]), unb64(begun["credential"]["secret"]))
    proof = mac(secret, "tallyboot activate v1", node.id, unb64(begun["challenge"]))
    answer = expect(node.register_end(begun, bytes(32)), 403, "bad-evidence")
    for value in (secret, proof):
        for form in (value.hex(), b64(value), value.hex().upper()):
            assert form not in answer.body.decode() and form not in fleet.registrar.log_text()


def test_invariant_4_challenge_is_of_this_registration(fleet):
    """A challenge that somebody solved for one registration serves for no other one."""
    node, other = Node(fleet, SoftTpm(fleet.test_ca)), Node(fleet, SoftTpm(fleet.test_ca))
    before = directory(fleet)
    begun = expect(node.register_begin(), 200).json
    proof = node.activate_proof(begun)
    expect(node.register_end(begun, proof, ek_public=b64(other.ek_public), ek_certificate=b64(other.certificate)), 403,
           "bad-evidence")
    expect(node.register_end(begun, proof, ak_public=b64(other.ak_public)), 403, "bad-evidence")
    expect(node.register_end(begun, proof, ek_chain=[b64(other.certificate)]), 403, "bad-evidence")
    expect(fleet.registrar.post(other.path("/activate"),
                                {**node.registration(), "challenge": begun["challenge"], "proof": b64(proof)},
                                cert=None), 403, "bad-evidence")
    expect(other.register_end(begun, mac(bytes(32), "tallyboot activate v1", other.id, unb64(begun["challenge"]))), 403,
           "bad-evidence")
    for at in (0, 3, 4, 11, 12, 27):
        challenge = bytearray(unb64(begun["challenge"]))
        challenge[at] ^= 1
        answer = node.register_end({"challenge": b64(bytes(challenge))}, proof)
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (409, "stale-nonce")), answer
    for size in (0, 27, 29):
        expect(node.register_end({"challenge": b64(bytes(size))}, proof), 400, "malformed")
    assert directory(fleet) == before


def test_invariant_4_other_ek_for_an_active_node(fleet):
    """The attacker has a TPM key of his own that the vendor certified and opens any credential with it: for the victim's AK,
    too."""
    victim = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    before, shown = directory(fleet)[0], [victim.shown(party) for party in PARTIES]
    attacker = SoftTpm(fleet.test_ca)
    attacker.ak_keys = victim.tpm.ak_keys  # he knows the AK's public half; only the Name is needed
    thief = Node(fleet, attacker)
    assert thief.id == victim.id and thief.ek_public != victim.ek_public
    expect(thief.register(), 409, "conflict")
    assert directory(fleet)[0] == before and [victim.shown(party) for party in PARTIES] == shown
    victim.unlock()


def test_invariant_4_other_ak_for_an_active_ek(fleet):
    """A real TPM with a second AK of the right template: one active AK for each EK."""
    node = Node(fleet)
    expect(node.register(), 201)
    before = directory(fleet)[0]
    node.unload()
    second = Node(fleet, node.swtpm, tpm2.ak_template(label=b"another label"))
    assert second.id != node.id
    expect(second.register(), 409, "conflict")
    assert directory(fleet)[0] == before
    records = fleet.registrar.audit(node=second.id)
    assert [record["event"] for record in records] == ["refusal"], records
    node.close()


def test_invariant_4_other_ak_for_an_active_ek_at_each_party(fleet):
    """The registrar forgets the first one, or lies; the parties do not forget."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    second = Node(fleet, node.swtpm, tpm2.ak_template(label=b"another label"))
    expect(fleet.registrar.delete(node.path()), 204)
    expect(second.register(), 201)
    join = fleet.join_token()
    refused("conflict", second.enroll, join=join)
    for party in PARTIES:
        expect(fleet.services[1 + PARTIES.index(party)].get(second.path()), 404, "unknown-node")
    node.reboot()
    node.unlock()


def test_invariant_4_revoked_ek_under_any_id(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    for one in fleet.services:
        expect(one.post(node.path("/revoke"), {"reason": "stolen"}), 200)
    second = Node(fleet, node.swtpm, tpm2.ak_template(label=b"another label"))
    expect(second.register(), 403, "revoked")
    expect(node.register(), 403, "revoked")
    expect(fleet.registrar.delete(node.path()), 204)
    expect(second.register(), 201)  # the registrar was told to forget; the parties were not
    for party in PARTIES:
        refused("revoked", second.ask, "enroll", {"keys": []}, order=(party,))
        refused("revoked", node.ask, "boot", order=(party,))


def test_invariant_4_raced(fleet):
    """Several AKs of one EK, several EKs for one AK, all at the same time: one wins, and stays."""
    tpm = SoftTpm(fleet.test_ca)
    several = [Node(fleet, tpm, tpm2.ak_template(label=f"label {i}".encode())) for i in range(6)]
    begun = [expect(node.register_begin(), 200).json for node in several]
    proofs = [node.activate_proof(one) for node, one in zip(several, begun)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda item: item[0].register_end(item[1], item[2]), zip(several, begun, proofs)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5, answers

    victim = SoftTpm(fleet.test_ca)
    several = [Node(fleet, victim)]
    for _ in range(3):
        other = SoftTpm(fleet.test_ca)
        other.ak_keys = victim.ak_keys
        several.append(Node(fleet, other))
    begun = [expect(node.register_begin(), 200).json for node in several]
    proofs = [node.activate_proof(one) for node, one in zip(several, begun)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda item: item[0].register_end(item[1], item[2]), zip(several, begun, proofs)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 3, answers
    winner = several[[answer.status for answer in answers].index(201)]
    assert fleet.registrar.get(winner.path()).json["ek_sha256"] == winner.ek_digest


def test_invariant_4_id_is_the_key(fleet):
    """Nobody chooses an id: it follows from the AK."""
    node, other = Node(fleet, SoftTpm(fleet.test_ca)), Node(fleet, SoftTpm(fleet.test_ca))
    begun = expect(node.register_begin(), 200).json
    secret = node.tpm.activate(node.ak, node.ek, unb64(begun["credential"]["id_object"]), unb64(begun["credential"]["secret"]))
    proof = mac(secret, "tallyboot activate v1", other.id, unb64(begun["challenge"]))
    answer = fleet.registrar.post(other.path("/activate"),
                                  {**node.registration(), "challenge": begun["challenge"], "proof": b64(proof)}, cert=None)
    expect(answer, 400, "malformed")
    expect(fleet.registrar.get(other.path()), 404, "unknown-node")


def test_invariant_4_registration_changes_nothing_at_the_parties(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    before = [node.shown(party) for party in PARTIES]
    expect(node.register(), 201)
    expect(fleet.registrar.delete(node.path()), 204)
    expect(node.register(), 201)
    assert [node.shown(party) for party in PARTIES] == before
    node.unlock()


if __name__ == "__main__":
    main(Setup)
