#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariants 1, 2 and 6: what a quote has to be before a half leaves, and to whom it then goes."""

import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

import hpke
import tpm2
from cases import expect, main, refused
from node import PARTIES, Node, b64, enrolled, node_id, ready, unb64
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    """soft: a node whose AK signs anything. Each case leaves it able to boot."""

    def __init__(self):
        super().__init__()
        self.group()
        self.soft = ready(self, swtpm=SoftTpm(self.test_ca))


def expect_refused(fleet, node, message, problem="bad-evidence", parties=PARTIES, control=True):
    """Both parties refuse, no half leaves; and nothing but the change was the reason: the same node is served at once without
    it."""
    for party in parties:
        before = releases(fleet, node, party)
        expect(node.release(party, message), 403, problem)
        assert releases(fleet, node, party) == before
    if control:
        node.unlock()


def releases(fleet, node, party):
    return sum(record["event"] == "release" for record in getattr(fleet, party).audit(node=node.id))


def resign(node, message, attest):
    data = attest if isinstance(attest, bytes) else attest.pack()
    message["attest"], message["signature"] = b64(data), b64(node.tpm.sign(node.ak, data))
    return message


def forge(node, change, purpose="boot", body=None):
    """Evidence with a changed, well signed attest structure."""
    message = node.evidence(purpose, node.challenges(purpose), body)
    attest = tpm2.Attest(unb64(message["attest"]))
    changed = change(attest)
    return resign(node, message, attest if changed is None else changed)


def count_of_selections(attest, count):
    data = attest.pack()
    at = len(data) - 2 - len(attest.digest) - 6 - 4
    assert data[at:at + 4] == b"\0\0\0\x01"
    return data[:at] + count.to_bytes(4, "big") + data[at + 4:]


def requote(node, banks, values=None):
    """Well signed evidence over other PCRs. values: what the message says of them (default: what is quoted)."""
    challenges = node.challenges("boot")
    message = node.evidence("boot", challenges)
    nonces = {party: unb64(challenges[party]["nonce"]) for party in PARTIES}
    attest, signature = node.tpm.quote(node.ak, node.qualifying("boot", nonces, None), banks)
    message["attest"], message["signature"] = b64(attest), b64(signature)
    message["pcrs"] = {bank: {str(pcr): value.hex() for pcr, value in node.tpm.pcrs(bank, pcrs).items()}
                       for bank, pcrs in (values or banks).items()}
    return message


def wanted(node):
    challenges = node.challenges("boot")
    return sorted(set(challenges["tenant"]["pcrs"]) | set(challenges["verifier"]["pcrs"]))


# Invariant 1

def test_invariant_1_sealed_to_nk_only(fleet):
    node = fleet.soft
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    for party in PARTIES:
        answer = expect(node.release(party, message), 200).json
        node.open(party, "boot", message, answer)
        for wrong in ({"party": PARTIES[party == "tenant"]}, {"purpose": "rotate"}, {"attest": b64(b"other")}, {"nk": True}):
            nk = node.nk
            if "nk" in wrong:
                node.nk = ec.generate_private_key(ec.SECP256R1())
            try:
                node.open(wrong.get("party", party), wrong.get("purpose", "boot"),
                          {**message, "attest": wrong.get("attest", message["attest"])}, answer)
                raise AssertionError(f"opened with another {wrong}")
            except InvalidTag:
                pass
            node.nk = nk


def test_invariant_1_nk_is_bound(fleet):
    """Somebody on the path, or root later, puts a key of his own into evidence that is not his."""
    node = fleet.soft
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    message["nk"] = b64(hpke.point(ec.generate_private_key(ec.SECP256R1()).public_key()))
    expect_refused(fleet, node, message)


def test_invariant_1_nk_is_a_point(fleet):
    node = fleet.soft
    node.reboot()
    for point in (b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b"\x04" + node.nk_point[1:64] + bytes([node.nk_point[64] ^ 1])):
        challenges = node.challenges("boot")
        nonces = {party: unb64(challenges[party]["nonce"]) for party in PARTIES}
        attest, signature = node.tpm.quote(node.ak, node.qualifying("boot", nonces, None, point), {"sha256": wanted(node)})
        message = {**node.evidence("boot", challenges), "nk": b64(point), "attest": b64(attest), "signature": b64(signature)}
        for party in PARTIES:
            answer = node.release(party, message)
            assert answer.status in (400, 403) and answer.problem in ("malformed", "bad-evidence"), answer
    node.reboot()
    node.unlock()


def test_invariant_1_purpose_is_bound(fleet):
    node = fleet.soft
    node.reboot()
    made_for = {purpose: node.evidence(purpose, node.challenges("boot")) for purpose in ("enroll", "rotate")}
    for message in made_for.values():
        message["purpose"] = "boot"
        expect_refused(fleet, node, message, control=False)
    node.unlock()


def test_invariant_1_other_nodes_evidence(fleet):
    """Another node's own, perfect evidence, sent under this node's id."""
    victim = fleet.soft
    victim.reboot()
    rogue = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    message = rogue.evidence("boot", victim.challenges("boot"))
    for party in PARTIES:
        expect(victim.release(party, message), 403, "bad-evidence")
    rogue_id, rogue.id = rogue.id, victim.id  # and bound to the victim's id, signed by the rogue's AK
    message = rogue.evidence("boot", victim.challenges("boot"))
    rogue.id = rogue_id
    for party in PARTIES:
        expect(victim.release(party, message), 403, "bad-evidence")
    victim.unlock()


def test_invariant_1_no_live_half_but_for_boot(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    key = next(iter(node.keys))
    node.unlock()
    for party in PARTIES:
        refused("conflict", node.ask, "enroll", {"keys": [{"id": key, "kind": "volumes"}]}, order=(party,))
        refused("conflict", node.ask, "rotate", {"key": key, "generation": 1}, order=(party,))
        expect(getattr(fleet, party).post(node.path("/rotate"), {"key": key}), 200)
        refused("conflict", node.ask, "rotate", {"key": key, "generation": 1}, order=(party,))
    opened = node.ask("rotate", {"key": key, "generation": 2})
    for party in PARTIES:
        assert list(opened[party][0]) == [(key, 2)] and opened[party][0][key, 2]["state"] == "staged", opened
    answer = node.confirm(key, opened=True)
    assert set(answer["tenant"]) == {"state", "retired"}, answer


def test_invariant_1_an_enrollment_that_was_cut(fleet):
    """Its slot is on the disk, its key's name beside it, and whatever system is started there can quote for purpose enroll."""
    node = Node(fleet, SoftTpm(fleet.test_ca))
    expect(node.register(), 201)
    key, = node.enroll(join=fleet.join_token())
    body = {"keys": [{"id": key, "kind": "volumes"}]}
    again = node.ask("enroll", body)
    node.join_halves(again)
    node.reboot([(4, b"another system")])
    for party in PARTIES:
        refused("conflict", node.ask, "enroll", body, order=(party,))
        refused("conflict", node.ask, "enroll", {"keys": [{"id": "0" * 32, "kind": "volumes"}, *body["keys"]]}, order=(party,))
    node.enroll()


# Invariant 2

def test_invariant_2_signature(fleet):
    node = fleet.soft
    node.reboot()
    other = SoftTpm(fleet.test_ca)
    handle, _ = other.create_primary(node.template)
    good = node.evidence("boot", node.challenges("boot"))
    raw, attest = unb64(good["signature"]), unb64(good["attest"])
    r, s = raw[6:38], raw[40:72]
    changed = bytearray(attest)
    changed[-1] ^= 1
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    wrong = {
        "another key": other.sign(handle, attest), "bit": raw[:-1] + bytes([raw[-1] ^ 1]),
        "swapped": raw[:4] + tpm2.sized(s) + tpm2.sized(r),
        "zero": raw[:4] + tpm2.sized(bytes(32)) * 2, "empty": raw[:4] + tpm2.sized(b"") * 2, "order": raw[:4] + tpm2.sized(
            order.to_bytes(32, "big")) * 2, "sha1": raw[:2] + b"\0\x04" + raw[4:], "null": b"\0\x10", "rsa": b"\0\x14" + raw[2:],
        "cut": raw[:-1], "longer": raw + b"\0",
    }
    for name, signature in wrong.items():
        for party in PARTIES:
            answer = node.release(party, {**good, "signature": b64(signature)})
            assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), (name, answer)
    for party in PARTIES:
        expect(node.release(party, {**good, "attest": b64(bytes(changed))}), 403, "bad-evidence")
        expect(node.release(party, good), 200)  # and none of these used the nonce up


def test_invariant_2_magic(fleet):
    node = fleet.soft
    for magic in (0, 0xff544346, 0xff544348, 0x4754_43ff):
        node.reboot()
        expect_refused(fleet, node, forge(node, lambda attest, value=magic: setattr(attest, "magic", value)))


def test_invariant_2_type(fleet):
    node = fleet.soft
    for kind in (0x8014, 0x8015, 0x8016, 0x8017, 0x8019, 0x801a, 0x801c, 0):
        node.reboot()
        expect_refused(fleet, node, forge(node, lambda attest, value=kind: setattr(attest, "type", value)))


def test_invariant_2_qualifying_data(fleet):
    node = fleet.soft
    for change in (lambda q: bytes(32), lambda q: b"", lambda q: q[:31], lambda q: q + b"\0",
                   lambda q: q[:-1] + bytes([q[-1] ^ 1]), lambda q: q[:16] + bytes(16)):
        node.reboot()
        expect_refused(fleet, node, forge(node, lambda attest, make=change: setattr(attest, "extra", make(attest.extra))))


def test_invariant_2_structure(fleet):
    node = fleet.soft
    for change in (lambda a: a.pack() + b"\0", lambda a: a.pack()[:-1], lambda a: b"", lambda a: a.pack()[:20],
                   lambda a: count_of_selections(a, 2), lambda a: count_of_selections(a, 0),
                   lambda a: count_of_selections(a, 0xffffffff)):
        node.reboot()
        for party in PARTIES:
            answer = node.release(party, forge(node, change))
            assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), answer
        node.unlock()


def test_invariant_2_selection_incomplete(fleet):
    node = fleet.soft
    node.reboot()
    for left_out in wanted(node):
        node.reboot()
        pcrs = [pcr for pcr in wanted(node) if pcr != left_out]
        expect_refused(fleet, node, requote(node, {"sha256": pcrs}), control=left_out in (0, 15))
    for banks in ({"sha256": []}, {}):
        for party in PARTIES:
            answer = node.release(party, requote(node, banks))
            assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), answer


def test_invariant_2_selection_other_bank(fleet):
    node = fleet.soft
    node.reboot()
    expect_refused(fleet, node, requote(node, {"sha1": wanted(node)}))
    node.reboot()
    expect_refused(fleet, node, requote(node, {"sha384": wanted(node)}))


def test_invariant_2_selection_empty_bitmap(fleet):
    """A bank with an empty bitmap adds nothing to the digest."""
    node = fleet.soft
    for position in (0, 1):
        for bank in (tpm2.ALG_SHA1, tpm2.ALG_SHA256, 0x99):
            node.reboot()
            expect_refused(fleet, node, forge(node, lambda a, p=position, b=bank: a.selections.insert(p, (b, bytes(3)))))


def test_invariant_2_selection_bank_twice(fleet):
    node = fleet.soft
    node.reboot()
    expect_refused(fleet, node, forge(node, lambda a: a.selections.append(a.selections[0])))
    node.reboot()
    expect_refused(fleet, node, forge(node, lambda a: a.selections.insert(0, (tpm2.ALG_SHA256, b"\x01\0\0"))))


def test_invariant_2_values_outside_the_quote(fleet):
    """The quote covers some PCRs, the message says values of all: those outside are not the TPM's word."""
    node = fleet.soft
    pcrs = wanted(node)
    for covered in ([0, 15], pcrs[1:], [15]):
        node.reboot()
        expect_refused(fleet, node, requote(node, {"sha256": covered}, {"sha256": pcrs}))
    node.reboot()
    expect_refused(fleet, node, requote(node, {"sha1": pcrs}, {"sha256": pcrs}))
    node.reboot()
    expect_refused(fleet, node, requote(node, {"sha256": pcrs}, {"sha256": pcrs, "sha1": pcrs}))
    node.reboot()
    expect_refused(fleet, node, requote(node, {"sha256": pcrs}, {"sha256": sorted({*pcrs, 23})}))


def test_invariant_2_values_missing(fleet):
    node = fleet.soft
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    del message["pcrs"]["sha256"]["4"]
    expect_refused(fleet, node, message)
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    message["pcrs"] = {}
    for party in PARTIES:
        answer = node.release(party, message)
        assert (answer.status, answer.problem) in ((403, "bad-evidence"), (400, "malformed")), answer


def test_invariant_2_values_changed(fleet):
    """The TPM quotes what was booted; the message says what the policy would like."""
    node = fleet.soft
    node.reboot()
    good = node.evidence("boot", node.challenges("boot"))["pcrs"]
    node.reboot([(4, b"a boot loader of hers")])
    message = node.evidence("boot", node.challenges("boot"))
    assert message["pcrs"] != good
    expect_refused(fleet, node, {**message, "pcrs": good}, control=False)
    node.reboot([(4, b"a boot loader of hers")])
    refused("policy-refused", node.unlock)
    node.reboot()
    message = node.evidence("boot", node.challenges("boot"))
    values = message["pcrs"]["sha256"]
    values["4"], values["8"] = values["8"], values["4"]
    expect_refused(fleet, node, message)


def test_invariant_2_digest(fleet):
    node = fleet.soft
    for change in (lambda d: bytes(32), lambda d: b"", lambda d: d[:31], lambda d: d + b"\0",
                   lambda d: d[:-1] + bytes([d[-1] ^ 1])):
        node.reboot()
        expect_refused(fleet, node, forge(node, lambda a, make=change: setattr(a, "digest", make(a.digest))))


def test_invariant_2_gate_closed(_):
    """A real TPM, its gate closed: no release, not even to the NK that had one."""
    with Fleet() as fleet:
        fleet.group()
        node = ready(fleet)
        node.unlock()
        node.unlock()
        node.close_gate()
        for party in PARTIES:
            refused("gate-closed", node.ask, "boot", order=(party,))
            expect(getattr(fleet, party).post(node.path("/rotate"), {}), 200)
            refused("gate-closed", node.ask, "rotate", {"key": node.key_ids[0], "generation": 2}, order=(party,))
            refused("gate-closed", node.ask, "boot", order=(party,), pcrs=list(range(24)))
            refused("bad-evidence", node.ask, "boot", order=(party,), bank="sha384")
            refused("bad-evidence", node.ask, "boot", order=(party,), bank="sha1")
            refused("bad-evidence", node.ask, "boot", order=(party,), pcrs=list(range(15)))
        node.reboot()
        node.unlock()
        node.close()


def test_invariant_2_gate_in_every_bank(fleet):
    """Closed in one bank, open in the one that the party asks for; both are quoted."""
    node = fleet.soft
    node.reboot()
    pcrs = wanted(node)
    node.tpm.values["sha1"][15] = b"\x01" * 20
    message = requote(node, {"sha256": pcrs, "sha1": [15]})
    for party in PARTIES:
        answer = node.release(party, message)
        assert answer.status == 403 and answer.problem in ("gate-closed", "bad-evidence"), answer
    node.reboot()
    node.tpm.values["sha256"][15] = b"\x01" * 32
    expect_refused(fleet, node, requote(node, {"sha256": pcrs}), "gate-closed", control=False)
    node.reboot()
    node.unlock()


def test_invariant_2_constant_values(fleet):
    node = fleet.soft
    for pcr in (0, 1, 7):
        for value in (bytes(32), b"\xff" * 32):
            node.reboot()
            node.tpm.values["sha256"][pcr] = value
            expect_refused(fleet, node, node.evidence("boot", node.challenges("boot")), control=False)
    node.reboot()
    node.tpm.values["sha256"][:8] = [bytes(32)] * 8
    expect_refused(fleet, node, node.evidence("boot", node.challenges("boot")), control=False)
    node.reboot()
    node.unlock()


def test_invariant_2_all_ones_elsewhere(fleet):
    """All one bits can be captured for no PCR; zero bits only by the name zero."""
    policy = fleet.tenant.get("/v1/groups/default/policy").json
    assert "= zero" in policy["text"] and "0" * 64 not in policy["text"], policy
    for value in ("0" * 64, "f" * 64):
        text = policy["text"].replace("= zero", f"= {value}", 1)
        answer = fleet.tenant.put("/v1/groups/default/policy", {"text": text, "version": policy["version"]})
        if answer.status == 200:  # it may be written, but it then never matches
            fleet.soft.reboot()
            if value[0] == "f":
                fleet.soft.tpm.values["sha256"][8] = b"\xff" * 32
            refused("policy-refused", fleet.soft.ask, "boot", order=("tenant",))
            policy["version"] = answer.json["version"]
            expect(fleet.tenant.put("/v1/groups/default/policy", policy), 200)
        else:
            expect(answer, 400, "malformed")
    fleet.soft.reboot()
    fleet.soft.unlock()


# Invariant 6

def test_invariant_6_another_nk(fleet):
    node = fleet.soft
    node.reboot()
    node.unlock()
    node.unlock()
    first, node.nk = node.nk, ec.generate_private_key(ec.SECP256R1())
    for party in PARTIES:
        refused("another-nk", node.ask, "boot", order=(party,))
        expect(getattr(fleet, party).post(node.path("/rotate"), {}), 200)
        refused("another-nk", node.ask, "rotate", {"key": next(iter(node.keys)), "generation": 2}, order=(party,))
    node.nk = first
    node.unlock()
    node.reboot()
    node.unlock()


def test_invariant_6_another_nk_raced(fleet):
    """Many keys at the same time: one of them wins at each party."""
    node = fleet.soft
    node.reboot()
    messages = []
    for _ in range(8):
        node.nk = ec.generate_private_key(ec.SECP256R1())
        messages.append((node.nk, node.evidence("boot", node.challenges("boot"))))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for party in PARTIES:
            answers = list(pool.map(lambda item, to=party: node.release(to, item[1]), messages))
            assert sorted(answer.status for answer in answers) == [200] + [403] * 7, answers
            assert {answer.problem for answer in answers} == {None, "another-nk"}, answers


def test_invariant_6_lower_counters(fleet):
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.unlock()
    node.tpm.restart_count += 1  # hibernation: a boot of its own
    node.boot()
    node.unlock()
    high = node.tpm.reset_count, node.tpm.restart_count
    for low in ((high[0], high[1] - 1), (high[0] - 1, high[1] + 7), (0, 0)):
        node.tpm.reset_count, node.tpm.restart_count = low
        node.boot()
        for party in PARTIES:
            refused("rolled-back", node.ask, "boot", order=(party,))
    for party in PARTIES:
        expect(getattr(fleet, party).post(node.path("/accept-reset"), {}), 200)
    node.boot()
    node.unlock()  # (0, 0), with an NK of its own
    node.boot()
    refused("another-nk", node.unlock)
    node.tpm.reset_count, node.tpm.restart_count = high
    node.boot()
    node.unlock()
    node.tpm.reset_count = 0
    node.boot()
    refused("rolled-back", node.unlock)


def test_invariant_6_cleared_tpm(_):
    """TPM2_Clear puts a real TPM's resetCount back to 0 with the same AK."""
    with Fleet() as fleet:
        fleet.group()
        node = ready(fleet)
        for _ in range(2):
            node.reboot()
            node.unlock()
        node.tpm.clear()
        node.reboot()
        refused("rolled-back", node.unlock)
        node.close()


def test_invariant_6_enroll_nk_is_its_own(fleet):
    """An enrollment in the running system takes no boot's NK away."""
    node = enrolled(fleet, swtpm=SoftTpm(fleet.test_ca))
    node.reboot()
    first = node.nk
    node.nk = ec.generate_private_key(ec.SECP256R1())
    node.enroll()
    node.nk = first
    node.unlock()


def test_policy_reads_only_the_pinned_bank(fleet):
    """The other bank's values, well quoted beside it, decide nothing."""
    node = fleet.soft
    pcrs = wanted(node)
    node.reboot()
    node.tpm.values["sha256"][4] = b"\x07" * 32
    message = requote(node, {"sha256": pcrs, "sha1": pcrs})
    for party in PARTIES:
        answer = node.release(party, message)
        assert answer.status == 403 and answer.problem in ("policy-refused", "bad-evidence"), answer
    node.reboot()
    node.unlock()


def test_a_set_of_another_bank(fleet):
    """Pinned to SHA-384, in a group that has a set for SHA-256 nodes, too: a bank that the firmware leaves alone, anybody
    extends."""
    node = ready(fleet, swtpm=SoftTpm(fleet.test_ca))
    fleet.group("sha384", bank="sha384")
    for party in fleet.parties:
        policy = expect(party.get("/v1/groups/default/policy"), 200).json["text"]
        expect(party.put("/v1/groups/sha384/policy", {"text": policy, "version": 0}), 200)
        expect(party.post(node.path("/approve"), {"group": "sha384"}), 200)
    node.reboot()
    allowed = list(node.tpm.values["sha256"])
    for pcr in range(15):
        node.tpm.event(pcr, b"another boot chain")
    node.tpm.values["sha256"] = allowed
    pcrs = wanted(node)
    expect_refused(fleet, node, requote(node, {"sha384": pcrs, "sha256": pcrs}), "policy-refused", control=False)
    for party in fleet.parties:
        expect(party.post(node.path("/approve"), {"group": "default"}), 200)
    node.reboot()
    node.unlock()


def test_unknown_node(fleet):
    stranger = Node(fleet, SoftTpm(fleet.test_ca))
    for party in PARTIES:
        for purpose in ("boot", "rotate", "confirm", "enroll"):
            refused("unknown-node", stranger.challenge, party, purpose)
        message = fleet.soft.evidence("boot", fleet.soft.challenges("boot"))
        answer = stranger.release(party, message)
        assert answer.problem in ("unknown-node", "stale-nonce", "bad-evidence"), answer
    assert node_id(stranger.ak_public) == stranger.id


if __name__ == "__main__":
    main(Setup)
