# SPDX-License-Identifier: LGPL-2.1-or-later
"""A node without a TPM, from docs/protocol.md, 13: what Node does with a TPM, done with a key."""

import hashlib
import json
import secrets

import hpke
import tokens
from node import PARTIES, Node, b64, parse_halves, unb64
from services import encode_fields, field_hash


class TokenNode(Node):
    def __init__(self, fleet, kind="P-256", key=None):
        self.fleet = fleet
        self.key = key or tokens.make(kind)
        self.id = tokens.node_id(self.key)
        self.keys = {}
        self.boot()

    def close(self):
        pass

    def reboot(self, events=()):
        assert not events, "nothing is measured"
        self.boot()

    @property
    def ek_digest(self):
        return tokens.digest(self.key).hex()

    def registration(self):
        return {"token_public": b64(tokens.public(self.key))}

    def activate_proof(self, begun):
        assert "credential" not in begun, begun
        return tokens.sign(self.key, tokens.register_message(self.id, unb64(begun["challenge"])))

    def message(self, sent):
        """What is signed for an evidence message."""
        body = unb64(sent["body"]) if "body" in sent else b""
        nk = unb64(sent["nk"]) if "nk" in sent else b""
        return tokens.evidence_message(self.id, sent["purpose"], [unb64(sent[f"nonce_{party}"]) for party in PARTIES], nk=nk,
                                       body=body)

    def evidence(self, purpose, challenges, body=None):
        sent = {"purpose": purpose, **{f"nonce_{party}": challenges[party]["nonce"] for party in PARTIES}}
        if purpose != "confirm":
            sent["nk"] = b64(self.nk_point)
        if body is not None:
            sent["body"] = b64(json.dumps(body).encode())
        return {**sent, "token_signature": b64(tokens.sign(self.key, self.message(sent)))}

    def add_proof(self, message, party, challenges, join=None):
        assert "credential" not in challenges[party]
        return message if join is None else {**message, "join": b64(field_hash("tallyboot join v1", party, join))}

    def open(self, party, purpose, message, answer):
        info = encode_fields("tallyboot half v1", party, self.id, purpose)
        aad = hashlib.sha256(self.message(message)).digest()
        context = hpke.receiver(self.nk, unb64(answer["enc"]), info, None, b"")
        return parse_halves(context.open(aad, unb64(answer["halves"]))), json.loads(context.open(aad, unb64(answer["details"])))


def policy(fleet, text, group="default"):
    """Both parties' policy of a group."""
    for party in fleet.parties:
        was = party.get(f"/v1/groups/{group}/policy").json
        answer = party.put(f"/v1/groups/{group}/policy", {"text": text, "version": was["version"]})
        assert answer.status == 200, answer


def token_group(fleet, interval="30s"):
    """A group of its own that takes a token's word. Its name."""
    name = f"tokens-{secrets.token_hex(4)}"
    fleet.group(name)
    policy(fleet, f"[release]\ntoken-evidence = yes\ntoken-interval = {interval}\n", name)
    return name


def enrolled_token(fleet, group, kind="P-256", kinds=("volumes",)):
    """Registered, approved by a join token, enrolled and confirmed; its next boot is released."""
    node = TokenNode(fleet, kind)
    answer = node.register()
    assert answer.status == 201, answer
    for key, what in zip(node.enroll(kinds, join=fleet.join_token(group)), kinds):
        node.confirm(key, kind=what)
    node.reboot()
    return node
