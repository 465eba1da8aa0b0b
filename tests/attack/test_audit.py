#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariant 12: a server cannot rewrite its own past unseen. Exports are held against the heads that the other services recorded,
with no server there; and a server that shows another past is refused by the others."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hpke
from cases import expect, main, refused
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from node import b64, ready
from services import BUILD, ROLES, Fleet, encode_fields, field_hash
from softtpm import SoftTpm

ORDER = ("event", "node", "incident", "who", "detail")


class Setup(Fleet):
    """Services that exchange heads every second, and exports of what they wrote."""

    def __init__(self):
        super().__init__(start=False)
        for one in self.services:
            one.heads.update({"heads-every": 1})
            one.start()
        self.group()
        self.node = ready(self, swtpm=SoftTpm(self.test_ca))
        for _ in range(4):
            self.boot()
        self.settle()
        self.good = self.export("good")

    def boot(self):
        self.node.reboot()
        self.node.unlock()

    def settle(self):
        """Until every service knows a head of every other one it speaks to that has the last release in it."""
        def known():
            for one in self.services:
                seqs = {peer["role"]: peer["seq"] for peer in one.get("/v1/audit").json["peers"]}
                for other in self.services:
                    last = max((record["seq"] for record in other.audit() if record["event"] in ("release", "register")),
                               default=0)
                    if one != other and seqs.get(other.role, 0) < last:
                        return False
            return True

        deadline = time.monotonic() + 120
        while not known():
            assert time.monotonic() < deadline, "heads are not exchanged"
            time.sleep(0.2)

    def export(self, name):
        """role -> file"""
        directory = self.directory / name
        code, said = self.ctl("audit", "export", "--dir", directory)
        assert code == 0, said
        return {role: directory / f"{role}-audit.jsonl" for role in ROLES}

    def tampered(self, change, role="tenant"):
        """The exports, that of role changed; verified where no server can be asked."""
        directory = self.directory / "tampered"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        files = {one: shutil.copy(self.good[one], directory) for one in ROLES}
        header, *records = [json.loads(line) for line in open(files[role])]
        changed = change(records)
        with open(files[role], "w") as out:
            for line in (header, *(records if changed is None else changed)):
                out.write(json.dumps(line) + "\n")
        return files

    def verify(self, *files):
        done = subprocess.run([BUILD / "tallyctl", "audit", "verify", *files], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={"TALLYCTL_CONFIG": "/nonexistent"}, timeout=240, check=False)
        return done.returncode, done.stdout.decode()


def rechain(records):
    """Hashes that are right for what the records now say: what the owner of a log can always make."""
    previous = bytes(32)
    for number, record in enumerate(records, 1):
        record["seq"] = number
        previous = field_hash("tallyboot audit v1", previous, number, record["time"], *(record[name] for name in ORDER))
        record["hash"] = previous.hex()
    return records


def expect_found(fleet, files, words):
    code, said = fleet.verify(*files)
    assert code == 3 and words in said and "NOT what they were" in said, (words, code, said)


def release_of(records):
    return next(i for i, record in enumerate(records) if record["event"] == "release")


def test_invariant_12_the_control_an_honest_log(fleet):
    code, said = fleet.verify(*fleet.good.values())
    assert code == 0 and "WRONG" not in said and "Nothing was deleted" in said, said
    for one in ROLES:
        for other in ROLES:
            assert one == other or f"{one}: " in said and f"heads that the {other} recorded fit" in said, said
    code, said = fleet.verify(fleet.good["tenant"], fleet.good["verifier"])
    assert code == 0, said
    code, said = fleet.verify(fleet.good["tenant"])
    assert code == 0 and "Nothing was there to hold it against" in said, said


def test_invariant_12_deleted(fleet):
    def cut(records):
        del records[release_of(records)]
    expect_found(fleet, fleet.tampered(cut).values(), "is not there")

    def cut_and_renumber(records):
        del records[release_of(records)]
        for number, record in enumerate(records, 1):
            record["seq"] = number
    expect_found(fleet, fleet.tampered(cut_and_renumber).values(), "is not what it was")


def test_invariant_12_changed(fleet):
    for name in ORDER + ("time", "hash"):
        def change(records, name=name):
            record = records[release_of(records)]
            record[name] = record[name] + 1 if name == "time" else "0" * 64 if name == "hash" else record[name] + "x"
        expect_found(fleet, fleet.tampered(change).values(), "is not what it was")


def test_invariant_12_reordered(fleet):
    def exchange(records):
        at = release_of(records)
        records[at], records[at + 1] = records[at + 1], records[at]
    expect_found(fleet, fleet.tampered(exchange).values(), "is not there")

    def exchange_contents(records):
        at = release_of(records)
        for name in ORDER:
            records[at][name], records[at + 1][name] = records[at + 1][name], records[at][name]
    expect_found(fleet, fleet.tampered(exchange_contents).values(), "is not what it was")


def test_invariant_12_truncated(fleet):
    expect_found(fleet, fleet.tampered(lambda records: records[:-1]).values(), "cut off")
    expect_found(fleet, fleet.tampered(lambda records: []).values(), "cut off")


def owner_signs(fleet, change, role="tenant"):
    """The owner of a log, with its database and its key: rewrites it, and shows and signs what it then has."""
    service = next(one for one in fleet.services if one.role == role)
    other = next(one for one in fleet.services if one.role not in (role, "registrar"))
    fleet.boot()
    fleet.settle()
    for one in fleet.services:
        one.stop()
    keep = service.directory / "database.keep"
    for tail in ("", "-wal", "-shm"):
        if os.path.exists(f"{service.database}{tail}"):
            shutil.copy(f"{service.database}{tail}", f"{keep}{tail}")
    rows = service.sql("SELECT seq, time, event, node, incident, who, detail FROM audit ORDER BY seq")
    records = [dict(zip(("seq", "time", *ORDER), row)) for row in rows]
    changed = change(records)
    rechain(records if changed is None else changed)
    with sqlite3.connect(service.database) as database:
        database.execute("DELETE FROM audit")
        database.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                             [(r["seq"], r["time"], *(r[name] for name in ORDER), bytes.fromhex(r["hash"]))
                              for r in (records if changed is None else changed)])
    database.close()
    return service, other, keep


def put_back(fleet, service, keep):
    for one in fleet.services:
        one.stop()
    for tail in ("", "-wal", "-shm"):
        if os.path.exists(f"{service.database}{tail}"):
            os.unlink(f"{service.database}{tail}")
        if os.path.exists(f"{keep}{tail}"):
            os.rename(f"{keep}{tail}", f"{service.database}{tail}")
    for one in fleet.services:
        one.start()


def alarms(service, of):
    return [json.loads(record["detail"])["why"] for record in service.audit() if record["event"] == "audit-alarm"
            and record["who"] == of]


def wait_for_alarm(service, of, why):
    deadline = time.monotonic() + 180  # from an alarm for another reason (behind, before the log has grown) a minute
    while why not in alarms(service, of):
        assert time.monotonic() < deadline, (service.role, of, alarms(service, of))
        time.sleep(0.2)


def test_invariant_12_rewritten_by_its_owner(fleet):
    """A release is gone from the tenant's log, every hash after it right again, the head signed by the right key."""
    def forget(records):
        del records[release_of(records)]
    service, other, keep = owner_signs(fleet, forget)
    try:
        for one in fleet.services:
            one.start()
        refused("unavailable", fleet.boot)
        for _ in range(4):  # it grows past what the others know of it
            fleet.group()
        wait_for_alarm(other, "tenant", "forked")
        assert other.get("/v1/audit").json["peers"][-1]["alarm"] == "forked"
        expect_found(fleet, fleet.export("rewritten").values(), "it has another past than before")
        code, said = fleet.ctl("audit", "status")
        assert code == 0 and "forked" in said, said
        number = len(alarms(other, "tenant"))
        time.sleep(3)
        assert len(alarms(other, "tenant")) == number  # an alarm that goes on does not fill the log
        code, said = fleet.ctl("audit", "accept", "--of", "tenant")
        assert code == 0, said
        fleet.boot()
        fleet.settle()
        code, said = fleet.verify(*fleet.export("accepted").values())
        assert code == 0 and "alice accepted" in said, said
    finally:
        put_back(fleet, service, keep)
        assert fleet.ctl("audit", "accept", "--of", "tenant")[0] == 0


def test_invariant_12_cut_off_by_its_owner(fleet):
    """The newest records are gone, the head signed by the right key says that there never were more."""
    service, other, keep = owner_signs(fleet, lambda records: records[:-8], "verifier")
    try:
        for one in fleet.services:
            one.start()
        wait_for_alarm(fleet.registrar, "verifier", "behind")
        expect_found(fleet, fleet.export("cut").values(), "longer before")
    finally:
        put_back(fleet, service, keep)
        assert fleet.ctl("audit", "accept", "--of", "verifier")[0] == 0


def test_invariant_12_another_key(fleet):
    """A new database, a new log, a new key: it does not pass for the old one's continuation."""
    head = fleet.registrar.get("/v1/audit").json["head"]
    expect(fleet.verifier.post("/v1/audit/heads", {"head": head, "known": 0}, cert="tenant"), 409, "conflict")
    stolen = fleet.tenant.get("/v1/audit").json["head"]
    other = fleet.verifier.get("/v1/audit").json["head"]
    for name, value in (("public", other["public"]), ("signature", other["signature"]), ("seq", stolen["seq"] + 1),
                        ("hash", "0" * 64), ("time", stolen["time"] + 1), ("from_seq", 1)):
        answer = fleet.verifier.post("/v1/audit/heads", {"head": {**stolen, name: value}, "known": 0}, cert="tenant")
        expect(answer, 409, "conflict")
        assert answer.json["title"].endswith(("another key.", "not signed.")), answer
    key = ec.generate_private_key(ec.SECP256R1())
    mine = {"role": "tenant", "public": b64(hpke.point(key.public_key())), "seq": stolen["seq"] + 5, "hash": "1" * 64,
            "from_seq": 0, "from_hash": "0" * 64, "time": stolen["time"]}
    signed = encode_fields("tallyboot audit head v1", "tenant", hpke.point(key.public_key()), mine["seq"],
                           bytes.fromhex(mine["hash"]), 0, bytes(32), mine["time"])
    mine["signature"] = b64(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    answer = expect(fleet.verifier.post("/v1/audit/heads", {"head": mine, "known": 0}, cert="tenant"), 409, "conflict")
    assert answer.json["title"].endswith("another key."), answer
    for broken in ({}, {**stolen, "role": "x"}, {**stolen, "seq": -1}, {**stolen, "hash": "00"}, {**stolen, "public": "AA"}, [],
                   None, 1):
        expect(fleet.verifier.post("/v1/audit/heads", {"head": broken, "known": 0}, cert="tenant"), 400, "malformed")


def test_invariant_12_never_shown_to_follow(fleet):
    """Who wrote his log anew cannot show that it goes on from a head that he signed: so he never begins where he is told to."""
    fleet.ctl("audit", "accept", "--of", "tenant")  # what other tests showed in its name is not in the way
    fleet.boot()
    fleet.settle()
    fleet.tenant.stop()
    try:
        *_, before, last = fleet.tenant.sql("SELECT seq, hash FROM audit ORDER BY seq")
        fleet.tenant.start()
        head = fleet.tenant.get("/v1/audit").json["head"]
        fleet.tenant.stop()
        assert head["seq"] >= last[0] and head["from_seq"] == 0, head
        fleet.verifier.change("UPDATE audit_peers SET seq = ?, hash = ? WHERE role = 'tenant'", *before)
        for _ in range(8):  # answers can be lost
            answer = expect(fleet.verifier.post("/v1/audit/heads", {"head": head, "known": 0}, cert="tenant"), 200)
            assert answer.json["recorded"] is False and answer.json["known"] == before[0], answer
        answer = expect(fleet.verifier.post("/v1/audit/heads", {"head": head, "known": 0}, cert="tenant"), 409, "conflict")
        assert answer.json["title"].endswith("not shown to follow."), answer
        assert alarms(fleet.verifier, "tenant")[-1] == "not shown to follow"
    finally:
        fleet.tenant.start()
    fleet.boot()  # the honest one begins there, and is believed again
    fleet.settle()
    known = {peer["role"]: peer for peer in fleet.verifier.get("/v1/audit").json["peers"]}["tenant"]
    assert known["alarm"] is None, known
    seen = re.search(r'tallyboot_audit_head_time{of="tenant"} (\d+)', fleet.verifier.get("/v1/metrics").body.decode())
    assert seen and int(seen[1]) >= known["recorded"] >= time.time() - 3600, seen  # a log that is silent is seen by that
    expect_found(fleet, fleet.export("evaded").values(), "did not fit to those before")
    assert fleet.ctl("audit", "accept", "--of", "tenant")[0] == 0


def test_invariant_12_one_chain_of_two_processes(fleet):
    """Two processes of one party on one store: one chain, in the order of the transactions."""
    replica = fleet.replica(fleet.tenant)
    try:
        for port in (replica.port, fleet.tenant.port) * 3:
            fleet.node.party("tenant").port, keep = port, fleet.tenant.port
            try:
                fleet.boot()
            finally:
                fleet.tenant.port = keep
        files = fleet.export("two")
        code, said = fleet.verify(files["tenant"])
        assert code == 0, said
    finally:
        replica.stop()


def test_log_injection(fleet):
    """CVE-2022-23949: what is in a file from elsewhere does not speak to the terminal."""
    def paint(records):
        records[3]["event"] = "\x1b[31mred\nWRONG fake"
        records[3]["seq"] = 3
    files = fleet.tampered(paint)
    code, said = fleet.verify(*files.values())
    assert code == 3 and "\x1b" not in said and "\nWRONG fake" not in said, said


if __name__ == "__main__":
    main(Setup)
