# SPDX-License-Identifier: LGPL-2.1-or-later
"""An attacker's hibernation image is not resumed, whatever the configuration says; our own, on a volume of ours, is, behind the
gate."""
import re

from vmtest import disk, images, probes, process

NEEDS = ["tiny-root", "initramfs", "initramfs-resume"]
LIMIT = 1500
# The system that hibernates, and wakes up in whatever boot resumes it. What it says then is looked at.
HIBERNATE = """until [ -b {device} ]; do sleep 0.2; done
swapon {device}
echo shutdown > /sys/power/disk
echo "HIBERNATES" > /dev/console
echo disk > /sys/power/state
while sleep 1; do bash /test/look RESUMED; done
"""
RESUME_UNIT = "systemd-hibernate-resume@{}.service"


def hibernator(device, unit="", kind="simple"):
    return probes.service("hibernate", HIBERNATE.format(device=device), kind=kind,
                          unit=unit) | {"test/look": (probes.LOOK, 0o755)}


def swap(name, megabytes=400):
    process.command("truncate", "-s", f"{megabytes}M", name)
    process.command("mkswap", name)
    return name


def attacker_hibernates(node):
    """A boot of the attacker's: the same kernel, a system of its own, its memory written to the swap partition."""
    node.boot_kernel(hibernator("/dev/vdb"), base="initramfs-resume")
    node.start()
    node.expect("HIBERNATES")
    node.off()


def genuine(lab, node, crypttab, device, more=None, **settings):
    node.boot_kernel(
        lab.node_files(**settings) | {"etc/crypttab": crypttab} | (more or {})
        | probes.look_before(RESUME_UNIT.format(device.strip("/").replace("/", "-"))),
        images.root_command_line("/dev/mapper/root", f"resume={device}"), "initramfs-resume")


def not_resumed(t, node, why):
    node.start()
    node.expect(re.escape(why) + "|RESUMED", 200)
    node.never("RESUMED")
    t.check(node.seen("root: opened with both halves"), "the halves had come", node.log)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^DONE")
    node.off()
    t.say(f"not resumed: {why}")


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine(memory=512)
    node.add_root("tiny-root")
    crypttab = f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}\n"
    node.id = lab.enroll(node, (node.disks[0], "root", "root"))
    node.disks.append(swap(node.file("swap.img")))

    if t.part("attacker"):
        t.say("an attacker's image on the swap partition")
        attacker_hibernates(node)
        genuine(lab, node, crypttab, "/dev/vdb")
        not_resumed(t, node, "Not resuming: tallyboot.conf does not say hibernation = yes")
        genuine(lab, node, crypttab, "/dev/vdb", hibernation="yes")
        not_resumed(t, node, "Not resuming: vdb: is not a volume that both halves opened")
    if t.part("configured"):
        configured(t, lab, node, crypttab)


def configured(t, lab, node, crypttab):
    """Swap on a volume of ours: this node hibernates, and its next boot resumes it once the gate is closed."""
    t.say("hibernation = yes, swap on an enrolled volume")
    node.disks[1] = swap(node.file("ours.img"))
    uuid = "7a11b007-0000-4000-8000-0000000000aa"
    process.command(images.SCRIPTS / "luks.sh", node.disks[1], uuid)
    lab.enroll(node, (node.disks[1], "swap", "other"))
    crypttab += f"swap UUID={disk.luks_uuid(node.disks[1])} none {images.CRYPTTAB}\n"
    sleeper = hibernator("/dev/mapper/swap", "After=tallyboot-gate.service\nBefore=sysroot.mount", "oneshot")
    genuine(lab, node, crypttab, "/dev/mapper/swap", sleeper, hibernation="yes")
    node.start()
    node.expect("swap: opened with both halves", 200)
    node.expect("HIBERNATES")
    node.off()
    genuine(lab, node, crypttab, "/dev/mapper/swap", hibernation="yes")
    node.start()
    node.expect("swap: opened with both halves", 200)
    probes.check_look(t, node, RESUME_UNIT.format("dev-mapper-swap"), ["root", "swap"])
    probes.check_look(t, node, "RESUMED", ["root", "swap"])
    node.power_cut()
