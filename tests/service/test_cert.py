#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyctl cert: new certificates and a new CA cut nobody off, whatever is done in between, and wherever it is cut."""

import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main, refused, skip
from lab import Lab
from node import PARTIES, Node, enrolled
from services import BUILD
from softtpm import SoftTpm

DONE, FAILED, USAGE = range(3)
LEAVES = ("registrar/registrar", "tenant/tenant", "verifier/verifier", "operator/operator", "people/ann")


def ok(said):
    assert said.code == DONE, said
    return said


def test_cert_issue(lab):
    """One more operator, whom the audit log names; a monitor, who may read the metrics; a name that is there is not replaced
    unasked."""
    for words in (("operator", "ann", "--dir", lab.directory), ("monitor", "watch", "--dir", lab.directory)):
        ok(lab.ctl("cert", "issue", *words))
        again = lab.ctl("cert", "issue", *words)
        assert again.code == FAILED and "--again replaces it" in again.err, again
    ok(lab.ctl("cert", "issue", *words, "--again"))
    for words in (("root", "x"), ("operator", "../x"), ("operator", ""), ("operator",), ("operator", "service"), ("monitor", "tenant")):
        assert lab.ctl("cert", "issue", *words, "--dir", lab.directory).code == USAGE, words
    people = lab.directory / "people"
    ann, watch = ((people / f"{name}.pem", people / f"{name}.key") for name in ("ann", "watch"))
    tenant = next(one for one in lab.services if one.role == "tenant")
    expect(tenant.get("/v1/metrics", cert=watch), 200)
    expect(tenant.get("/v1/nodes", cert=watch), 403, "unauthorized")
    expect(tenant.put("/v1/groups/of-ann", {}, cert=ann), 200)
    assert any(record["who"] == "ann" for record in expect(tenant.get("/v1/log", cert=ann), 200).json["records"])


def reaches(lab, image):
    """Whether a node with that ca.pem in its initramfs comes through to the services, as libcurl sees it."""
    return [subprocess.run(["curl", "-sf", "-o", "/dev/null", "--cacert", image, f"https://127.0.0.1:{one.port}/v1/health"],
                           check=False).returncode == 0 for one in lab.services]


def all_is_well(lab, node, person, step):
    """Operator, services among each other, a node that boots and one that is new, one more operator with the certificate that he
    has."""
    assert ok(lab.ctl("health")), step
    node.unlock()
    assert lab.ctl("node", "show", node.id).code == DONE, step
    fresh = Node(lab, SoftTpm(lab.test_ca))    # tenant and verifier read the registrar with their certificates
    expect(fresh.register(), 201)
    for party in PARTIES:
        refused("pending-approval", fresh.ask, "enroll", {"keys": []}, order=(party,))
    expect(lab.tenant.get("/v1/groups", cert=person), 200)


def reload(service):
    seen = service.log_text().count("were read anew")
    service.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 120
    while service.log_text().count("were read anew") == seen:
        assert time.monotonic() < deadline, service.log_text()[-500:]
        time.sleep(0.05)


def kept(lab, what, name):
    """A copy of what was handed out."""
    copies = [lab.home / f"{name}-{path.name}" for path in what]
    for path, copy in zip(what, copies):
        shutil.copy(path, copy)
    return tuple(copies) if len(copies) > 1 else copies[0]


def test_renew(lab):
    """New certificates, then a new CA in two steps, each service reloading when it comes to it: nobody is cut off at any
    instant."""
    node = enrolled(lab, ("volumes",), "default", SoftTpm(lab.test_ca))
    expect(lab.tenant.put("/v1/groups/default", {"accept_first_boot": True}), 200)
    expect(lab.verifier.put("/v1/groups/default", {"accept_first_boot": True}), 200)
    if not (lab.directory / "people" / "ann.pem").exists():
        ok(lab.ctl("cert", "issue", "operator", "ann", "--dir", lab.directory))
    ann = tuple(lab.directory / "people" / f"ann.{kind}" for kind in ("pem", "key"))
    image, person = kept(lab, [lab.directory / "node" / "ca.pem"], "first"), kept(lab, ann, "first")
    shown = ok(lab.ctl("cert", "show", "--dir", lab.directory)).out
    assert "days" in shown and "people/ann.pem" in shown and "ca/ca.pem" in shown, shown
    found = ok(lab.ctl("--json", "cert", "show", "--dir", lab.directory)).json
    assert len(found) >= 6 and all(one["seconds_left"] > 0 for one in found), found

    for step in ((), ("--ca", "begin"), ("--ca", "finish")):
        ok(lab.ctl("cert", "renew", "--dir", lab.directory, *step))
        all_is_well(lab, node, person, step)
        for one in lab.services:
            reload(one)
            if step or one == lab.services[-1]:
                all_is_well(lab, node, person, (step, one.role))
        if step == ("--ca", "finish"):
            assert reaches(lab, image) == [False] * 3    # it was never given the new one
        else:
            assert reaches(lab, image) == [True] * 3, step
        if step == ("--ca", "begin"):
            between = kept(lab, [lab.directory / "node" / "ca.pem"], "between")
            assert "ca/next.pem" in ok(lab.ctl("cert", "show", "--dir", lab.directory)).out
        expect(lab.tenant.get("/v1/groups", cert=ann), 200)
    assert reaches(lab, between) == [True] * 3
    assert ok(lab.ctl("--json", "cert", "renew", "--dir", lab.directory)).json[0].endswith("registrar/registrar.pem")


def fleet(lab, name):
    directory = lab.home / name
    ok(lab.ctl("init", "--dir", directory, "--lab", "--ek-roots", lab.test_ca.roots))
    ok(lab.ctl("cert", "issue", "operator", "ann", "--dir", directory))
    return directory


def verifies(directory, ca, certificate, key):
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, check=True).stdout
    assert public == subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True,
                                    check=True).stdout, key
    subprocess.run(["openssl", "verify", "-CAfile", ca, certificate], stdout=subprocess.DEVNULL, check=True)


def test_begin_that_failed_is_begun_again(lab):
    """Else finish would have the servers show certificates of a CA that the nodes were never given."""
    directory = fleet(lab, "begun")
    trusted = directory / "node" / "ca.pem"
    first = trusted.read_bytes()
    assert lab.ctl("cert", "renew", "--dir", directory, "--ca", "finish").code == FAILED
    trusted.unlink()
    trusted.mkdir()
    said = lab.ctl("cert", "renew", "--dir", directory, "--ca", "begin")
    assert said.code == FAILED and "node/ca.pem" in said.err, said
    trusted.rmdir()
    trusted.write_bytes(first)
    leaf = (directory / "tenant" / "tenant.pem").read_bytes()
    said = lab.ctl("cert", "renew", "--dir", directory, "--ca", "finish")
    assert said.code == FAILED and "node/ca.pem does not have the new CA" in said.err and "--ca begin" in said.err, said
    assert (directory / "tenant" / "tenant.pem").read_bytes() == leaf and (directory / "ca" / "ca.pem").read_bytes() == first
    following = (directory / "ca" / "next.pem").read_bytes()
    for _ in range(2):
        ok(lab.ctl("cert", "renew", "--dir", directory, "--ca", "begin"))
        assert trusted.read_bytes() == first + following == (directory / "verifier" / "ca.pem").read_bytes()


def test_finish_that_was_cut_is_finished(lab):
    """Killed at each change of a file's name: run again it ends as if nothing had been, and the old CA's key is not lost."""
    if not shutil.which("strace"):
        skip("no strace")
    begun = fleet(lab, "to-finish")
    first, first_key = ((begun / "ca" / f"ca.{kind}").read_bytes() for kind in ("pem", "key"))
    ok(lab.ctl("cert", "renew", "--dir", begun, "--ca", "begin"))
    following = (begun / "ca" / "next.pem").read_bytes()
    number, directory = 0, lab.home / "cut"
    while number < 60:
        number += 1 if number < 8 else 3    # the CA's own files come first
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(begun, directory)
        calls = "rename,renameat,renameat2,unlink,unlinkat"
        cut = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
                              f"inject={calls}:signal=SIGKILL:when={number}",
                              BUILD / "tallyctl", "cert", "renew", "--dir", directory, "--ca", "finish"],
                             stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
                             check=False).returncode != 0
        if cut and (directory / "ca" / "next.pem").exists():
            ok(lab.ctl("cert", "renew", "--dir", directory, "--ca", "finish"))
        ca = directory / "ca"
        assert (ca / "ca.pem").read_bytes() == following and (ca / "old.pem").read_bytes() == first, number
        assert (ca / "old.key").read_bytes() == first_key and not (ca / "next.pem").exists(), number
        assert not (ca / "next.key").exists(), number
        verifies(directory, ca / "ca.pem", ca / "ca.pem", ca / "ca.key")
        for leaf in LEAVES:
            verifies(directory, ca / "ca.pem", directory / f"{leaf}.pem", directory / f"{leaf}.key")
        if not cut:
            break
    assert 10 < number < 60, number


if __name__ == "__main__":
    main(Lab)
