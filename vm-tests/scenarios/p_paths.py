# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other ways to a shell or past the gate: time-outs, rescue, debug shell, late breaks, kexec, what opens volumes killed, a TPM
that dies."""
from vmtest import images, probes, process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 1500
CRYPTSETUP = "systemd-cryptsetup@root.service"
# systemd-cryptsetup, late: the volume is open by then.
SLOW = f"""[Service]
ExecStart=
ExecStart=/usr/bin/bash -c 'sleep 60; exec /usr/lib/systemd/systemd-cryptsetup attach root UUID={images.TINY_UUID} none luks'
"""
KILL = f"""until dmsetup info root > /dev/null 2>&1; do sleep 0.2; done
systemctl kill --signal KILL {CRYPTSETUP}
echo "CRYPTSETUP-KILLED" > /dev/console
"""
KEXEC = """until [ -e /run/systemd/ask-password/ask.* ]; do sleep 0.5; done
echo "KEXEC-ASKED" > /dev/console
systemctl --no-block start kexec.target > /dev/console 2>&1
"""
SHELL = r"Press Enter for maintenance|sh-[0-9.]+# "


def path(t, node, what, where, *more, volumes=()):
    """A boot that ends in a shell at `where`: before it the gate is closed, and no more than these volumes are open."""
    t.say(what)
    node.append = images.shell_command_line(*more)
    node.start()
    probes.check_look(t, node, where, volumes)
    node.power_cut()
    node.never(r"^ROOT")


def with_halves(t, lab, node):
    if t.part("before-opening"):
        opened_behind_the_gate(t, lab, node)
    if t.part("cleanup"):
        path(t, node, "rd.break=cleanup: root is open and mounted by then", "dracut-emergency.service", "rd.break=cleanup")
        t.check(node.seen("root: opened with both halves"), "the halves had come", node.log)
    if t.part("rescue"):
        path(t, node, "rescue.target", "rescue.service", "rd.systemd.unit=rescue.target")
    if t.part("debug-shell"):
        path(t, node, "the debug shell", "debug-shell.service", "rd.systemd.debug_shell")
    if t.part("masked"):
        path(t, node, "the gate's unit masked, halves received", "emergency.service", "rd.systemd.mask=tallyboot-gate.service")
        node.never(r"^LOOK mounted|Mounted sysroot.mount")
    if t.part("killed"):
        files = probes.service("kill", KILL, "sysinit.target", kind="simple")
        files[f"etc/systemd/system/{CRYPTSETUP}.d/50-slow.conf"] = SLOW
        configure(lab, node, files)
        path(t, node, "systemd-cryptsetup killed, its volume is open", "emergency.service")
        t.check(node.seen("CRYPTSETUP-KILLED"), "it was killed", node.log)


def opened_behind_the_gate(t, lab, node):
    """In the moment in which the unlocker has opened the volume, and systemd-cryptsetup has not been started."""
    t.say("a boot as it should be: the gate, then the volume, then the root")
    configure(lab, node, probes.look_before(CRYPTSETUP))
    node.start()
    probes.check_look(t, node, CRYPTSETUP, ["root"])
    probes.check_look(t, node, "mounted", ["root"])
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.off()
    configure(lab, node)


def without_servers(t, lab, node):
    if t.part("timeout"):
        path(t, node, "rd.timeout, and nobody types", "emergency.service", "rd.timeout=20")
    if t.part("kexec"):
        t.say("kexec while the prompt is up")
        configure(lab, node, probes.service("kexec", KEXEC, "sysinit.target", kind="simple"))
        node.start()
        node.expect("KEXEC-ASKED", 200)
        # What closes the gate waits for the volumes, and kexec stops them: systemd refuses such a transaction.
        node.expect("Failed to start kexec.target.*conflicting")
        process.wait_until(lambda: node.seen("enter passphrase for disk"), "the prompt is up", 100, log=node.log)
        node.power_cut()
        node.never(r"^LOOK systemd-kexec.service|Starting new kernel")
    if t.part("tpm-dies"):
        tpm_dies(t, node)


def tpm_dies(t, node):
    """A TPM that answered and cannot be extended: the boot stops, no shell, off."""
    t.say("the TPM dies while the prompt is up")
    node.append = images.shell_command_line()
    node.start()
    node.expect("enter passphrase for disk", 200)
    node.tpm.stop()
    node.send(images.passphrase())
    node.expect("the boot must not go on")
    node.off()    # what the emergency unit says is lost with its terminal
    node.never(SHELL)
    node.never(r"^ROOT|^LOOK")


def configure(lab, node, files=None):
    """The halves' initramfs: looks before each shell, while the volume is opened, when the root is mounted and before it is
    run."""
    node.boot_kernel(
        lab.node_files() | {"etc/crypttab": f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}\n"}
        | probes.look_before(*probes.EMERGENCY, "systemd-kexec.service") | probes.look_when_mounted() | (files or {}))


def run(t):
    lab, node = t.enrolled()
    configure(lab, node)
    with_halves(t, lab, node)
    lab.kill()
    configure(lab, node)
    without_servers(t, lab, node)
