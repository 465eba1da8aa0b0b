#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/operations.md says under "When something is lost": each procedure, by the operator's command, on real services and
databases."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cases import expect, main, refused
from cryptography import x509
from enrolled import EnrolledNode, opens
from lab import Lab
from node import enrolled
from services import free_port
from softtpm import SoftTpm
from test_tallyctl import DONE, FAILED, REFUSED, UNREACHED, held, new_group, ok

LIMIT = 120


class RecoveryLab(Lab):
    """Heads of the audit logs are exchanged every second and not every minute."""

    def __init__(self):
        super().__init__()
        for one in self.services:
            with open(one.directory / f"{one.role}.conf", "a") as config:
                config.write("\n[audit]\nheads-every = 1\n")
            one.restart()


def backup(service, name="backup"):
    """As documented: the database while the service runs (sqlite3's .backup is this call), and the payloads."""
    directory = service.fleet.home / f"{service.role}-{name}"
    directory.mkdir()
    with sqlite3.connect(service.database) as source, sqlite3.connect(directory / "database") as target:
        source.backup(target)
    (directory / "database").chmod(0o600)
    if (service.directory / "payload").exists():
        shutil.copytree(service.directory / "payload", directory / "payload")
    return directory


def put_back(service, directory):
    service.stop()
    for left in service.directory.glob(f"{service.role}.db*"):
        left.unlink()
    shutil.copy(directory / "database", service.database)
    if (directory / "payload").exists():
        shutil.rmtree(service.directory / "payload")
        shutil.copytree(directory / "payload", service.directory / "payload")
    service.start()


def bootable(lab):
    """A node that boots: enrolled, captured."""
    node = held(enrolled(lab, ("volumes",), new_group(lab), SoftTpm(lab.test_ca)))
    ok(lab.ctl("node", "approve", node.id, "--capture", "--name", f"n{node.id[:8]}"))
    node.unlock()
    return node


def boots(node):
    node.reboot()
    node.unlock()


def heads_are_known(lab, role):
    """Until the others have a head of this one's log with all that operators and nodes did."""
    last = max(record["seq"] for record in getattr(lab, role).audit())
    deadline = time.monotonic() + LIMIT
    for other in lab.services:
        while other.role != role and (other.role == "registrar" or role == "tenant"):
            if any(peer["role"] == role and peer["seq"] >= last for peer in other.get("/v1/audit").json["peers"]):
                break
            assert time.monotonic() < deadline, "heads are not exchanged"
            time.sleep(0.1)


def is_held(service):
    metrics = service.get("/v1/metrics").body.decode()
    assert f"tallyboot_old_database {int(status(service) == 'old-database')}" in metrics.splitlines(), metrics
    return status(service) == "old-database"


def status(service):
    return service.get("/v1/health", cert=None).json["status"]


def put_back_yesterdays(lab, role):
    """A node is revoked after the backup: what is put back does not know it, and releases nothing before an operator has said
    so."""
    service, victim, other = getattr(lab, role), bootable(lab), bootable(lab)
    service.restart()
    assert not is_held(service), "a restart alone holds it"
    boots(victim)
    directory = backup(service)
    ok(lab.ctl("node", "revoke", victim.id, "--reason", "stolen"))
    heads_are_known(lab, role)
    put_back(service, directory)

    assert is_held(service) and f"{role:9} old-database" in ok(lab.ctl("health")).out
    assert f'"tallyctl audit accept --of {role}"' in service.log_text()
    for node in (victim, other):
        node.reboot()
        refused("unavailable", node.ask, "boot", order=(role,))
    service.restart()
    assert is_held(service), "forgotten by a restart"
    assert service.get(victim.path()).json["state"] == "approved"

    ok(lab.ctl("node", "revoke", victim.id, "--reason", "stolen, before the backup was put back"))
    assert "taken by all as it is now" in ok(lab.ctl("audit", "accept", "--of", role)).out
    assert not is_held(service)
    boots(other)
    victim.reboot()
    refused("revoked", victim.ask, "boot", order=(role,))
    # what was signed before is not brought up again, and the new log is followed
    heads_are_known(lab, role)
    service.restart()
    assert not is_held(service)
    boots(other)


def test_yesterdays_tenant(lab):
    put_back_yesterdays(lab, "tenant")


def test_yesterdays_verifier(lab):
    put_back_yesterdays(lab, "verifier")


def wiped(service):
    """A dead disk: what init made is put there again from the fleet's directory, the database is gone."""
    service.stop()
    for left in service.directory.glob(f"{service.role}.db*"):
        left.unlink()
    if (service.directory / "payload").exists():
        shutil.rmtree(service.directory / "payload")
        (service.directory / "payload").mkdir(mode=0o700)
    service.start()


def policy_of(lab, party, group):
    """Its file, as `policy show` prints it."""
    path = lab.home / f"{group}.policy"
    path.write_text(lab.ctl("--json", "policy", "show", group).json[party]["text"])  # the other has none: exit status 5
    return path


def unlock_test(node, image):
    """A reboot, and what its initramfs does."""
    node.reset()
    return node.run("unlock", "--test", "--device", image)


def lost_without_a_backup(lab, role):
    """Nothing opens with a half; persons get in; then groups, policies, revocations are said again and each node enrolls
    again."""
    group, other = new_group(lab), next(one.role for one in lab.parties if one.role != role)
    victim = enrolled(lab, ("volumes",), group, SoftTpm(lab.test_ca))
    ok(lab.ctl("node", "revoke", victim.id, "--reason", "stolen"))
    with EnrolledNode(lab) as node:
        image = node.image()
        assert node.enroll(image, "--recovery-key", "no", "--join-token-file", node.join_token_file(group=group)).code == 0
        mine = node.node_id()
        assert unlock_test(node, image).code == 8
        ok(lab.ctl("node", "approve", mine, "--capture"))
        assert unlock_test(node, image).code == 0

        wiped(getattr(lab, role))
        assert ok(lab.ctl("audit", "accept", "--of", role))
        assert not is_held(getattr(lab, role))
        said = unlock_test(node, image)
        assert said.code == 3 and f"{role}: " in said.errors and "unknown-node" in said.errors, said
        assert opens(image), "the passphrase opens it"

        ok(lab.ctl("group", "set", group))
        ok(lab.ctl("policy", "set", group, policy_of(lab, other, group)))
        said = lab.ctl("node", "revoke", victim.id, "--reason", "stolen")
        assert said.code == DONE and f"The {role} does not know this node and has nothing to give it" in said.err, said
        said = node.enroll("--again", image, "--recovery-key", "no", "--no-wait")
        assert said.code == 8, said
        ok(lab.ctl("node", "approve", mine, "--group", group))
        assert node.enroll("--again", image, "--recovery-key", "no", "--no-wait").code == 0
        said = unlock_test(node, image)
        assert said.code == 0, said
    victim.reboot()
    refused("unknown-node", victim.challenge, role, "boot")
    assert getattr(lab, other).get(victim.path()).json["state"] == "revoked"


def test_lost_verifier(lab):
    lost_without_a_backup(lab, "verifier")


def test_lost_tenant(lab):
    lost_without_a_backup(lab, "tenant")


def test_lost_registrar(lab):
    """Boots do not need it; who is known stays known to the parties; new ones register with the new one."""
    node, gone = bootable(lab), bootable(lab)
    wiped(lab.registrar)
    ok(lab.ctl("audit", "accept", "--of", "registrar"))
    boots(node)
    assert node.code in ok(lab.ctl("node", "list")).out
    said = lab.ctl("node", "show", node.code)
    assert f"code {node.code}, EK {node.ek_digest}" in said.out, said
    said = ok(lab.ctl("node", "revoke", gone.code))
    assert "The registrar does not know this node" in said.err, said
    expect(node.register(), 201)
    ok(lab.ctl("node", "show", node.code))
    bootable(lab)


def test_moved(lab):
    """Another machine: its two directories, and where others have its address. The certificate is good for the name."""
    node, service, port = bootable(lab), lab.verifier, free_port()
    service.stop()
    kept = lab.home / "new-machine"
    shutil.copytree(service.directory, kept, ignore=shutil.ignore_patterns("notify"))
    shutil.rmtree(service.directory)
    kept.rename(service.directory)
    for path in (service.directory / "verifier.conf", lab.tenant.directory / "tenant.conf",
                 lab.directory / "operator" / "tallyctl.conf"):
        path.write_text(path.read_text().replace(f"127.0.0.1:{service.port}", f"127.0.0.1:{port}"))
    service.port = port
    service.start()
    lab.tenant.restart()
    assert not is_held(service) and not is_held(lab.tenant)
    ok(lab.ctl("health"))
    boots(node)
    heads_are_known(lab, "tenant")


def operator(lab, name):
    """A configuration for one more operator, of what `cert issue` made."""
    ok(lab.ctl("cert", "issue", "operator", name, "--dir", lab.directory))
    path = lab.directory / "operator" / f"{name}.conf"
    text = (lab.directory / "operator" / "tallyctl.conf").read_text()
    path.write_text(text.replace("operator.pem", f"../people/{name}.pem").replace("operator.key", f"../people/{name}.key"))
    return path


def reload(lab, text):
    for one in lab.services:
        (one.directory / "refused").write_text(text)
        said = subprocess.run([*one.command(), "--check"], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said
        seen, end = one.log_text().count("certificates were read anew"), time.monotonic() + LIMIT
        one.process.send_signal(signal.SIGHUP)
        while one.log_text().count("certificates were read anew") == seen:    # names come right after, before the next request
            assert time.monotonic() < end, one.log_text()[-500:]
            time.sleep(0.05)


def until(lab, code, config=None):
    deadline = time.monotonic() + LIMIT
    while (said := lab.ctl("node", "list", config=config)).code != code:
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said


def test_stolen_operator_key(lab):
    """His certificate is good for years: a line and a reload at each service, and it is nobody's."""
    bob, node = operator(lab, "bob"), bootable(lab)
    reload(lab, "operator:operator  # laptop stolen on the train\n")
    said = until(lab, REFUSED)
    assert said.err.count("Certificates of this name are refused here (client-refuse).") == 3, said
    for words in (("node", "suspend", node.id), ("group", "set", "thiefs"), ("audit", "status"), ("policy", "show", "default")):
        assert lab.ctl(*words).code == REFUSED, words
    assert "bob" in ok(lab.ctl("node", "suspend", node.id, config=bob)).out + ok(lab.ctl("log", "--node", node.id,
                                                                                         config=bob)).out
    ok(lab.ctl("node", "resume", node.id, config=bob))
    boots(node)
    for one in lab.services:  # read at the start, too
        one.restart()
    until(lab, REFUSED)
    reload(lab, "")
    until(lab, DONE)


def test_a_name_that_is_mistyped(lab):
    """--check says it, and a reload leaves what was there."""
    reload(lab, "operator:nobody\n")
    for one in lab.services:
        (one.directory / "refused").write_text("# tonight\noperator\n")
        said = subprocess.run([*one.command(), "--check"], capture_output=True, text=True, check=False)
        assert said.returncode == 2 and "/refused: line 2: wanted operator:NAME" in said.stderr, said
    reload(lab, "")


def take_over_certificates(lab):
    for one in lab.services:
        one.process.send_signal(signal.SIGHUP)
    until(lab, DONE)


def signer(lab, service):
    """Which CA signed the certificate that it shows."""
    path = lab.directory / service.role / f"{service.role}.pem"
    return x509.load_pem_x509_certificate(path.read_bytes()).issuer


def test_lost_ca(lab):
    """Its key is gone: a new one is trusted beside it, then signs. An interrupted run is gone on with."""
    renew = ("cert", "renew", "--dir", lab.directory)
    key, node = lab.directory / "ca" / "ca.key", bootable(lab)
    ok(lab.ctl("cert", "issue", "monitor", "watch", "--dir", lab.directory))
    lost, before = key.read_bytes(), signer(lab, lab.tenant)
    trusted = (lab.tenant.directory / "ca.pem").read_bytes()
    shutil.rmtree(key.parent)  # all of it, and the certificate is any server's ca.pem
    key.parent.mkdir(mode=0o700)
    (key.parent / "ca.pem").write_bytes(trusted)
    said = lab.ctl(*renew)
    assert said.code == FAILED and f"{key}: No such file" in said.err and "--ca begin" in said.err, said

    ok(lab.ctl(*renew, "--ca", "begin"))
    shutil.copyfile(lab.directory / "ca" / "ca.pem", lab.directory / "node" / "ca.pem")  # interrupted before it was written
    ok(lab.ctl(*renew, "--ca", "begin"))
    assert (lab.directory / "node" / "ca.pem").read_bytes().count(b"BEGIN CERTIFICATE") == 2
    take_over_certificates(lab)
    ok(lab.ctl(*renew, "--ca", "finish"))
    take_over_certificates(lab)
    assert signer(lab, lab.tenant) != before
    boots(node)
    assert lab.tenant.get("/v1/metrics", cert=(lab.directory / "people" / "watch.pem",
                                               lab.directory / "people" / "watch.key")).status == 200
    shown = ok(lab.ctl("cert", "show", "--dir", lab.directory)).out
    assert "people/watch.pem" in shown and "EXPIRED" not in shown, shown
    assert lost != key.read_bytes()


def test_stolen_ca(lab):
    """As above, and then the old one is dropped: what it signed is nobody's."""
    renew = ("cert", "renew", "--dir", lab.directory)
    thief = operator(lab, "thief")  # signed by the CA of before
    stolen = [(lab.directory / "people" / f"thief.{end}").read_bytes() for end in ("pem", "key")]
    for step in ("begin", "finish", "drop"):
        ok(lab.ctl(*renew, "--ca", step))
        take_over_certificates(lab)
        for end, data in zip(("pem", "key"), stolen):
            (lab.directory / "people" / f"thief.{end}").write_bytes(data)
        if step != "drop":
            ok(lab.ctl("node", "list", config=thief))
    until(lab, UNREACHED, config=thief)
    (lab.directory / "people" / "thief.pem").unlink()
    assert lab.ctl(*renew, "--ca", "finish").code == FAILED
    boots(bootable(lab))


if __name__ == "__main__":
    main(RecoveryLab)
