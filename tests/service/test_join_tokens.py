#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Join tokens are listed and cancelled: by the operator's command, at both parties, with one of them away, and after an
upgrade."""

import base64
import hashlib
import os
import re
import secrets
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused
from lab import Lab
from node import PARTIES, Node
from services import field_hash
from softtpm import SoftTpm

DONE, FAILED, USAGE, REFUSED, UNREACHED, BEHIND = range(6)
DAY = 86400
UPGRADE = 13


def ok(said):
    assert said.code == DONE, said
    return said


def create(lab, *words):
    """-> the token's 20 bytes, its id"""
    made = ok(lab.ctl("--json", "join-token", "create", *words)).json
    assert re.fullmatch("[0-9a-f]{16}", made["id"]), made
    return base64.b32decode(made["token"][4:].upper()), made["id"]


def text_of(token):
    return "tj1-" + base64.b32encode(token).decode().lower()


def new_node(lab):
    node = Node(lab, SoftTpm(lab.test_ca))
    expect(node.register(), 201)
    return node


def row(lab, name, code=DONE):
    """What list prints of one id, by heading."""
    said = lab.ctl("join-token", "list")
    assert said.code == code, said
    lines = [re.split("  +", line.strip()) for line in said.out.splitlines()]
    found = [dict(zip(lines[0], line)) for line in lines[1:] if line[0] == name]
    assert len(found) <= 1, said
    return found[0] if found else None


def shown(lab, name):
    """The same id's objects of each party."""
    return {party.role: [one for one in expect(party.get("/v1/join-tokens"), 200).json["tokens"] if one["id"] == name]
            for party in lab.parties}


def states(lab, name):
    return [[one["state"] for one in of_party] for of_party in shown(lab, name).values()]


def clear(lab):
    """No token of an earlier case."""
    for party in lab.parties:
        party.change("DELETE FROM join_tokens")


def test_list(lab):
    clear(lab)
    ok(lab.ctl("group", "set", "shown"))
    began = int(time.time())
    said = ok(lab.ctl("join-token", "create", "--group", "shown", "--expires", "2d"))
    name = re.search("Its id is ([0-9a-f]{16}):", said.err)[1]
    assert re.fullmatch(r"tj1-[a-z2-7]{32}\n", said.out), said
    token = base64.b32decode(said.out.strip()[4:].upper())
    line = row(lab, name)
    who = shown(lab, name)["tenant"][0]["who"]
    assert (line["GROUP"], line["BY"], line["TENANT"], line["VERIFIER"], line["NODE"]) == ("shown", who, "open", "open",
                                                                                           "-"), line
    for one in (of_party[0] for of_party in shown(lab, name).values()):
        assert began <= one["made"] <= time.time() and abs(one["expires"] - one["made"] - 2 * DAY) < 300, one
        assert one["used"] is None and one["cancelled"] is None and set(one) == {"id", "group", "state", "expires", "who", "made",
                                                                                 "used", "cancelled"}
    listed = ok(lab.ctl("--json", "join-token", "list"))
    assert [[one["id"] for one in listed.json[party]["tokens"]] for party in PARTIES] == [[name]] * 2, listed
    node = new_node(lab)
    node.ask("enroll", {"keys": []}, token, ("tenant",))
    assert states(lab, name) == [["used"], ["open"]]
    line = row(lab, name)  # on its way: nobody has failed to follow
    assert (line["TENANT"], line["VERIFIER"], line["NODE"]) == ("used", "open", node.id[:12]), line
    node.enroll(join=token)
    line = row(lab, name)
    assert (line["TENANT"], line["VERIFIER"], line["NODE"]) == ("used", "used", node.id[:12]), line
    approved = [record["detail"] for record in lab.tenant.audit(node=node.id) if record["event"] == "approve"]
    assert len(approved) == 1 and name in str(approved), approved
    everything = listed.out + listed.err + said.err + ok(lab.ctl("join-token", "list")).out + ok(lab.ctl("log", "--limit",
                                                                                                         "1000")).out
    assert text_of(token) not in everything and token.hex() not in everything
    assert lab.ctl("join-token", "list", "extra").code == USAGE


def test_cancel(lab):
    clear(lab)
    token, name = create(lab)
    other, _ = create(lab)
    said = ok(lab.ctl("join-token", "cancel", name))
    assert "is cancelled" in said.out and states(lab, name) == [["cancelled"]] * 2, said
    node = new_node(lab)
    refused("pending-approval", node.enroll, join=token)
    for party in lab.parties:
        records = [record for record in party.audit() if record["event"] == "join-token-cancel" and name in str(record["detail"])]
        assert len(records) == 1 and records[0]["who"] == shown(lab, name)[party.role][0]["cancelled"]["who"] != "node", records
    first = shown(lab, name)
    assert ok(lab.ctl("--json", "join-token", "cancel", name)).json["verifier"]["tokens"] == first["verifier"]
    assert shown(lab, name) == first  # who did it, and when, is the first one's
    line = row(lab, name)
    assert (line["TENANT"], line["VERIFIER"]) == ("cancelled", "cancelled"), line
    node.enroll(join=other)


def test_cancel_by_the_token_itself(lab):
    """Somebody finds one in a log file. It is no word of a command line."""
    clear(lab)
    token, name = create(lab)
    kept = create(lab)[1]
    said = lab.ctl("join-token", "cancel", text_of(token))
    assert said.code == USAGE and "--join-token-file" in said.err and states(lab, name) == [["open"]] * 2, said
    ok(lab.ctl("join-token", "cancel", "--join-token-file", "-", stdin=text_of(token).encode() + b"\n"))
    assert states(lab, name) == [["cancelled"]] * 2 and states(lab, kept) == [["open"]] * 2
    file = lab.home / "found"
    file.write_text(text_of(token))
    ok(lab.ctl("join-token", "cancel", "--join-token-file", file))
    for text in (b"", b"tj1-", b"tj1-" + b"1" * 32, secrets.token_bytes(64)):
        assert lab.ctl("join-token", "cancel", "--join-token-file", "-", stdin=text).code == FAILED, text
    assert lab.ctl("join-token", "cancel", "--join-token-file", lab.home / "none").code == FAILED


def test_cancel_of_what_is_not_open(lab):
    """Used before: who got in is said. Unknown: nothing was done, and that is said. No id: usage."""
    clear(lab)
    token, name = create(lab)
    node = new_node(lab)
    node.enroll(join=token)
    said = ok(lab.ctl("join-token", "cancel", name))
    assert "was used" in said.out and said.err.count(f"tallyctl node revoke {node.id}") == 2, said
    assert states(lab, name) == [["used"]] * 2
    for unknown in ("0123456789abcdef", "0" * 64, "default-1"):
        said = lab.ctl("join-token", "cancel", unknown)
        assert said.code == REFUSED and "Neither party knows" in said.err, said
    for words in ((), ("a/b",), ("a b",), ("..%2f",), ("a" * 96,), (name, "x"), (name, "--join-token-file", "-"), ("--all",)):
        assert lab.ctl("join-token", "cancel", *words).code == USAGE, words
    assert not [record for record in lab.tenant.audit() if record["event"] == "join-token-cancel"
                and name in str(record["detail"])]


def test_cancel_with_one_party_away(lab):
    """The other one has followed at once; the same command again ends it."""
    for gone, at in ((lab.verifier, lab.tenant), (lab.tenant, lab.verifier)):
        clear(lab)
        token, name = create(lab)
        gone.stop()
        said = lab.ctl("join-token", "cancel", name)
        assert said.code == BEHIND and f"The {gone.role} was not reached" in said.err and "same command again" in said.err, said
        assert f"It is cancelled at the {at.role}" in said.err, said
        assert row(lab, name, BEHIND)[gone.role.upper()] == "?"
        gone.start()
        said = lab.ctl("join-token", "list")
        assert said.code == BEHIND and f"{name} is open at the {gone.role} and ended at the {at.role}" in said.err, said
        node = new_node(lab)
        refused("pending-approval", node.ask, "enroll", {"keys": []}, token, (at.role,))
        ok(lab.ctl("join-token", "cancel", name))
        refused("pending-approval", node.ask, "enroll", {"keys": []}, token, (gone.role,))
        ok(lab.ctl("join-token", "list"))
    lab.tenant.stop()
    lab.verifier.stop()
    assert lab.ctl("join-token", "cancel", name).code == lab.ctl("join-token", "list").code == UNREACHED
    lab.tenant.start()
    lab.verifier.start()


def test_one_party_does_not_have_it(lab):
    """Its database was lost, or is an older one: said, with the exit status of all that was not followed."""
    clear(lab)
    token, name = create(lab)
    lab.tenant.change("DELETE FROM join_tokens")
    said = lab.ctl("join-token", "list")
    assert said.code == BEHIND and f"{name} is open at the verifier and not known to the tenant" in said.err, said
    line = row(lab, name, BEHIND)
    assert (line["TENANT"], line["VERIFIER"]) == ("-", "open"), line
    assert lab.ctl("--json", "join-token", "list").code == BEHIND
    said = ok(lab.ctl("join-token", "cancel", name))
    assert "The tenant does not know this token" in said.err and states(lab, name) == [[], ["cancelled"]], said
    ok(lab.ctl("join-token", "list"))


def test_create_that_one_party_has_not_followed(lab):
    """What was given to one is taken back: nobody has the token, and no list shows it as a fault for a day."""
    clear(lab)
    lab.verifier.stop()
    said = lab.ctl("join-token", "create")
    assert said.code == BEHIND and "tj1-" not in said.out and "not given out" in said.err, said
    lab.verifier.start()
    assert [one["state"] for one in lab.tenant.get("/v1/join-tokens").json["tokens"]] == ["cancelled"]
    ok(lab.ctl("join-token", "list"))


def test_ended_tokens_are_forgotten(lab):
    """Shown as what they are, for a week."""
    clear(lab)
    (_, old), (_, young), (_, live) = (create(lab) for _ in range(3))
    for party in lab.parties:
        for name, age in ((old, 8 * DAY), (young, 6 * DAY)):
            assert party.change("UPDATE join_tokens SET expires = ? WHERE id = ?", int(time.time()) - age, name) == 1
        party.restart()
        deadline = time.monotonic() + 240
        while party.sql("SELECT * FROM join_tokens WHERE id = ?", old) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert states(lab, old) == [[], []] and states(lab, young) == [["expired"]] * 2 and states(lab, live) == [["open"]] * 2
    line = row(lab, young)
    assert (line["TENANT"], line["VERIFIER"]) == ("expired", "expired"), line


def downgrade(party):
    """The database as a program of before ids left it."""
    with_columns = [column[1] for column in party.sql("PRAGMA table_info(join_tokens)")]
    for index in ("join_tokens_id", "join_tokens_expires"):
        party.change(f"DROP INDEX {index}")
    for column in set(with_columns) - {"sha256", "group_name", "expires", "used_by"}:
        party.change(f"ALTER TABLE join_tokens DROP COLUMN {column}")
    assert party.change("DELETE FROM store_migration WHERE number >= ?", UPGRADE) == 1


def test_upgrade(lab):
    """Tokens of before have one name at both parties, work, and are cancelled; those of one second and group together."""
    clear(lab)
    ok(lab.ctl("group", "set", "g" * 63))
    lab.group("other")
    soon = int(time.time()) + 3600
    tokens = {}
    for what, group, expires in (("works", "default", soon), ("goes", "default", soon + 1), ("twin", "default", soon + 1),
                                 ("stays", "other", soon + 1), ("long", "g" * 63, soon), ("used", "default", soon + 2)):
        tokens[what] = secrets.token_bytes(20)
        for party in lab.parties:
            digest = hashlib.sha256(field_hash("tallyboot join v1", party.role, tokens[what])).hexdigest()
            expect(party.post("/v1/join-tokens", {"sha256": digest, "group": group, "expires": expires}), 201)
    before = new_node(lab)
    before.enroll(join=tokens["used"])
    for party in lab.parties:
        party.stop()
        downgrade(party)
        party.start()
    line = row(lab, f"default-{soon}")
    assert (line["GROUP"], line["BY"], line["MADE"], line["TENANT"], line["VERIFIER"]) == ("default", "-", "-", "open",
                                                                                           "open"), line
    assert row(lab, f"default-{soon + 1}")["TENANT"] == "2 of 2 open"
    assert row(lab, f"default-{soon + 2}")["NODE"] == before.id[:12]
    new_node(lab).enroll(join=tokens["works"])
    ok(lab.ctl("join-token", "cancel", f"default-{soon + 1}"))
    for what in ("goes", "twin"):
        refused("pending-approval", new_node(lab).enroll, join=tokens[what])
    new_node(lab).enroll(join=tokens["stays"])
    ok(lab.ctl("join-token", "cancel", "--join-token-file", "-", stdin=text_of(tokens["long"]).encode()))
    ok(lab.ctl("join-token", "cancel", "g" * 63 + f"-{soon}"))
    assert states(lab, "g" * 63 + f"-{soon}") == [["cancelled"]] * 2
    # a process of before, beside this one
    digest = hashlib.sha256(field_hash("tallyboot join v1", "tenant", tokens["works"][::-1])).hexdigest()
    lab.tenant.change("INSERT INTO join_tokens (sha256, group_name, expires) VALUES (?, 'default', ?)", digest, soon + 7)
    assert states(lab, f"default-{soon + 7}") == [["open"], []]
    late = new_node(lab)
    late.ask("enroll", {"keys": []}, tokens["works"][::-1], ("tenant",))
    assert states(lab, f"default-{soon + 7}") == [["used"], []]
    # an operator's program of before sends no id: it gets the same
    digests = {party.role: secrets.token_hex(32) for party in lab.parties}
    for party in lab.parties:
        made = expect(party.post("/v1/join-tokens", {"sha256": digests[party.role], "group": "default", "expires": soon + 9}),
                      201).json
        assert made["id"] == f"default-{soon + 9}", made
    assert row(lab, f"default-{soon + 9}")["VERIFIER"] == "open"


if __name__ == "__main__":
    main(Lab)
