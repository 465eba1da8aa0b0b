#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Policies by the operator's command: tried on recorded boots, predicted for a new kernel image (held against osslsigncode and
systemd-measure), old and new side by side, the way out when all that failed."""

import base64
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, refused, skip
from lab import Lab
from node import PARTIES, enrolled
from softtpm import SoftTpm

DONE, FAILED, USAGE, REFUSED = range(4)
VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors/eventlog"
STUB = pathlib.Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")


def ok(said):
    assert said.code == DONE, said
    return said


def new_group(lab):
    name = f"g{secrets.token_hex(4)}"
    ok(lab.ctl("group", "set", name))
    return name


def node_in(lab, group):
    return enrolled(lab, ("volumes",), group, SoftTpm(lab.test_ca))


def hold(node, events=(), problem="pending-policy"):
    node.reboot(events)
    for party in PARTIES:
        refused(problem, node.ask, "boot", order=(party,))
    return node


def values(name):
    lines = (VECTORS / f"{name}.pcrs").read_text().split("\n")
    return {fields[0]: fields[1].lower() for fields in map(str.split, lines) if len(fields) == 2 and int(fields[0]) < 16}


def evidence(lab, name, log=True, ima=True, **changes):
    """A recorded boot as `tallyboot evidence` writes it."""
    path = lab.home / f"{name}-{secrets.token_hex(4)}.json"
    recorded = {"bank": "sha256", "gate": 15, "pcrs": {"sha256": values(name) | changes}}
    if log:
        recorded["firmware_log"] = base64.urlsafe_b64encode((VECTORS / f"{name}.ev").read_bytes()).decode().rstrip("=")
    if ima:
        recorded["ima"] = base64.urlsafe_b64encode((VECTORS / f"{name}.ima").read_bytes()).decode().rstrip("=")
    path.write_text(json.dumps(recorded))
    return path


def policy(lab, text):
    path = lab.home / f"policy-{secrets.token_hex(4)}"
    path.write_text(text)
    return path


UKI = "3a61de5fce67d8539c52537c981fc70fa7cc2c2562066aac2a05cba904370bc2"
KERNEL = "6b1bf35c3bee9918250f593a6fff889c75c1e239cd2fe9e5bb0cd3de9dcb8e51"


def test_check_rule_by_rule(lab):
    """Without a server or a configuration; 0 where the boot is allowed, 3 where not."""
    text = f"[firmware]\nuki = {UKI}\nkernel = {KERNEL}\nadd-ons = refuse\nsecure-boot = off\n[ima]\nrequire = yes\n"
    file, boot = policy(lab, text), evidence(lab, "ovmf4m-uki")
    said = ok(lab.ctl("policy", "check", file, boot, config=lab.home / "none"))
    assert said.out.count("passed") == 6 and "This boot is allowed" in said.out, said
    assert "firmware (PCR 0)" in said.err, said

    said = lab.ctl("policy", "check", policy(lab, text.replace("off", "on").replace(KERNEL, UKI)), boot)
    assert said.code == REFUSED, said
    assert "FAILED  [firmware] secure-boot (line 5): Secure Boot was off" in said.out, said
    assert "passed  [firmware] add-ons" in said.out, said
    assert f"image 2 of PCR 4, {KERNEL}, is not on the list" in said.out and "not allowed" in said.out, said
    shown = lab.ctl("--json", "policy", "check", file, evidence(lab, "ovmf4m-uki-sb")).json
    assert not shown["allowed"] and {rule["rule"]: rule["passed"]
                                     for rule in shown["rules"]}["[firmware] secure-boot"] is False, shown


def test_check_believes_no_log(lab):
    """Logs that the values do not back, that are missing, or that are no logs: the rules on them fail."""
    file = policy(lab, "[firmware]\nsecure-boot = on\n[ima]\nrequire = yes\n")
    assert "allowed" in ok(lab.ctl("policy", "check", file, evidence(lab, "ovmf4m-uki-sb"))).out
    said = lab.ctl("policy", "check", file, evidence(lab, "ovmf4m-uki-sb", **{"7": "11" * 32}))
    assert said.code == REFUSED and "does not give the value of PCR 7" in said.out and "passed  [ima] require" in said.out, said
    said = lab.ctl("policy", "check", file, evidence(lab, "ovmf4m-uki-sb", **{"10": "11" * 32}))
    assert said.code == REFUSED and "no IMA list that the quoted PCR 10 binds" in said.out, said
    said = lab.ctl("policy", "check", file, evidence(lab, "ovmf4m-uki-sb", **{"3": "11" * 32}))
    assert said.code == REFUSED and "FAILED  [ima] boot_aggregate" in said.out, said
    bare = evidence(lab, "ovmf4m-uki-sb", log=False, ima=False)
    said = lab.ctl("policy", "check", file, bare)
    assert said.code == REFUSED and "no firmware event log" in said.out, said
    ok(lab.ctl("policy", "check", file, bare, "--log", VECTORS / "ovmf4m-uki-sb.ev", "--ima", VECTORS / "ovmf4m-uki-sb.ima"))
    said = lab.ctl("policy", "check", file, bare, "--log", VECTORS / "ovmf4m-uki-sb.ima", "--ima", VECTORS / "ovmf4m-uki-sb.ev")
    assert said.code == REFUSED and "cannot be used" in said.err, said


def test_check_other_words(lab):
    boot = evidence(lab, "ovmf4m-crb")
    empty = lab.ctl("policy", "check", policy(lab, ""), boot)
    assert empty.code == REFUSED and "allows no boot at all" in empty.err, empty
    one = policy(lab, f"[set x]\nbank = sha256\npcr 4 = {'ab' * 32}\n[release]\ntoken-evidence = yes\nnetworks = 192.0.2.0/24\n")
    said = lab.ctl("policy", "check", one, boot, "--address", "192.0.2.1")
    assert said.code == REFUSED and f"PCR 4: expected {'ab' * 32}, got {values('ovmf4m-crb')['4']}" in said.out, said
    ok(lab.ctl("policy", "check", one, "--token", "--address", "192.0.2.1"))
    assert lab.ctl("policy", "check", one, "--token", "--address", "192.0.3.1").code == REFUSED
    said = lab.ctl("policy", "check", policy(lab, "[firmware]\nsecureboot = on\n"), boot)
    assert said.code == FAILED and ':2: unknown key "secureboot"' in said.err, said
    assert lab.ctl("policy", "check", one, lab.home / "none").code == FAILED
    assert lab.ctl("policy", "check", one, one).code == FAILED
    for words in ((), (one,), (one, boot, boot), (one, boot, "--colour")):
        assert lab.ctl("policy", "check", *words).code == USAGE, words


def test_check_a_node(lab):
    """What the parties hold of a node, against a file and against the policy of a group."""
    group = new_group(lab)
    node = node_in(lab, group)
    assert lab.ctl("policy", "check", group, "--node", node.id).code == REFUSED
    hold(node, [(4, b"one")])
    said = lab.ctl("policy", "check", group, "--node", node.code)
    assert said.code == REFUSED and "allows no boot at all" in said.err, said
    said = lab.ctl("policy", "check", policy(lab, firmware_of(node) + ADDONS), "--node", node.id)
    assert said.code == DONE and "passed  [firmware] add-ons" in said.out, said
    # what everything passes that leaves add-ons out is no permission
    for text in (ADDONS, "[set x]\nbank = sha256\npcr 12 = zero\n"):
        said = lab.ctl("policy", "check", policy(lab, text), "--node", node.id)
        assert said.code == REFUSED and "not allowed" in said.out, said
        assert "says what may boot: it allows no boot at all" in said.err, said
    assert "FAILED  [set x]: zeros alone" in said.out, said
    assert lab.ctl("policy", "check", "no-such-group", "--node", node.id).code == REFUSED


ADDONS = "[firmware]\nadd-ons = refuse\n"


def firmware_of(node):
    """A set that whatever this machine boots matches."""
    return f"[set any]\nbank = sha256\npcr 0 = {node.tpm.pcrs('sha256', [0])[0].hex()}\n"


def make_uki(lab, name, cmdline, initrd, sections=()):
    """systemd's stub with its own image as the kernel: what matters is what is measured."""
    if not STUB.exists() or not shutil.which("objcopy"):
        skip("no systemd-boot-efi or binutils")
    folder = lab.home / name
    folder.mkdir()
    contents = {".osrel": b"ID=tiny\n", ".cmdline": cmdline, ".linux": STUB.read_bytes(), ".initrd": initrd, **dict(sections)}
    headers = subprocess.run(["objdump", "-h", STUB], check=True, capture_output=True, text=True).stdout
    end = max(int(size, 16) + int(address, 16) for size, address in re.findall(r"^ *\d+ \.\S+ +(\w+) +(\w+)", headers, re.M))
    options = []
    for section, content in contents.items():
        (folder / section[1:]).write_bytes(content)
        end = (end + 4095) // 4096 * 4096
        options += ["--add-section", f"{section}={folder / section[1:]}", "--change-section-vma", f"{section}={end}"]
        end += len(content)
    subprocess.run(["objcopy", *options, STUB, folder / "uki.efi"], check=True)
    return folder


def predicted(said):
    return {int(pcr): value for pcr, value in re.findall(r"^pcr (\d+) = (\w+)", ok(said).out, re.M)}


def digests(said):
    return re.search(r"uki = (\w+)", said.out).group(1), re.search(r"kernel = (\w+)", said.out).group(1)


def extended(*measured):
    value = bytes(32)
    for one in measured:
        value = hashlib.sha256(value + bytes.fromhex(one)).digest()
    return value.hex()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_predict_against_systemd_measure(lab):
    """PCR 11 with and without the phase, sections with and without what is rarely there."""
    measure = next((path for path in ("/usr/lib/systemd/systemd-measure",
                                      "/lib/systemd/systemd-measure") if os.path.exists(path)), None)
    if not measure:
        skip("no systemd-measure")
    for sections in ((), ((".splash", b"picture"), (".dtb", b"tree"))):
        folder = make_uki(lab, f"m{len(sections)}", b"root=/dev/sda ro\n\0", b"initrd" * 1001, sections)
        for phase, ours in (("enter-initrd", "enter-initrd"), (":", "none")):
            said = subprocess.run([measure, "calculate", "--bank=sha256", f"--phase={phase}",
                                   *(f"--{section}={folder / section}" for section in
                                     ("linux", "osrel", "cmdline", "initrd", *(name[1:] for name, _ in sections)))],
                                  check=True, capture_output=True, text=True).stdout
            wanted = re.search(r"11:sha256=(\w+)", said).group(1)
            said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki"), "--phase",
                           ours)
            assert predicted(said)[11] == wanted, (sections, phase, said)


def test_predict_takes_the_phase_from_before(lab):
    """Evidence of the initramfs, of a running system, with and without the unit that measures enter-initrd."""
    folder = make_uki(lab, "phases", b"quiet", b"initrd")
    before = values("ovmf4m-uki")["11"]
    wanted = {phase: predicted(lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki"),
                                       "--phase", phase))[11] for phase in ("enter-initrd", "none")}
    for words in (("enter-initrd",), ("enter-initrd", "leave-initrd", "sysinit", "ready"), (), ("sysinit", "ready")):
        value = before
        for word in words:
            value = sha(bytes.fromhex(value) + hashlib.sha256(word.encode()).digest())
        said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki", **{"11": value}))
        assert predicted(said)[11] == wanted["enter-initrd" if "enter-initrd" in words else "none"], (words, said)
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki", **{"11": "11" * 32}))
    assert said.code == FAILED and "does not give PCR 11" in said.err, said


def test_predict_against_osslsigncode(lab):
    """The digest that a signature is of is the digest that firmware measures."""
    if not shutil.which("osslsigncode"):
        skip("no osslsigncode")
    folder = make_uki(lab, "signed", b"quiet", b"initrd" * 1003)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out",
                    folder / "cert", "-subj", "/CN=x", "-days", "2"], check=True, capture_output=True)
    subprocess.run(["osslsigncode", "sign", "-h", "sha256", "-key", folder / "key", "-certs", folder / "cert", "-in",
                    folder / "uki.efi", "-out", folder / "signed.efi"], check=True, capture_output=True)
    said = subprocess.run(["osslsigncode", "verify", folder / "signed.efi"], check=False, capture_output=True, text=True).stdout
    wanted = re.search(r"Current message digest *: (\w+)", said).group(1).lower()
    said = ok(lab.ctl("policy", "predict", "--uki", folder / "signed.efi", "--base", evidence(lab, "ovmf4m-uki")))
    assert digests(said)[0] == wanted, said


def test_predict_replaces_the_images(lab):
    """PCR 4 and 9 of the recorded boot, with the new image's digests where the old one's were; the rest is as it was."""
    cmdline, initrd = "root=/dev/sda ro", b"initrd" * 1005
    folder = make_uki(lab, "plain", cmdline.encode(), initrd)
    before = values("ovmf4m-uki")
    action, separator = sha(b"Calling EFI Application from Boot Option"), sha(bytes(4))
    assert before["4"] == extended(action, separator, UKI, KERNEL)

    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki"), "--name", "new")
    got = predicted(said)
    assert got[4] == extended(action, separator, *digests(said)), said
    assert got[9] == extended(sha((cmdline + "\0").encode("utf-16le")), sha(initrd)), said
    assert got[12] == got[13] == "zero" and 10 not in got and 15 not in got, said
    assert all(got[pcr] == before[str(pcr)] for pcr in (0, 1, 2, 3, 5, 6, 7)), said
    bare = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki", log=False), "--phase",
                   "none")
    assert predicted(bare) == got and "Without the event log" in bare.err, bare

    # the set is one that a policy can have, and a boot with these values is allowed by it
    text = f"{said.out}[firmware]\nadd-ons = refuse\n"
    boot = evidence(lab, "ovmf4m-uki", log=False, ima=False, **{str(pcr): got[pcr] for pcr in (4, 9, 11)})
    assert "passed  [set new]" in ok(lab.ctl("policy", "check", policy(lab, text), boot)).out

    # under Secure Boot this stub starts its kernel without the firmware's measuring it
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki-sb"))
    old = re.search(r"image 1 of PCR 4, (\w+)", lab.ctl("policy", "check", policy(lab, f"[firmware]\nuki = {'0' * 64}\n"),
                                                         evidence(lab, "ovmf4m-uki-sb")).out).group(1)
    assert values("ovmf4m-uki-sb")["4"] == extended(action, separator, old), old
    assert predicted(said)[4] == extended(action, separator, digests(said)[0]), said


def test_predict_what_it_cannot(lab):
    folder = make_uki(lab, "odd", b"quiet", b"initrd", ((".pcrsig", b"{}"),))
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki"))
    assert 9 not in predicted(said) and "PCR 9 is left out" in said.err, said
    for name, words in (("ovmf4m-crb", "not of a unified kernel image"), ("ovmf4m-ms-direct", "not of a unified kernel image")):
        said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, name))
        assert said.code == FAILED and words in said.err, said
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--base", evidence(lab, "ovmf4m-uki", **{"4": "11" * 32}))
    assert said.code == FAILED and "does not give PCR 4" in said.err, said
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--old-uki", folder / "uki.efi", "--base",
                   evidence(lab, "ovmf4m-uki"))
    assert said.code == FAILED and "PCR 4 of that boot is not what its UKI should have given" in said.err, said
    said = lab.ctl("policy", "predict", "--uki", STUB, "--base", evidence(lab, "ovmf4m-uki"))
    assert said.code == FAILED and "no UKI: it has no section .linux" in said.err, said
    newer = folder / "newer.efi"
    newer.write_bytes((folder / "uki.efi").read_bytes().replace(b"systemd-stub 252", b"systemd-stub 257"))
    said = lab.ctl("policy", "predict", "--uki", newer, "--base", evidence(lab, "ovmf4m-uki"))
    assert said.code == FAILED and "systemd-stub 257" in said.err and "others than 252 measure is not known" in said.err, said
    assert not said.out, said
    said = lab.ctl("policy", "predict", "--uki", folder / "osrel", "--base", evidence(lab, "ovmf4m-uki"))
    assert said.code == FAILED and "no PE image" in said.err, said
    for words in ((), ("--uki", "x"), ("--uki", "x", "--base", "y", "--phase", "later"),
                  ("--uki", "x", "--base", "y", "--node", "z")):
        assert lab.ctl("policy", "predict", *words).code == USAGE, words


def test_predict_from_what_a_node_matched(lab):
    """The set that a node last matched is base enough where nobody kept an event log."""
    group = new_group(lab)
    node = hold(node_in(lab, group), [(4, b"old kernel"), (11, b"sections")])
    folder = make_uki(lab, "next", b"quiet", b"initrd")
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--node", node.id)
    assert said.code == REFUSED, said
    ok(lab.ctl("node", "approve", node.id, "--capture", "--name", "old"))
    node.unlock()
    said = lab.ctl("policy", "predict", "--uki", folder / "uki.efi", "--node", node.id)
    pcrs = node.tpm.pcrs("sha256", range(16))
    got = predicted(said)
    assert got[7] == pcrs[7].hex() and got[4] != pcrs[4].hex() and got[11] != pcrs[11].hex() and 15 not in got, said


def test_apply_side_by_side(lab):
    """Old and new boots are both let in until the last node has moved; then the old ones are not."""
    group = new_group(lab)
    nodes = [node_in(lab, group) for _ in range(2)]
    hold(nodes[0], [(4, b"old")])
    ok(lab.ctl("policy", "capture", nodes[0].id, "--name", "old"))
    nodes[0].unlock()
    nodes[1].reboot([(4, b"old")])
    nodes[1].unlock()
    hold(nodes[0], [(4, b"new")], "policy-refused")
    new = lab.ctl("--json", "node", "show", nodes[0].id).json["tenant"]["held"]["pcrs"]
    file = policy(lab, "# the new kernel\n[set new]\nbank = sha256\n" + "".join(f"pcr {pcr} = {value}\n" for pcr,
                                                                                value in new.items()
                                                                           if value != "00" * 32))
    said = ok(lab.ctl("policy", "apply", group, file))
    assert "1 sets and lines of the old policy" in said.err, said
    shown = ok(lab.ctl("policy", "show", group))
    assert "# the new kernel" in shown.out and "[set old]\nreplaced = yes" in shown.out and "2 of 2 nodes" in shown.err, shown

    nodes[0].unlock()
    nodes[1].reboot([(4, b"old")])
    nodes[1].unlock()
    said = lab.ctl("policy", "retire", group)
    assert said.code == REFUSED and f"1 of 2 nodes of {group}" in said.err and nodes[1].id[:12] in said.err, said
    nodes[1].reboot([(4, b"new")])
    nodes[1].unlock()
    assert "All 2 nodes" in ok(lab.ctl("policy", "show", group)).err
    ok(lab.ctl("policy", "retire", group))
    shown = ok(lab.ctl("policy", "show", group))
    assert "old" not in shown.out and "# the new kernel\n[set new]" in shown.out, shown
    hold(nodes[0], [(4, b"old")], "policy-refused")
    assert "Nothing of an old policy" in ok(lab.ctl("policy", "retire", group)).err


def test_retire_by_hand(lab):
    group = new_group(lab)
    node = hold(node_in(lab, group), [(4, b"old")])
    ok(lab.ctl("policy", "capture", node.id, "--name", "old"))
    node.unlock()
    file = policy(lab, f"[set old]\nbank = sha256\npcr 4 = {'ab' * 32}\n")
    said = lab.ctl("policy", "apply", group, file)
    assert said.code == FAILED and "give the new one a name of its own" in said.err, said
    ok(lab.ctl("policy", "apply", group, policy(lab, f"[set new]\nbank = sha256\npcr 4 = {'ab' * 32}\n")))
    assert lab.ctl("policy", "retire", group).code == REFUSED
    ok(lab.ctl("policy", "retire", group, "--now"))
    hold(node, [(4, b"old")], "policy-refused")
    # nothing is left without what is kept
    ok(lab.ctl("policy", "apply", group, policy(lab, "")))
    said = lab.ctl("policy", "retire", group, "--now")
    assert said.code == REFUSED and "no boot at all" in said.err, said


def test_next_boot(lab):
    """The way out when prediction failed: one boot, whatever it shows."""
    group = new_group(lab)
    node = hold(node_in(lab, group), [(4, b"old")])
    ok(lab.ctl("policy", "capture", node.id))
    node.unlock()
    hold(node, [(4, b"surprise")], "policy-refused")
    said = ok(lab.ctl("node", "approve", node.code, "--next-boot"))
    assert "its next boot" in said.out + said.err, said
    node.unlock()
    hold(node, [(4, b"surprise")], "policy-refused")
    assert lab.ctl("node", "approve", node.id, "--next-boot", "--capture").code == USAGE


def test_capture_does_not_change_rules(lab):
    """A set would let nothing through that a rule refuses, and would shut out every other machine of the group."""
    group = new_group(lab)
    node = node_in(lab, group)
    ok(lab.ctl("policy", "set", group, policy(lab, ADDONS + firmware_of(node))))
    hold(node, [(12, b"a credential from the ESP")])
    shown = ok(lab.ctl("node", "show", node.id))
    assert "[firmware] add-ons (line 2): PCR 12 is not zero" in shown.out, shown
    said = lab.ctl("node", "approve", "--capture", node.id)
    assert said.code == REFUSED and "[firmware] add-ons (line 2)" in said.err, said
    assert ok(lab.ctl("policy", "show", group)).out.count("[set") == 1
    node.reboot()
    node.unlock()


def test_uncovered_is_said(lab):
    """At set, in show, in the group, in the audit record at both parties."""
    group = new_group(lab)
    file = policy(lab, f"[set seven]\nbank = sha256\npcr 7 = {'ab' * 32}\n")
    words = "boot loader (PCR 4), initramfs (PCR 9, or 11 with a UKI), kernel command line (PCR 8 with GRUB, 11 and 12 with a UKI), add-ons"
    assert words in ok(lab.ctl("policy", "set", group, file)).err
    assert words in ok(lab.ctl("policy", "show", group)).err
    for party in lab.parties:
        assert words in party.get(f"/v1/groups/{group}").json["uncovered"]
        details = [json.loads(one["detail"]) for one in party.audit() if one["event"] == "policy"]
        assert [words in detail["uncovered"] for detail in details if detail["group"] == group] == [True], details


if __name__ == "__main__":
    main(Lab)
