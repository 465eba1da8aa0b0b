#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operator's command: the fleet that init makes, every verb against the three real services, and its exit codes."""

import os
import re
import secrets
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cases import expect, main, refused
from lab import Lab
from node import PARTIES, Node, enrolled
from services import BUILD
from softtpm import SoftTpm
from test_payload import receive

DONE, FAILED, USAGE, REFUSED, UNREACHED, BEHIND = range(6)


def ok(said):
    assert said.code == DONE, said
    return said


def node_in(lab, group="default", kinds=("volumes",)):
    return enrolled(lab, kinds, group, SoftTpm(lab.test_ca))


def new_group(lab):
    name = f"g{secrets.token_hex(4)}"
    ok(lab.ctl("group", "set", name))
    return name


def held(node):
    node.reboot()
    for party in PARTIES:
        refused("pending-policy", node.ask, "boot", order=(party,))
    return node


def states(lab, node):
    return [getattr(lab, party).get(node.path()).json["state"] for party in PARTIES]


def test_init(lab):
    wide = [path for path in lab.directory.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in lab.directory.rglob("*"):
        if path.is_file() and (path.suffix in (".key", ".master", ".db") or b"PRIVATE KEY" in path.read_bytes()):
            assert path not in wide, path
    before = {path: path.read_bytes() for path in lab.directory.rglob("*.pem")}
    again = lab.ctl("init", "--dir", lab.directory, "--lab")
    assert again.code == FAILED and before == {path: path.read_bytes() for path in lab.directory.rglob("*.pem")}, again
    masters = {(lab.directory / role / f"{role}.master").read_bytes() for role in ("registrar", *PARTIES)}
    assert len(masters) == 3
    assert lab.ctl("init").code == USAGE and lab.ctl("init", "--dir", lab.home / "x").code == USAGE
    assert not (lab.home / "x").exists()
    failed = lab.ctl("init", "--dir", lab.home / "no" / "such" / "x", "--lab")
    assert failed.code == FAILED and not (lab.home / "no").exists(), failed


def test_init_without_a_certificate_to_trust(lab):
    """A fleet that would accept no TPM is not made, and nothing is left of it."""
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(f"{directory}/empty")
        for roots, words in (("empty", "no certificates are in it"), ("nowhere", "No such file")):
            done = subprocess.run([BUILD / "tallyctl", "init", "--lab", "--dir", f"{directory}/fleet", "--ek-roots",
                                   f"{directory}/{roots}"],
                                  capture_output=True, text=True, check=False)
            assert done.returncode == 1 and f"--ek-roots {directory}/{roots}: " in done.stderr and words in done.stderr, done
            assert os.listdir(directory) == ["empty"], os.listdir(directory)


def test_usage(lab):
    for words in ((), ("nonsense",), ("node",), ("node", "nonsense"), ("node", "show"), ("node", "list", "extra"),
                  ("node", "list", "--colour"),
                  ("policy", "set", "default"), ("payload", "set", "x"), ("join-token", "create", "--expires", "soon"),
                  ("group", "set", "default", "--gate", "7"), ("group", "set", "../x"), ("log", "--limit", "x")):
        said = lab.ctl(*words)
        assert said.code in (USAGE, REFUSED) and (said.err or "Exit status" in said.out or "VERB ..." in said.out), (words, said)
    for words in (("--help",), ("node", "--help"), ("--version",)):
        assert ok(lab.ctl(*words)).out
    assert lab.ctl("health", config=lab.home / "none").code in (FAILED, USAGE)


def test_health(lab):
    assert ok(lab.ctl("health")).out.count("ok") >= 3
    lab.verifier.stop()
    said = lab.ctl("health")
    assert said.code != DONE and "verifier" in said.out + said.err, said
    lab.verifier.start()


def test_first_node(lab):
    """The whole of it by the operator's command: approve, capture, list, show, log."""
    group = new_group(lab)
    node = Node(lab, SoftTpm(lab.test_ca))
    expect(node.register(), 201)
    for party in PARTIES:
        refused("pending-approval", node.ask, "enroll", {"keys": []}, order=(party,))
    assert "pending" in ok(lab.ctl("node", "list", "--state", "pending")).out
    said = ok(lab.ctl("node", "approve", node.code, "--group", group))
    assert states(lab, node) == ["approved"] * 2, said
    [key] = node.enroll()
    node.confirm(key)
    held(node)
    shown = ok(lab.ctl("node", "show", node.id[:10])).out
    assert "certified by its maker" in shown, shown
    assert node.incident in shown and "pending-policy" in shown, shown
    said = ok(lab.ctl("node", "approve", "--capture", "--name", "first", node.id))
    node.unlock()
    assert "[set first]" in ok(lab.ctl("policy", "show", group)).out
    listed = ok(lab.ctl("--json", "node", "list", "--group", group)).json
    assert node.id in str(listed), listed
    shown = ok(lab.ctl("--json", "node", "show", node.id)).json
    assert shown["tenant"]["keys"][0]["id"] == key and shown["verifier"]["state"] == "approved", shown
    text = ok(lab.ctl("log", "--incident", node.incident)).out
    assert text.count("release") == 2 and text.count("pending-policy") == 2, text
    assert node.id[:10] in ok(lab.ctl("log", "--node", node.id)).out
    assert "No server has a record of this incident" in ok(lab.ctl("log", "--incident", "0123456789abcdef")).err


def test_capture_alone(lab):
    group = new_group(lab)
    node = held(node_in(lab, group))
    ok(lab.ctl("policy", "capture", node.code, "--name", "second"))
    node.unlock()


def test_capture_of_two_different_boots(lab):
    """The parties hold different evidence: nothing is captured half."""
    group = new_group(lab)
    node = node_in(lab, group)
    node.reboot([(4, b"one")])
    refused("pending-policy", node.ask, "boot", order=("tenant",))
    node.reboot([(4, b"two")])
    refused("pending-policy", node.ask, "boot", order=("verifier",))
    said = lab.ctl("node", "approve", "--capture", node.id)
    assert said.code != DONE and said.err, said
    for party in lab.parties:
        assert party.get(f"/v1/groups/{group}/policy").json["version"] == 0, said


def test_states(lab):
    node = node_in(lab, new_group(lab))
    for verb, state in (("suspend", "suspended"), ("resume", "approved"), ("revoke", "revoked")):
        ok(lab.ctl("node", verb, node.id, *(["--reason", "a \x1b[31mred\n reason"] if verb != "resume" else [])))
        assert states(lab, node) == [state] * 2
    assert lab.registrar.get(node.path()).json["state"] == "revoked"
    text = ok(lab.ctl("log", "--node", node.id)).out
    assert "\x1b" not in text and "reason" in text, repr(text)
    ok(lab.ctl("node", "delete", node.id))
    for one in lab.services:
        expect(one.get(node.path()), 404, "unknown-node")
    assert lab.ctl("node", "show", node.id).code == REFUSED


def test_accept_reset_and_rotate(lab):
    group = new_group(lab)
    node = held(node_in(lab, group))
    ok(lab.ctl("policy", "capture", node.id))
    node.unlock()
    node.tpm.reset_count = 0
    node.boot()
    for party in PARTIES:
        refused("rolled-back", node.ask, "boot", order=(party,))
    ok(lab.ctl("node", "accept-reset", node.id))
    node.boot()
    node.unlock()
    ok(lab.ctl("node", "rotate", node.id))
    assert node.unlock()["tenant"][1]["rotate"]


def test_one_has_not_followed(lab):
    """Its own exit code; and the same command again finishes it."""
    node = node_in(lab, new_group(lab))
    lab.verifier.stop()
    said = lab.ctl("node", "suspend", node.id)
    assert said.code == BEHIND and "verifier" in said.out + said.err, said
    assert lab.tenant.get(node.path()).json["state"] == "suspended"
    listed = lab.ctl("node", "list")
    assert "?" in listed.out, listed
    lab.verifier.start()
    assert states(lab, node) == ["suspended", "approved"]
    ok(lab.ctl("node", "suspend", node.id))
    assert states(lab, node) == ["suspended"] * 2


def test_join_token_behind(lab):
    """A token that one party has not heard of is no token: it is not printed as if it were good."""
    lab.tenant.stop()
    said = lab.ctl("join-token", "create")
    assert said.code in (BEHIND, UNREACHED) and said.err, said
    lab.tenant.start()


def test_unreached_and_refused(lab):
    config = lab.home / "other.conf"
    text = (lab.directory / "operator" / "tallyctl.conf").read_text()
    text = re.sub(r"^(ca|certificate|key) = ", rf"\1 = {lab.directory}/operator/", text, flags=re.M)
    config.write_text(re.sub(r":\d+$", ":1", text, flags=re.M))
    assert lab.ctl("node", "list", config=config).code == UNREACHED
    tenant = lab.directory / "tenant"
    config.write_text(text.replace(f"{lab.directory}/operator/operator.pem", str(tenant / "tenant.pem"))
                      .replace(f"{lab.directory}/operator/operator.key", str(tenant / "tenant.key")))
    for words in (("node", "list"), ("join-token", "create"), ("group", "set", "x")):
        said = lab.ctl(*words, config=config)
        assert said.code == REFUSED and said.err, said
    config.write_text(text + "colour = red\n")
    said = lab.ctl("node", "list", config=config)
    assert said.code in (FAILED, USAGE) and "colour" in said.err, said
    wide = lab.home / "wide.key"
    wide.write_bytes((lab.directory / "operator" / "operator.key").read_bytes())
    wide.chmod(0o644)
    config.write_text(text.replace(f"{lab.directory}/operator/operator.key", str(wide)))
    assert lab.ctl("node", "list", config=config).code != DONE


def test_which_node(lab):
    said = lab.ctl("node", "show", "a" * 52)
    assert said.code == REFUSED, said
    for wrong in ("abc", "", "../../etc", "zzzz-zzzz", "a" * 53):
        assert lab.ctl("node", "suspend", wrong).code != DONE, wrong


def test_groups_and_policies(lab):
    group = new_group(lab)
    ok(lab.ctl("group", "set", group, "--bank", "sha384", "--gate", "14", "--accept-first-boot", "yes", "--ek", "ab" * 32))
    for party in lab.parties:
        shown = party.get(f"/v1/groups/{group}").json
        assert (shown["bank"], shown["gate"], shown["accept_first_boot"], shown["ek_sha256"]) == ("sha384", 14, True,
                                                                                                  ["ab" * 32]), shown
    ok(lab.ctl("group", "set", group, "--ek", "none", "--accept-first-boot", "no"))
    assert lab.tenant.get(f"/v1/groups/{group}").json["ek_sha256"] == []
    assert group in ok(lab.ctl("group", "list")).out and "sha384" in ok(lab.ctl("group", "show", group)).out
    file = lab.home / "policy"
    file.write_text("[set a]\nbank = sha384\npcr 7 = " + "cd" * 48 + "\n")
    ok(lab.ctl("policy", "set", group, file))
    assert "cd" * 48 in ok(lab.ctl("policy", "show", group)).out
    ok(lab.ctl("policy", "set", group, file))
    file.write_text("[set a]\nbank = sha384\npcr 7 = nonsense\n")
    said = lab.ctl("policy", "set", group, file)
    assert said.code != DONE and "3" in said.err, said
    assert lab.ctl("policy", "set", group, lab.home / "none").code == FAILED
    assert lab.ctl("policy", "show", "no-such-group").code == REFUSED


def test_payload(lab):
    """A directory, with nothing but a dealt key; the node opens it."""
    group = new_group(lab)
    node = node_in(lab, group, ())
    tree = lab.home / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "motd").write_bytes(b"hello")
    (tree / "large").write_bytes(secrets.token_bytes(300000))
    ok(lab.ctl("payload", "set", node.id, tree))
    held(node)
    ok(lab.ctl("policy", "capture", node.id))
    data = receive(lab, node)
    assert data.startswith(b"TBA1") and b"etc/motd" in data and b"hello" in data and (tree / "large").read_bytes() in data
    (tree / "etc" / "motd").write_bytes(b"changed")
    ok(lab.ctl("payload", "set", node.id, tree))
    node.reboot()
    assert b"changed" in receive(lab, node)
    single = lab.home / "single"
    single.write_bytes(b"one file")
    ok(lab.ctl("payload", "set", node.id, single))
    node.reboot()
    assert b"one file" in receive(lab, node)
    (tree / "link").symlink_to("/etc/shadow")
    said = lab.ctl("payload", "set", node.id, tree)
    assert said.code != DONE and "link" in said.err, said
    assert lab.ctl("payload", "set", node.id, lab.home / "none").code == FAILED


def test_json_whatever_happens(lab):
    """One value on standard output, done or not; --json is taken before the verb and behind it."""
    node, people = node_in(lab), ("--dir", lab.directory)
    for code, words in ((DONE, ("health",)), (DONE, ("node", "list")), (DONE, ("node", "show", node.id)),
                        (USAGE, ("node", "show")),
                        (REFUSED, ("node", "show", "abcd-efgh")), (REFUSED, ("node", "approve", node.id, "--capture")),
                        (USAGE, ("nonsense",)),
                        (USAGE, ("node", "nonsense")), (USAGE, ("init",)), (FAILED, ("init", "--lab", *people)),
                        (DONE, ("cert", "show", *people)),
                        (DONE, ("cert", "issue", "operator", "json", *people)),
                        (FAILED, ("cert", "issue", "operator", "json", *people)),
                        (FAILED, ("cert", "renew", *people, "--ca", "finish")), (REFUSED, ("group", "show", "none")),
                        (DONE, ("group", "list")),
                        (FAILED, ("policy", "set", "default", "/none")), (DONE, ("policy", "retire", "default")),
                        (DONE, ("log",)),
                        (USAGE, ("log", "--limit", "x")), (DONE, ("audit", "status")),
                        (DONE, ("audit", "export", "--dir", lab.home)),
                        (FAILED, ("audit", "verify", "/none")), (DONE, ("audit", "accept", "--of", "tenant")),
                        (USAGE, ("keystore", "nonsense")),
                        (FAILED, ("payload", "set", node.id, "/none")), (USAGE, ("join-token", "create", "--expires", "x")),
                        (REFUSED, ("join-token", "cancel", "0" * 16)), (USAGE, ("join-token", "cancel")),
                        (FAILED, ("keystore", "show", "--config", "/none"))):
        before, behind = lab.ctl("--json", *words), lab.ctl(*words, "--json")
        assert before.code == code or words[:2] == ("keystore", "show"), (words, before)
        for said in (before, behind):
            value = said.json
            tells = isinstance(value, list) or value.get("errors") or "error" in str(value)
            assert said.code == DONE or tells or not said.err, (words, said)
    assert isinstance(lab.ctl("cert", "show", *people, "--json").json[0]["seconds_left"], int)


def test_what_is_wrong_with_the_certificates(lab):
    """The file is named, and what to do."""
    key = lab.directory / "operator" / "operator.key"
    whole = key.read_bytes()
    try:
        key.chmod(0o644)
        assert f"chmod 0600 {key}" in lab.ctl("health").err
        key.unlink()
        assert f"{key}: No such file" in lab.ctl("health").err
        key.write_bytes((lab.directory / "tenant" / "tenant.key").read_bytes())
        key.chmod(0o600)
        assert f"{key} is not the key of " in lab.ctl("health").err
    finally:
        key.write_bytes(whole)
        key.chmod(0o600)
    node = node_in(lab)
    assert node.id in ok(lab.ctl("node", "show", node.code.upper())).out


def test_payload_of_a_group(lab):
    """All that are approved by now, and later those that came in between; who is not approved by both gets nothing."""
    group = new_group(lab)
    lab.group(group, accept_first_boot=True)
    first, second, suspended, one_sided = (node_in(lab, group, ()) for _ in range(4))
    ok(lab.ctl("node", "suspend", suspended.id))
    expect(lab.verifier.post(one_sided.path("/suspend"), {}), 200)
    file = lab.home / "of-the-group"
    file.write_bytes(b"for all of us")
    said = ok(lab.ctl("payload", "set", "--group", group, file))
    assert "2 nodes given the payload, 0 not" in said.out and said.err.count("The tenant deals") == 1, said
    for node in (first, second):
        node.reboot()
        assert b"for all of us" in receive(lab, node)
    for node in (suspended, one_sided):
        assert all(getattr(lab, party).get(node.path()).json["payload"] is None for party in PARTIES)

    late = node_in(lab, group, ())
    file.write_bytes(b"for who was late")
    given = ok(lab.ctl("--json", "payload", "set", "--group", group, "--missing", file)).json
    assert list(given) == [late.id] and given[late.id]["version"] == 1, given
    late.reboot()
    assert b"for who was late" in receive(lab, late)
    assert lab.tenant.get(first.path()).json["payload"]["version"] == 1
    assert "0 nodes given" in ok(lab.ctl("payload", "set", "--missing", "--group", group, file)).out
    for words in (("--group", group), ("--missing", first.id, file), ("--group", "../x", file),
                  ("--group", group, first.id, file)):
        assert lab.ctl("payload", "set", *words).code == USAGE, words
    lab.verifier.stop()
    assert lab.ctl("payload", "set", "--group", group, file).code == REFUSED
    lab.verifier.start()
    assert lab.tenant.get(first.path()).json["payload"]["version"] == 1


def test_json_everywhere(lab):
    """Whatever is done, --json makes it one document on standard output."""
    group = new_group(lab)
    node = held(node_in(lab, group, ("volumes", "payload")))
    policy, files, exported = lab.home / "a-policy", lab.home / "a-payload", lab.home / "exported"
    files.write_text("one file")
    store = ("--config", lab.directory / "tenant" / "tenant.conf")
    for words in (("health",), ("node", "list"), ("node", "show", node.id), ("node", "suspend", node.id),
                  ("node", "resume", node.id),
                  ("node", "approve", node.id), ("policy", "check", group, "--node", node.id), ("policy", "capture", node.id),
                  ("policy", "show", group), ("node", "rotate", node.id), ("node", "approve", node.id, "--next-boot"),
                  ("payload", "set", node.id, files), ("group", "list"), ("group", "show", group), ("group", "set", group),
                  ("join-token", "create"), ("join-token", "list"), ("log",), ("log", "--node", node.id),
                  ("audit", "export", "--dir", exported),
                  ("audit", "verify", exported / "tenant-audit.jsonl"), ("audit", "status"),
                  ("audit", "accept", "--of", "tenant"),
                  ("policy", "set", group, policy), ("policy", "apply", group, policy), ("policy", "retire", group, "--now"),
                  ("keystore", "show", *store), ("keystore", "verify", *store), ("keystore", "rewrap", *store),
                  ("keystore", "rotate-group", group, *store), ("node", "revoke", node.id), ("node", "delete", node.id),
                  ("init", "--lab", "--dir", lab.home / 'a "fleet"', "--ek-roots", lab.test_ca.roots)):
        if words[:2] == ("policy", "set"):
            policy.write_text(ok(lab.ctl("policy", "show", group)).out)
        said = lab.ctl("--json", *words)
        assert said.code in (DONE, REFUSED) and isinstance(said.json, (dict, list)), (words, said)


if __name__ == "__main__":
    main(Lab)
