#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Invariants 8 and 9: where a half is, and above all where it is not."""

import base64
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, skip
from node import PARTIES, ready, refused_or
from services import Fleet
from softtpm import SoftTpm


class Setup(Fleet):
    """A node that had a release, a rotation and a second one, and what its halves are: {party: [32 bytes, ...]}"""

    def __init__(self):
        super().__init__()
        self.group()
        self.node = node = ready(self, ("volumes", "payload"), swtpm=SoftTpm(self.test_ca))
        self.halves = {party: set() for party in PARTIES}
        self.live(node.unlock())
        key = node.key_ids[0]
        for party in self.parties:
            assert party.post(node.path("/rotate"), {"key": key}).status == 200
        opened = node.ask("rotate", {"key": key, "generation": 2})
        self.live(opened)
        node.join_halves(opened)
        node.confirm(key, 2)
        node.reboot()
        self.live(node.unlock())
        assert all(len(values) == 3 for values in self.halves.values()), self.halves

    def live(self, opened):
        for party in PARTIES:
            self.halves[party] |= {half["half"] for half in opened[party][0].values()}

    def secrets(self, party):
        """name -> bytes: what must not be seen of this party."""
        out = {f"half {i}": half for i, half in enumerate(self.halves[party])}
        out["master key"] = self.master[party].read_bytes()
        for key, generations in self.node.keys.items():
            out.update({f"K_b of {key} {generation}": value for generation, value in generations.items()})
        return out


def forms(value):
    """As it is, and as people write such things."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for shift in range(3):  # base64 in the middle of something
        text = base64.b64encode(b"\0" * shift + value).rstrip(b"=")[(0, 2, 3)[shift]:-1]
        yield text
        yield text.replace(b"+", b"-").replace(b"/", b"_")
    yield value[:16]
    yield value[16:]


def expect_nowhere(data, secrets, where):
    for name, value in secrets.items():
        for form in forms(value):
            assert form not in data, f"{name} is in {where}"


def service_files(fleet, service):
    for directory, _, names in os.walk(service.directory):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                yield path


def test_the_control_of_these_tests(fleet):
    """The search finds what is there: the halves, in a text of this process."""
    half = next(iter(fleet.halves["tenant"]))
    for text in (b"xx" + half + b"x", half.hex().encode(), base64.b64encode(b"abcd" + half + b"abcdef")):
        try:
            expect_nowhere(text, fleet.secrets("tenant"), "the text")
        except AssertionError:
            continue
        raise AssertionError("not found")


def test_invariant_9_not_in_the_database(fleet):
    """Neither running (with its WAL) nor stopped; a thief of the files has wrapped bytes."""
    for party in fleet.parties:
        seen = 0
        for stopped in (False, True):
            if stopped:
                party.stop()
            for path in service_files(fleet, party):
                with open(path, "rb") as file:
                    expect_nowhere(file.read(), fleet.secrets(party.role), path)
                seen += 1
        party.start()
        assert seen >= 4, seen


def test_invariant_9_files_are_the_owners_alone(fleet):
    for party in fleet.services:
        for path in service_files(fleet, party):
            if os.path.basename(path).startswith("database"):
                assert os.stat(path).st_mode & 0o777 == 0o600, path


def test_invariant_9_useless_without_the_master_key(fleet):
    """A copy of the database under a master key of the thief's own: the service says so and does not start."""
    keep = fleet.tenant.extra.get("master-key")
    other = fleet.directory / "thief.master"
    with open(os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(bytes(32))
    fleet.tenant.stop()
    fleet.tenant.extra["master-key"] = other
    try:
        fleet.tenant.start()
        raise AssertionError("it started")
    except RuntimeError as error:
        assert "master key" in str(error), error
    finally:
        fleet.tenant.extra["master-key"] = keep or fleet.master["tenant"]
        fleet.tenant.start()
    fleet.node.reboot()
    fleet.node.unlock()


def test_invariant_8_not_in_logs(fleet):
    for party in fleet.parties:
        data = party.log.read_bytes()
        assert fleet.node.id.encode() in data  # there is something to look at
        expect_nowhere(data, fleet.secrets(party.role), "the log")
        records = str(party.audit()).encode()
        assert b"release" in records
        expect_nowhere(records, fleet.secrets(party.role), "the audit log")


def test_invariant_8_not_in_arguments_or_environment(fleet):
    for party in fleet.parties:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{party.process.pid}/{name}", "rb") as file:
                expect_nowhere(file.read(), fleet.secrets(party.role), name)


def without_sanitizer(service):
    """AddressSanitizer keeps what was freed, and locks nothing."""
    with open(service.command()[0], "rb") as file:
        if b"__asan_init" in file.read():
            skip("built with AddressSanitizer")


def memory(pid):
    """(where, bytes) of what the process has written."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            span, access, *rest = line.split()
            if "w" not in access or rest[-1] in ("[vvar]",):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            mem.seek(begin)
            try:
                yield line.strip(), mem.read(end - begin)
            except OSError:
                pass


def test_invariant_8_wiped_after_use(fleet):
    """After a release no half is anywhere in the service's memory: not on a stack, not in freed memory, not in TLS or HTTP
    buffers."""
    without_sanitizer(fleet.tenant)
    fleet.node.reboot()
    fleet.node.unlock()
    for party in fleet.parties:
        total = 0
        for where, data in memory(party.process.pid):
            total += len(data)
            for name, half in fleet.secrets(party.role).items():
                for part in (half[:16], half[16:]):
                    assert part not in data, f"{name} is left in {where}"
        assert total > 1 << 20, total


def test_invariant_8_no_core(fleet):
    for party in fleet.services:
        with open(f"/proc/{party.process.pid}/limits", encoding="ascii") as file:
            limits = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", file.read(), re.M)
        assert limits.groups() == ("0", "0"), limits[0]


def test_invariant_8_not_dumpable(fleet):
    """A process that is not dumpable cannot be traced, nor its memory read, by its own user."""
    if os.geteuid() != 0:
        skip("needs root to become another user")
    without_sanitizer(fleet.tenant)
    with open(f"/proc/{fleet.tenant.process.pid}/status", encoding="ascii") as file:
        locked = int(re.search(r"^VmLck:\s+(\d+)", file.read(), re.M)[1])
    assert locked > 0
    # a process of user nobody, in its files' group, looked at by nobody: /proc files then belong to root
    config = fleet.directory / "nobody"
    config.mkdir()
    script = "import os,subprocess,sys\nos.setgid(65534)\nos.setuid(65534)\n" \
             "p=subprocess.Popen(sys.argv[1:],stderr=subprocess.PIPE,text=True)\nany('listens on' in line for line in p.stderr)\n" \
             "print(os.stat(f'/proc/{p.pid}/mem').st_uid, p.poll())\np.kill()\n"
    conf = config / "conf"
    text = (fleet.registrar.directory / "conf").read_text()
    text = re.sub("listen = .*", "listen = 127.0.0.1:0", text)
    text = re.sub("database = .*", f"database = {config}/database", text)
    for name in ("key", "master-key"):
        path = re.search(rf"^{name} = (.*)", text, re.M)[1]
        copy = config / name
        copy.write_bytes(open(path, "rb").read())
        os.chmod(copy, 0o600)
        os.chown(copy, 65534, 65534)
        text = re.sub(rf"^{name} = .*", f"{name} = {copy}", text, flags=re.M)
    text = re.sub("ek-roots = .*", f"ek-roots = {shutil.copytree(fleet.test_ca.roots, config / 'roots')}", text)
    conf.write_text(text)
    os.chown(config, 65534, 65534)
    os.chmod(fleet.directory, 0o755)
    program = shutil.copy(fleet.registrar.command()[0], config)    # out of a home that user nobody cannot look into
    done = subprocess.run([sys.executable, "-c", script, program, "--config", str(conf)], stdout=subprocess.PIPE, check=True)
    owner, ended = done.stdout.decode().split()
    assert ended == "None", f"the registrar ended with {ended}"
    assert owner == "0", owner


def test_invariant_8_refused_node_learns_nothing(fleet):
    """No answer to a node names a PCR value, a set of the policy, or what differs."""
    node = fleet.node
    node.reboot([(4, b"something else")])
    refusal = refused_or(node.unlock)
    assert refusal.problem == "policy-refused", refusal
    text = refusal.answer.body.decode()
    assert set(refusal.answer.json) <= {"type", "title", "status", "incident"}, text
    assert not re.search(r"[0-9a-f]{20}", text) and "captured" not in text and "pcr" not in text.lower(), text
    assert refusal.answer.json["incident"] == node.incident
    held = node.shown(refusal.party)["held"]
    assert held["incident"] == node.incident and [one for one in held["differences"] if one["pcr"] == 4], held


if __name__ == "__main__":
    main(Setup)
