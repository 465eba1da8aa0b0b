#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The node's own program, asked for the kernel's logs: it sends them in the same boot, to both parties, and whatever is wrong
with them ends in a refusal in bounded time. The TPM is extended event by event, as the firmware did; securityfs is a
directory."""

import base64
import hashlib
import json
import os
import shutil
import struct
import time

import logs
from cases import main
from impostor import Impostor
from node import PARTIES
from unlocking import Unlocking, check

NAME = "ovmf4m-uki-sb"
POLICY = "[firmware]\nsecure-boot = on\nadd-ons = refuse\n[ima]\nrequire = yes\n"
MIB = 1024 * 1024


class Measured(Unlocking):
    """A node whose PCRs and logs are those of a recorded boot, with an IMA list of its own."""

    def __init__(self):
        super().__init__()
        self.fleet.group()

    def __enter__(self):
        self.volume("root")
        self.ready()
        self.node.swtpm.firmware = False
        self.security = self.directory / "security"
        self.settings["securityfs"] = str(self.security)
        for party in PARTIES:
            service = getattr(self.fleet, party)
            version = service.get("/v1/groups/default/policy").json["version"]
            assert service.put("/v1/groups/default/policy", {"text": POLICY, "version": version}).status == 200
        return self

    def boot(self, entries=3):
        """Power on, firmware, kernel; nothing that a party knew of logs is known any more."""
        for party in PARTIES:
            getattr(self.fleet, party).sql("DELETE FROM known_logs")
            getattr(self.fleet, party).sql("DELETE FROM ima_states")
        self.power_on()
        self.ima = logs.ImaList(logs.recorded_pcrs(NAME))
        for i in range(entries):
            self.ima.file(f"/usr/bin/program-{i}", f"content {i}".encode())
        self.extend()
        self.write("tpm0/binary_bios_measurements", logs.firmware_log(NAME))
        self.write("ima/binary_runtime_measurements", self.ima.since(0))

    def extend(self):
        """What the logs say, in the TPM."""
        values = [f"{pcr}:sha256={digests[logs.SHA256].hex()}" for pcr, kind, digests, _ in logs.events(logs.firmware_log(NAME))
                  if kind != logs.EV_NO_ACTION]
        values += [f"10:sha256={hashlib.sha256(entry[38:]).hexdigest()}" for entry in self.ima.entries]
        self.node.swtpm.tool("pcrextend", *values)

    def write(self, name, data):
        (self.security / name).parent.mkdir(parents=True, exist_ok=True)
        (self.security / name).write_bytes(data)

    def audited(self, party):
        return getattr(self.fleet, party).audit(node=self.node.id)[-1]


def works_again(lab):
    lab.boot()
    check(lab.unlock(), "ok")


def test_logs_are_sent_to_both_parties(lab):
    lab.boot()
    check(lab.unlock(), "ok", "root would open with generation 1")
    for party in PARTIES:
        assert lab.audited(party)["event"] == "release", lab.audited(party)
        assert getattr(lab.fleet, party).sql("SELECT * FROM known_logs"), party


def test_known_logs_are_not_sent(lab):
    works_again(lab)
    lab.power_on()
    lab.extend()
    shutil.rmtree(lab.security)
    check(lab.unlock(), "ok")


def test_no_logs(lab):
    lab.boot()
    shutil.rmtree(lab.security)
    started = time.monotonic()
    check(lab.unlock(), "refused", "policy-refused", "incident [0-9a-f]{16}")
    assert time.monotonic() - started < 100
    works_again(lab)


def test_one_log_is_missing(lab):
    for name in ("tpm0/binary_bios_measurements", "ima/binary_runtime_measurements"):
        lab.boot()
        os.unlink(lab.security / name)
        check(lab.unlock(), "refused", "policy-refused")
    works_again(lab)


def test_logs_of_another_boot(lab):
    lab.boot()
    lab.write("tpm0/binary_bios_measurements", logs.firmware_log("ovmf4m-uki"))
    check(lab.unlock(), "refused", "policy-refused")
    works_again(lab)


def test_cut_log(lab):
    lab.boot()
    lab.write("tpm0/binary_bios_measurements", logs.firmware_log(NAME)[:-1])
    check(lab.unlock(), "refused", "policy-refused")
    works_again(lab)


def test_a_pipe_in_place_of_a_log(lab):
    lab.boot()
    os.unlink(lab.security / "tpm0/binary_bios_measurements")
    os.mkfifo(lab.security / "tpm0/binary_bios_measurements")
    check(lab.unlock(), "refused", "policy-refused")
    os.unlink(lab.security / "tpm0/binary_bios_measurements")
    works_again(lab)


def test_entries_after_the_quote(lab):
    """24 MiB of them: the kernel measured on while the quote was on its way."""
    lab.boot()
    later = logs.ImaList()
    later.file("/later", b"")
    lab.write("ima/binary_runtime_measurements", lab.ima.since(0) + later.since(0) * (24 * MIB // len(later.since(0))))
    check(lab.unlock(), "ok")


def test_a_list_that_is_too_long(lab):
    lab.boot()
    lab.write("ima/binary_runtime_measurements", lab.ima.since(0) + bytes(33 * MIB))
    check(lab.unlock(), "refused", "policy-refused")
    works_again(lab)


def answers(lab, at, act, status, *words):
    lab.boot()
    with Impostor(lab.fleet.verifier) as bad:
        bad.at, bad.act = at, act
        check(lab.unlock(verifier=bad.url), status, *words)
        asked = bad.asked
    works_again(lab)
    return asked


def wanted(**changes):
    problem = {"type": "urn:tallyboot:problem:logs-wanted", "title": "Logs.", "status": 409, "incident": "",
               "logs": [{"kind": "firmware", "from": 0}], "ticket": base64.urlsafe_b64encode(bytes(76)).decode().rstrip("=")}
    problem.update(changes)
    return json.dumps({key: value for key, value in problem.items() if value is not None}).encode()


def test_a_party_that_goes_on_asking(lab):
    """It is sent the logs twice, then the round is over (and the next one, with a new quote, goes well)."""
    again = lambda exchange: exchange.send(wanted(), 409, "application/problem+json")
    words = r"verifier: Logs\. \(logs-wanted: it was sent the logs and goes on asking"
    assert answers(lab, "/release/logs", again, "ok", words) == 2


def test_wishes_that_are_not_as_the_protocol_says(lab):
    for change in ({"ticket": None}, {"ticket": "AAAA"}, {"logs": None}, {"logs": []},
                   {"logs": [{"kind": "everything", "from": 0}]},
                   {"logs": [{"kind": "ima", "from": -1}]}, {"logs": [{"kind": "ima", "from": 1 << 40}]}):
        spoil = lambda exchange, change=change: exchange.send(wanted(**change), 409, "application/problem+json")
        asked = answers(lab, "/release", spoil, "failed", "verifier: its wish for logs: not as the protocol says")
        assert asked == 1, (change, asked)


def test_more_entries_asked_for_than_there_are(lab):
    """An empty list is sent."""
    def more(exchange):
        wish = exchange.answer.json
        for log in wish["logs"]:
            log["from"] = 1 << 30 if log["kind"] == "ima" else 0
        exchange.send(json.dumps(wish).encode(), 409, "application/problem+json")
    assert answers(lab, "/release", more, "refused", "verifier: .*policy-refused") == 1


def test_evidence_with_logs_is_what_policy_check_takes(lab):
    lab.boot()
    recorded = json.loads(check(lab.run("evidence", "--logs"), "ok").text)
    text = {name: base64.urlsafe_b64decode(recorded[name] + "===") for name in ("firmware_log", "ima")}
    assert text == {"firmware_log": logs.firmware_log(NAME), "ima": lab.ima.since(0)}
    assert set(recorded["pcrs"]["sha256"]) == {str(i) for i in range(16)}, recorded["pcrs"]
    shutil.rmtree(lab.security)
    recorded = json.loads(check(lab.run("evidence", "--logs"), "ok").text)
    assert "firmware_log" not in recorded and "ima" not in recorded
    assert struct.unpack(">I", base64.urlsafe_b64decode(recorded["attest"] + "===")[:4]) == (0xff544347,)


if __name__ == "__main__":
    main(Measured)
