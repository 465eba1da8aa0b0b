# SPDX-License-Identifier: LGPL-2.1-or-later
"""A new kernel image: its PCRs are predicted from the file, it replaces the old one on the ESP, the next boot opens; nobody
touched the node."""
from pathlib import Path

from vmtest import disk, eventlog, probes

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 900
CRYPTTAB = "etc/crypttab"


def opened(t, node):
    node.start()
    node.expect("root: opened with both halves", 300)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()
    t.say(f"opened {node.seconds():.0f} s after power-on")


def sets(lab):
    return [line for line in lab.call("verifier", "GET",
                                      "/v1/groups/default/policy")["text"].split("\n") if line.startswith("[set ")]


def run(t):
    files = eventlog.unit_files(probes.service, "/dev/vdc")
    lab, node = t.enrolled(files=files, firmware="ovmf")
    old = node.boot_uki()
    log_disk = eventlog.add_disk(node)
    opened(t, node)
    lab.ctl("group", "set", "default", "--accept-first-boot", "no")
    before = {pcr: node.seen(rf"^PCR {pcr} ([0-9A-F]+)$")[1].lower() for pcr in ("4", "9", "11")}

    t.say("an update: another initramfs, another command line; what will they measure?")
    # The disks stay what they are; only the image is made anew.
    esp, crypttab = node.disks[0], f"root UUID={disk.luks_uuid(node.disks[1])} none luks,x-systemd.device-timeout=500\n"
    node.boot_kernel(lab.node_files() | files | {CRYPTTAB: crypttab, "etc/updated": "yes\n"}, node.append + " updated=yes")
    new = disk.uki(node.file("new.efi"), node.initrd, node.append)
    node.kernel = None
    log = eventlog.read(node, log_disk)
    predicted = lab.text("policy", "predict", "--uki", new, "--old-uki", old, "--node", node.id, "--log", log, "--name",
                         "updated")
    for line in predicted.strip().split("\n"):
        t.say(f"    | {line}")
    policy = Path("policy")
    policy.write_text(predicted)
    lab.ctl("policy", "apply", "default", policy)
    t.check(len(sets(lab)) == 2, f"old and new side by side: {sets(lab)}")
    lab.ctl("policy", "retire", "default", status=3)

    disk.esp_put(esp, "EFI/BOOT/BOOTX64.EFI", new)
    opened(t, node)
    for pcr in ("4", "9", "11"):
        measured = node.seen(rf"^PCR {pcr} ([0-9A-F]+)$")[1].lower()
        t.check(f"pcr {pcr} = {measured}\n" in predicted, f"PCR {pcr} is what was predicted: {measured}", node.log)
        t.check(measured != before[pcr], f"PCR {pcr} is another than before")
    lab.ctl("policy", "retire", "default")
    t.check(sets(lab) == ["[set updated]"], f"the node has moved, the old set is gone: {sets(lab)}")
