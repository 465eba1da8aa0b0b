# SPDX-License-Identifier: LGPL-2.1-or-later
"""A node, written from docs/protocol.md alone and not from src/: what both of them do the same way is the protocol.

Every step is a method, and every input of a step can be replaced, for those who attack.
"""

import base64
import hashlib
import hmac
import json
import secrets

from cryptography.hazmat.primitives.asymmetric import ec

import hpke
import tpm2
from services import encode_fields, field_hash
from swtpm import Swtpm

PARTIES = ("tenant", "verifier")
KINDS = {1: "volumes", 2: "payload"}
STATES = {1: "staged", 2: "live"}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def base32(data):
    return base64.b32encode(data).decode().lower().rstrip("=")


def mac(key, *fields):
    return hmac.new(key, encode_fields(*fields), hashlib.sha256).digest()


def node_id(ak_public):
    return base32(hashlib.sha256(ak_public).digest())


class Refused(Exception):
    """A party's problem document."""

    def __init__(self, party, answer):
        super().__init__(f"{party}: {answer!r}")
        self.party = party
        self.answer = answer
        self.problem = answer.problem


class Node:
    def __init__(self, fleet, swtpm=None, template=None):
        self.fleet = fleet
        self.swtpm = swtpm or Swtpm(fleet.test_ca)
        self.tpm = tpm2.Tpm(self.swtpm.socket) if self.swtpm.socket else self.swtpm  # a SoftTpm is both
        self.template = template or tpm2.ak_template()
        self.certificate = self.tpm.nv_read(tpm2.EK_RSA_CERTIFICATE)
        self.chain = []
        self.keys = {}  # key id -> {generation: K_b}
        self.load()
        self.boot()

    def load(self):
        """Keys into the TPM, as after every power-on; they come out the same."""
        self.ak, self.ak_public = self.tpm.create_primary(self.template)
        self.ek, self.ek_public = self.tpm.create_primary(tpm2.ek_template())
        self.id = node_id(self.ak_public)

    def unload(self):
        """A TPM without a resource manager has room for three keys."""
        for handle in (self.ak, self.ek):
            self.tpm.flush(handle)

    def boot(self):
        """What is new in each boot."""
        self.incident = secrets.token_hex(8)
        self.nk = ec.generate_private_key(ec.SECP256R1())
        self.credentials = {}

    def reboot(self, events=()):
        """Power cycle; then extends PCRs, [(pcr, data)], as firmware and loader would."""
        self.swtpm.reset()
        self.load()
        self.boot()
        for pcr, data in events:
            self.tpm.event(pcr, data)

    def close(self):
        self.swtpm.destroy()

    def party(self, name):
        return getattr(self.fleet, name)

    def path(self, tail=""):
        return f"/v1/nodes/{self.id}{tail}"

    def send(self, party, tail, body):
        """To a service by role, or to a Service (a replica)."""
        service = self.party(party) if isinstance(party, str) else party
        return service.post(self.path(tail), body, cert=None, incident=self.incident)

    # Registration

    def registration(self):
        return {"ek_public": b64(self.ek_public), "ek_certificate": b64(self.certificate),
                "ek_chain": [b64(one) for one in self.chain], "ak_public": b64(self.ak_public)}

    def register_begin(self, **changes):
        return self.fleet.registrar.post("/v1/nodes", {**self.registration(), **changes}, cert=None, incident=self.incident)

    def activate_proof(self, begun):
        credential = begun["credential"]
        secret = self.tpm.activate(self.ak, self.ek, unb64(credential["id_object"]), unb64(credential["secret"]))
        return mac(secret, "tallyboot activate v1", self.id, unb64(begun["challenge"]))

    def register_end(self, begun, proof=None, **changes):
        proof = self.activate_proof(begun) if proof is None else proof
        return self.send("registrar", "/activate", {**self.registration(), "challenge": begun["challenge"], "proof": b64(proof),
                                                    **changes})

    def register(self):
        begun = self.register_begin()
        if begun.status != 200:
            return begun
        assert begun.json["id"] == self.id, begun
        return self.register_end(begun.json)

    @property
    def code(self):
        text = base32(field_hash("tallyboot code v1", bytes.fromhex(self.ek_digest), self.id))
        return f"{text[:4]}-{text[4:8]}"

    @property
    def ek_digest(self):
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        public = x509.load_der_x509_certificate(self.certificate).public_key()
        return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    # Challenge, evidence, release

    @property
    def nk_point(self):
        return hpke.point(self.nk.public_key())

    def challenge(self, party, purpose):
        answer = self.send(party, "/challenge", {"purpose": purpose})
        if answer.status != 200:
            raise Refused(party, answer)
        return answer.json

    def challenges(self, purpose):
        return {party: self.challenge(party, purpose) for party in PARTIES}

    def credential_secret(self, challenge):
        credential = challenge["credential"]
        return self.tpm.activate(self.ak, self.ek, unb64(credential["id_object"]), unb64(credential["secret"]))

    def qualifying(self, purpose, nonces, body, nk_point=None):
        nk_hash = b"" if purpose == "confirm" else hashlib.sha256(nk_point or self.nk_point).digest()
        body_hash = b"" if body is None else hashlib.sha256(body).digest()
        return field_hash("tallyboot quote v1", self.id, purpose, nk_hash, nonces["tenant"], nonces["verifier"], body_hash)

    def evidence(self, purpose, challenges, body=None, pcrs=None, bank=None):
        """The body of a release request, without what only an enrollment has."""
        nonces = {party: unb64(challenges[party]["nonce"]) for party in PARTIES}
        bank = bank or challenges["tenant"]["bank"]
        if pcrs is None:
            pcrs = sorted(set(challenges["tenant"]["pcrs"]) | set(challenges["verifier"]["pcrs"]))
        raw = None if body is None else json.dumps(body).encode()
        attest, signature = self.tpm.quote(self.ak, self.qualifying(purpose, nonces, raw), {bank: pcrs})
        message = {"purpose": purpose, "nonce_tenant": b64(nonces["tenant"]), "nonce_verifier": b64(nonces["verifier"]),
                   "attest": b64(attest), "signature": b64(signature),
                   "pcrs": {bank: {str(pcr): value.hex() for pcr, value in self.tpm.pcrs(bank, pcrs).items()}}}
        if purpose != "confirm":
            message["nk"] = b64(self.nk_point)
        if raw is not None:
            message["body"] = b64(raw)
        return message

    def add_proof(self, message, party, challenges, join=None):
        secret = self.credentials[party] = self.credential_secret(challenges[party])
        nonce, attest = unb64(challenges[party]["nonce"]), unb64(message["attest"])
        proof = mac(secret, "tallyboot proof v1", party, self.id, nonce, hashlib.sha256(attest).digest())
        message = {**message, "proof": b64(proof)}
        if join is not None:
            message["join"] = b64(field_hash("tallyboot join v1", party, join))
        return message

    def open(self, party, purpose, message, answer):
        """What a party sealed: ({(key, generation): half...}, details)"""
        info = encode_fields("tallyboot half v1", party, self.id, purpose)
        aad = hashlib.sha256(unb64(message["attest"])).digest()
        psk, psk_id = None, b""
        if purpose == "enroll":
            psk, psk_id = self.credentials[party], encode_fields("tallyboot credential v1", party, self.id)
        context = hpke.receiver(self.nk, unb64(answer["enc"]), info, psk, psk_id)
        return parse_halves(context.open(aad, unb64(answer["halves"]))), json.loads(context.open(aad, unb64(answer["details"])))

    def release(self, party, message):
        """The answer as it comes."""
        return self.send(party, "/release", message)

    def release_logs(self, party, message, ticket, firmware=b"", ima=b""):
        """The same evidence with logs. ticket: bin, as it came; None: no header."""
        service = self.party(party) if isinstance(party, str) else party
        body = encode_fields(json.dumps(message), firmware, ima)
        headers = {"Content-Type": "application/octet-stream"}
        if ticket is not None:
            headers["Authorization"] = f"Tallyboot {ticket}"
        return service.post(self.path("/release/logs"), body, cert=None, headers=headers, incident=self.incident)

    def release_with_logs(self, party, message, firmware=b"", ima=lambda first: b""):
        """Sends logs where they are wanted; ima: a function of the first entry to send. (answer, what was wanted)"""
        answer = self.release(party, message)
        if answer.problem != "logs-wanted":
            return answer, {}
        wanted = {log["kind"]: log["from"] for log in answer.json["logs"]}
        return self.release_logs(party, message, answer.json["ticket"], firmware if "firmware" in wanted else b"",
                                 ima(wanted["ima"]) if "ima" in wanted else b""), wanted

    def ask(self, purpose, body=None, join=None, order=PARTIES, **evidence):
        """The whole exchange with both parties. {party: (halves, details)}; Refused by the first one that refuses."""
        challenges = self.challenges(purpose)
        message = self.evidence(purpose, challenges, body, **evidence)
        opened = {}
        for party in order:
            sent = self.add_proof(message, party, challenges, join) if purpose == "enroll" else message
            answer = self.release(party, sent)
            if answer.status != 200:
                raise Refused(party, answer)
            opened[party] = answer.json if purpose == "confirm" else self.open(party, purpose, sent, answer.json)
        return opened

    # The life of a node

    def enroll(self, kinds=("volumes",), join=None):
        """Keys of these kinds: staged halves of generation 1. Returns the key ids."""
        names = [secrets.token_hex(16) for _ in kinds]
        opened = self.ask("enroll", {"keys": [{"id": name, "kind": kind} for name, kind in zip(names, kinds)]}, join)
        self.join_halves(opened)
        return names

    def join_halves(self, opened):
        """K_b = U xor V of the same key and generation."""
        u, v = (opened[party][0] for party in PARTIES)
        for what, half in u.items():
            if what in v:
                assert half["kind"] == v[what]["kind"]
                value = bytes(a ^ b for a, b in zip(half["half"], v[what]["half"]))
                self.keys.setdefault(what[0], {})[what[1]] = value

    def manifest(self, key, generation):
        return json.dumps({"version": 1, "node": self.id, "key": key, "generation": generation, "volumes": []}).encode()

    def manifest_mac(self, key, generation, manifest):
        k_b = self.keys[key][generation]
        manifest_key = hpke.hkdf(k_b, self.id.encode(), encode_fields("tallyboot manifest v1", generation), 32)
        return mac(manifest_key, "tallyboot manifest v1", manifest)

    def payload_key(self, key, generation):
        k_b = self.keys[key][generation]
        return hpke.derive_key_pair(hpke.hkdf(k_b, self.id.encode(), encode_fields("tallyboot payload v1", generation), 32))

    def confirm_body(self, key, generation=1, kind="volumes", opened=False):
        body = {"key": key, "generation": generation, "opened": opened}
        if not opened and kind == "volumes":
            manifest = self.manifest(key, generation)
            body.update(manifest=b64(manifest), mac=b64(self.manifest_mac(key, generation, manifest)))
        if not opened and kind == "payload":
            body["payload_public"] = b64(hpke.point(self.payload_key(key, generation).public_key()))
        return body

    def confirm(self, key, generation=1, kind="volumes", opened=False):
        return self.ask("confirm", self.confirm_body(key, generation, kind, opened))

    def unlock(self):
        """What a boot does. {key: {generation: K_b}} of what is live."""
        opened = self.ask("boot")
        self.join_halves(opened)
        return opened

    def close_gate(self, pcr=15):
        self.tpm.event(pcr, b"tallyboot gate v1")

    def approve(self, capture=None, group=None, parties=PARTIES):
        body = {}
        if group:
            body["group"] = group
        if capture:
            body.update(capture=True, name=capture)
        for party in parties:
            answer = self.party(party).post(self.path("/approve"), body)
            assert answer.status == 200, answer

    def shown(self, party):
        answer = self.party(party).get(self.path())
        assert answer.status == 200, answer
        return answer.json


def parse_halves(data):
    assert data[:4] == b"TBH1"
    count = int.from_bytes(data[4:6], "big")
    assert len(data) == 6 + 54 * count, len(data)
    halves, at = {}, 6
    for _ in range(count):
        key = data[at:at + 16].hex()
        generation = int.from_bytes(data[at + 18:at + 22], "big")
        assert (key, generation) not in halves
        halves[key, generation] = {"kind": KINDS[data[at + 16]], "state": STATES[data[at + 17]], "half": data[at + 22:at + 54]}
        at += 54
    assert at == len(data)
    return halves


def refused_or(call, *arguments):
    """The Refused that a call ends with."""
    try:
        call(*arguments)
    except Refused as refused:
        return refused
    raise AssertionError("it was answered")


def enrolled(fleet, kinds=("volumes",), group="default", swtpm=None):
    """A node that is registered, approved by a join token, enrolled and confirmed, in a group that exists."""
    node = Node(fleet, swtpm)
    assert node.register().status == 201
    node.key_ids = node.enroll(kinds, join=fleet.join_token(group))
    for key, kind in zip(node.key_ids, kinds):
        node.confirm(key, kind=kind)
    return node


def ready(fleet, kinds=("volumes",), group="default", swtpm=None):
    """An enrolled node, powered on anew, whose boot a policy of the group allows: captured from it if none does yet."""
    node = enrolled(fleet, kinds, group, swtpm)
    node.reboot()
    held = []
    for party in PARTIES:
        try:
            node.ask("boot", order=(party,))
        except Refused as refused:
            assert refused.problem in ("pending-policy", "policy-refused"), refused
            held.append(party)
    if held:
        node.approve(capture=f"captured-{secrets.token_hex(4)}", parties=held)
    node.reboot()
    return node
