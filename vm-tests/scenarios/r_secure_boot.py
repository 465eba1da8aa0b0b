# SPDX-License-Identifier: LGPL-2.1-or-later
"""Secure Boot and a signed UKI: released; switched off, a credential or a command line beside it on the ESP: refused, with the
PCR."""
from pathlib import Path

from vmtest import disk, eventlog, images, probes

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 1200
# Those that firmware, boot loader and stub measure into, and nothing later.
FIRMWARE = [str(pcr) for pcr in (*range(8), 12, 13, 14)]
ENTRY = "title evil\nefi /EFI/evil/uki.efi\noptions tallyboot.gate=ignore\n"


def opened(t, node):
    node.start()
    node.expect("root: opened with both halves", 300)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()


def refused(t, lab, node, what, pcrs, rule=""):
    """A boot that both parties refuse, because these PCRs differ, or this rule did not hold."""
    t.say(what)
    node.start()
    said = node.expect(r"policy-refused.*incident ([0-9a-f]{16})", 300)
    node.expect("enter passphrase for disk")
    node.power_cut()
    node.never("opened with both halves")
    shown = lab.ctl("node", "show", node.id)
    for party in ("tenant", "verifier"):
        t.check(not lab.events(party, "release", incident=said[1]), f"{party}: no release")
        t.check(lab.events(party, "refusal", incident=said[1]), f"{party}: the refusal is in its log")
        different = sorted({difference["pcr"] for difference in shown[party]["held"]["differences"]})
        t.check(set(pcrs) <= set(different), f"{party}: different are {different}, with {pcrs}", lab.log("tallyctl"))
        failed = shown[party]["held"]["rules"]
        t.check(not rule or any(rule in one["rule"] for one in failed), f"{party}: the rule {rule} failed: {failed}", node.log)
    t.say(f"refused; different: PCR {', '.join(map(str, different))}{''.join('; ' + one['why'] for one in failed)}")


def check_event_log(t, node, name):
    """Our reader and tpm2_eventlog read the same out of this boot's log, and its PCRs are the machine's."""
    log = eventlog.read(node, name)
    (our_pcrs, our_events), (pcrs, events) = eventlog.ours(log), eventlog.tpm2_eventlog(log)
    t.say(f"event log: {log.stat().st_size} bytes, {len(events)} events")
    t.check(len(events) > 20 and [pcr for pcr, _ in our_events] == [pcr for pcr, _ in events], "the same events")
    t.check(all(mine == theirs for (_, mine), (_, theirs) in zip(our_events, events) if mine), "with the same digests")
    t.check({"sha1", "sha256", "sha384"} <= set(our_pcrs), f"three banks: {list(our_pcrs)}")
    t.check(our_pcrs == pcrs, f"the same PCRs: {our_pcrs} {pcrs}")
    for pcr in FIRMWARE:
        value = node.seen(rf"^PCR {pcr} ([0-9A-F]+)$")[1].lower()
        t.check(our_pcrs["sha256"].get(pcr, "0" * 64) == value, f"PCR {pcr} is what the log says: {value}", node.log)


def run(t):
    lab, node = t.enrolled(files=eventlog.unit_files(probes.service, "/dev/vdc"), firmware="secureboot")
    uki = node.boot_uki(signed=True)
    log = eventlog.add_disk(node)
    t.say("Secure Boot, a signed UKI: captured, then released")
    opened(t, node)
    check_event_log(t, node, log)
    lab.ctl("group", "set", "default", "--accept-first-boot", "no")
    t.say("a rule beside the captured values: Secure Boot on, as the event log says; the log is asked for, and released")
    policy = Path("policy")
    policy.write_text(lab.call("verifier", "GET", "/v1/groups/default/policy")["text"] + "\n[firmware]\nsecure-boot = on\n")
    lab.ctl("policy", "set", "default", policy)
    opened(t, node)

    node.new_variables("secureboot-off")
    refused(t, lab, node, "Secure Boot switched off, the same UKI", [7], "secure-boot")
    node.new_variables("secureboot")

    Path("evil.cred").write_text("of the attacker\n")
    with_credential = disk.copy(node.disks[0], node.file("credential.img"))
    disk.esp_put(with_credential, "EFI/BOOT/BOOTX64.EFI.extra.d/evil.cred", "evil.cred")
    node.disks[0] = with_credential
    refused(t, lab, node, "a credential beside the UKI on the ESP", [12])

    # The fleet's own key signed this boot loader, for another purpose: only measuring tells.
    loader = str(disk.copy(images.path("debian", "tree/usr/lib/systemd/boot/efi/systemd-bootx64.efi"), node.file("loader.efi")))
    Path("entry.conf").write_text(ENTRY)
    with_options = disk.esp(node.file("options.img"), disk.sign(loader))
    disk.esp_put(with_options, "EFI/evil/uki.efi", uki)
    disk.esp_put(with_options, "loader/entries/evil.conf", "entry.conf")
    node.disks[0] = with_options
    refused(t, lab, node, "a boot loader that adds to the command line", [4, 12])
