#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyboot unlock --test: the node's own program against real services, a software TPM, LUKS2 files. Whatever goes wrong: the
documented exit code, one line that says what and what to do, and the next try works."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, skip
from node import PARTIES
from swtpm import Swtpm
from unlocking import EXIT, PASSPHRASE, Done, Unlocking, check, make_volume


def works_again(lab):
    lab.power_on()
    check(lab.unlock(), "ok")


def test_both_halves_open_every_volume(lab):
    lab.power_on()
    done = check(lab.unlock(), "ok", "root would open with generation 1, keyslot 1", "data would open with generation 1")
    check(lab.run("gate", "status"), "ok", "^closed$")
    assert not (lab.run_dir / "gate-closed").exists()  # the gate's own unit leaves that
    assert (lab.run_dir / "tpm-seen").exists()
    assert "warning" not in done.text


def test_a_second_time_in_one_boot_is_refused(lab):
    lab.power_on()
    check(lab.unlock(), "ok")
    check(lab.unlock(), "refused", "gate-closed", "incident [0-9a-f]{16}")
    works_again(lab)


def test_invariant_7_the_gate_is_closed_once_and_for_all(lab):
    lab.power_on()
    done = lab.run("gate", "status")
    assert done.status == 1 and done.text == "open\n", done
    check(lab.run("gate", "close"), "ok")
    check(lab.run("gate", "status"), "ok", "^closed$")
    before = lab.node.swtpm.tool("pcrread", "sha256:15")
    note = (lab.run_dir / "gate-closed").stat()
    check(lab.run("gate", "close"), "ok")
    assert (lab.run_dir / "gate-closed").stat().st_ino == note.st_ino  # not written again
    assert lab.node.swtpm.tool("pcrread", "sha256:15") == before
    for bank in ("sha1", "sha256", "sha384"):
        assert not re.search(r"0x0+$", lab.node.swtpm.tool("pcrread", f"{bank}:15").strip()), bank
    check(lab.unlock(), "refused", "gate-closed")


def test_without_a_tpm_that_ever_answered_the_gate_lets_go(lab):
    lab.power_on()
    check(lab.run("gate", "close", tpm="device:/nowhere/tpm", tpm_timeout="0"), "ok")
    assert "no TPM answered" in (lab.run_dir / "gate-closed").read_text()


def test_invariant_7_a_tpm_that_answered_and_is_gone_stops(lab):
    lab.power_on()
    (lab.run_dir / "tpm-seen").write_text("")
    check(lab.run("gate", "close", tpm="device:/nowhere/tpm", tpm_timeout="0"), "tpm", "the boot must not go on",
          "tallyboot.gate=ignore")
    assert not (lab.run_dir / "gate-closed").exists()


def test_no_tpm(lab):
    lab.power_on()
    check(lab.unlock(tpm="device:/nowhere/tpm", tpm_timeout="0"), "tpm", "no TPM appeared", "incident [0-9a-f]{16}")
    works_again(lab)


def test_invariant_10_a_party_that_is_not_there(lab):
    for party in (lab.fleet.tenant, lab.fleet.verifier):
        lab.power_on()
        party.kill()
        try:
            check(lab.unlock(), "unreachable", f"{party.role}: ", "incident [0-9a-f]{16}")
        finally:
            party.start()
    works_again(lab)


def test_without_libcurl_nothing_is_reached(lab):
    """It is loaded when a server is to be asked; an image without it ends where one ends whose servers are down."""
    lab.power_on()
    (lab.directory / "libcurl.so.4").write_text("not a library\n")
    path = lab.node.volumes[0][0]
    done = Done(subprocess.run(["env", f"LD_LIBRARY_PATH={lab.directory}", *lab.command("unlock", "--test", "--device", path)],
                               text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240,
                               check=False))
    check(done, "unreachable", "no server can be asked: .*libcurl.so.4: .*install libcurl", "incident [0-9a-f]{16}")
    works_again(lab)


def test_the_second_address_counts(lab):
    lab.power_on()
    check(lab.unlock(tenant=f"https://127.0.0.1:1 {lab.fleet.tenant.url}"), "ok")


def test_a_ca_file_that_is_missing(lab):
    lab.power_on()
    check(lab.unlock(ca="/nowhere/ca.pem"), "config", "/nowhere/ca.pem")


def test_mixed_up_addresses(lab):
    lab.power_on()
    done = lab.unlock(tenant=lab.fleet.verifier.url, verifier=lab.fleet.tenant.url)
    assert done.status not in (EXIT["ok"], EXIT["tpm"], 130), done
    works_again(lab)


def test_an_unknown_node(lab):
    with Swtpm(lab.fleet.test_ca) as other:
        check(lab.unlock(tpm=other.tcti), "refused", "unknown-node", "tallyboot enroll")


def test_suspended_at_one_party_is_refused(lab):
    for party in PARTIES:
        lab.power_on()
        answer = lab.fleet.__dict__[party].post(lab.node.path("/suspend"), {"reason": "test"})
        assert answer.status == 200, answer
        check(lab.unlock(), "refused", f"{party}: .*suspended", "incident [0-9a-f]{16}")
        assert lab.fleet.__dict__[party].post(lab.node.path("/resume"), {}).status == 200
    works_again(lab)


def test_a_changed_measurement_is_refused(lab):
    lab.power_on()
    lab.node.swtpm.tool("pcrextend", "4:sha256=" + "11" * 32)
    done = lab.unlock()
    assert done.status in (EXIT["refused"], EXIT["pending"]), done
    assert re.search("policy-refused|pending-policy", done.text), done
    works_again(lab)


def test_the_incident_is_in_the_parties_logs(lab):
    lab.power_on()
    lab.node.swtpm.tool("pcrextend", "4:sha256=" + "22" * 32)
    incident = re.search("incident ([0-9a-f]{16})", lab.unlock().text)[1]
    for party in PARTIES:
        assert any(one["incident"] == incident for one in lab.fleet.__dict__[party].audit()), party


def test_the_gates_must_be_the_same(lab):
    lab.power_on()
    done = lab.unlock(gate_pcr="14")
    assert done.status == EXIT["failed"], done
    assert "gate PCR 15, tallyboot.conf says 14" in done.text, done


def test_configuration_mistakes(lab):
    lab.power_on()
    check(lab.unlock(gate_prc="15"), "config", "unknown key", r"tallyboot.conf: \d+:")
    check(lab.unlock(tenant=None), "config", "needs tenant")
    check(lab.unlock(gate_pcr="16"), "config", "8 to 15")
    missing = Done(subprocess.run([lab.command("status")[0], "--config", "/nowhere/conf", "gate", "status"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False))
    check(missing, "config", "not configured")


def test_the_command_line(lab):
    lab.power_on()
    check(lab.run("unlokc"), "usage", "no verb")
    check(lab.run("unlock", "--device", "/x"), "usage")
    check(lab.run("unlock", "--test", "--nonsense"), "usage")
    check(lab.run("gate"), "usage")
    check(lab.run("unlock", "--help"), "ok", "--test", "--device")
    check(lab.run("--help"), "ok", "Exit codes", "doctor")


def test_a_volume_that_is_not_in_the_manifest(lab):
    lab.power_on()
    other = make_volume(lab.directory / "other.img")
    check(lab.unlock(other), "volume", "not in any manifest")


def test_what_is_no_luks2_volume(lab):
    plain = lab.directory / "plain.img"
    plain.write_bytes(os.urandom(1 << 20))
    luks1 = make_volume(lab.directory / "luks1.img", "--type", "luks1", "--pbkdf-force-iterations", "1000")
    for path, words in ((str(plain), "no LUKS2 header"), (luks1, "no LUKS2 header"), ("/nowhere/disk", "No such file"),
                        ("/etc", "irectory|no LUKS2 header"), ("/dev/null", "no LUKS2 header")):
        lab.power_on()
        check(lab.unlock(path), "volume", f"{re.escape(path)}: .*({words})")
    works_again(lab)


def changed_copy(lab, change):
    """The root volume with its header changed."""
    path = lab.directory / "changed.img"
    data = bytearray(pathlib.Path(lab.node.volumes[0][0]).read_bytes())
    change(data)
    path.write_bytes(data)
    return str(path)


def test_a_damaged_header(lab):
    def damage(data):
        data[0:6] = data[0x4000:0x4006] = b"\0" * 6
    lab.power_on()
    check(lab.unlock(changed_copy(lab, damage)), "volume", "LUKS")


def test_a_damaged_keyslot_area_is_not_what_the_manifest_says(lab):
    metadata = subprocess.run(["cryptsetup", "luksDump", "--dump-json-metadata", lab.node.volumes[0][0]], check=True,
                              stdout=subprocess.PIPE).stdout
    offset = int(json.loads(metadata)["keyslots"]["1"]["area"]["offset"])

    def damage(data):
        data[offset] ^= 1
    lab.power_on()
    check(lab.unlock(changed_copy(lab, damage)), "volume")


def test_an_attackers_volume_with_our_uuid(lab):
    uuid = subprocess.run(["cryptsetup", "luksUUID", lab.node.volumes[0][0]], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()
    fake = make_volume(lab.directory / "fake.img", "--uuid", uuid)
    lab.power_on()
    check(lab.unlock(fake), "volume", "would not open, a passphrase is needed: ")


def test_a_passphrase_added_later_changes_nothing(lab):
    path = lab.node.volumes[0][0]
    with tempfile.NamedTemporaryFile(prefix="tb-") as key:
        key.write(b"another one")
        key.flush()
        subprocess.run(["cryptsetup", "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path, key.name],
                       input=PASSPHRASE.encode(), check=True, stdout=subprocess.DEVNULL)
    works_again(lab)


def test_a_token_of_another_node_is_only_a_hint(lab):
    copy = changed_copy(lab, lambda data: None)
    dump = json.loads(subprocess.run(["cryptsetup", "luksDump", "--dump-json-metadata", copy], check=True,
                                     stdout=subprocess.PIPE).stdout)
    number = next(key for key, token in dump["tokens"].items() if token["type"] == "tallyboot")
    token = {**dump["tokens"][number], "node": "b" * 51 + "a"}
    subprocess.run(["cryptsetup", "token", "remove", "--token-id", number, copy], check=True)
    subprocess.run(["cryptsetup", "token", "import", copy], input=json.dumps(token).encode(), check=True)
    lab.power_on()
    check(lab.unlock(copy), "ok")


def test_a_dns_server_that_does_not_answer(lab):
    """It says so, and not that a server is slow; the boot waits no longer than for any other."""
    lab.power_on()
    resolver = lab.directory / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.77\noptions timeout:30\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        try:
            silent.bind(("127.0.0.77", 53))
        except PermissionError:
            skip("needs root for a port of DNS")
        names = {role: f"https://{role}.example:{party.port}" for role, party in zip(PARTIES, lab.fleet.parties)}
        mount = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolver)]
        if subprocess.run([*mount, "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
            skip("no mount in a namespace of its own")
        path = lab.node.volumes[0][0]
        done = Done(subprocess.run([*mount, *lab.command("unlock", "--test", "--device", path, connect_timeout="1", **names)],
                                   stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False))
    check(done, "unreachable", r"tenant\.example:\d+: no answer about its name in time \(1000 ms\): .*DNS",
          r"verifier\.example:.*DNS")
    works_again(lab)


def takes(pid, number):
    """It has said what it does with that signal: a handler, or a descriptor that it reads."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) & 1 << (number - 1) for mask in re.findall(r"^Sig(?:Cgt|Blk):\s*([0-9a-f]+)", status, re.M))


def test_interrupted_it_ends_at_once(lab):
    lab.power_on()
    lab.node.swtpm.freeze()
    process = subprocess.Popen(lab.command("unlock", "--test"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not takes(process.pid, signal.SIGTERM):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    lab.node.swtpm.thaw()
    assert process.wait(120) in (130, 0), process.stdout.read()
    process.stdout.close()
    works_again(lab)


def test_nothing_secret_is_readable_afterwards(lab):
    """No file of the run directory is wider than 0600, and no half or key is in one."""
    lab.power_on()
    check(lab.unlock(), "ok")
    k_b = lab.node.keys[lab.node.key_ids[0]][1]
    for path in lab.run_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            assert k_b not in path.read_bytes() and k_b.hex().encode() not in path.read_bytes(), path


def test_status_evidence_doctor(lab):
    lab.power_on()
    status = json.loads(check(lab.run("status", "--json"), "ok").text)
    assert status["configured"] and status["boot"] == "not by tallyboot", status
    evidence = json.loads(check(lab.run("evidence", "--json"), "ok").text)
    assert evidence["node"] == lab.node.id and evidence["as_asked"] and set(evidence["pcrs"]) == {"sha256"}, evidence
    assert set(evidence["pcrs"]["sha256"]["15"]) == {"0"}
    check(lab.run("evidence"), "ok", "the gate: must be zero", lab.node.id)
    check(lab.run("status"), "ok", "This boot")
    found = json.loads(lab.run("doctor", "--json").text)
    said = {(one["check"], one["level"]) for one in found}
    assert ("tenant", "ok") in said and ("verifier", "ok") in said and ("registrar", "ok") in said and ("tpm",
                                                                                                        "ok") in said, found
    assert ("gate", "warning") in said, found
    lab.fleet.verifier.kill()
    try:
        done = lab.run("doctor")
        assert done.status == 1 and re.search("problem +verifier ", done.text), done
    finally:
        lab.fleet.verifier.start()


if __name__ == "__main__":
    class Ready(Unlocking):
        def __enter__(self):
            self.volume("root")
            self.volume("data", "other")
            self.ready()
            return self

    main(Ready)
