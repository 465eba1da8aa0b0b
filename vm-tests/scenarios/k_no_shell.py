# SPDX-License-Identifier: LGPL-2.1-or-later
"""rd.break, emergency.target, the gate unit masked, the unlocker killed and three wrong passphrases: no shell with an open
gate."""
import time

from vmtest import images, probes, process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 1500
KILL = """until systemctl is-active --quiet tallyboot-unlock.service; do sleep 0.2; done
sleep 3
systemctl kill --signal KILL tallyboot-unlock.service
echo "UNLOCKER-KILLED" > /dev/console
"""
PROMPT = r"(?:sh-[0-9.]+|:/[a-z]*)# "
ZERO = "0" * 64


def boot_to_shell(t, node, where, *more, typed=(), volumes=()):
    """A boot that ends in a shell: before it, and in it, the gate is closed, and only volumes that a passphrase opened are
    open."""
    what = " ".join(more) or "unlocker killed"
    if not t.part(what):
        return
    t.say(f"{what}{', a passphrase is typed' if typed else ''}: a shell at {where}")
    node.append = images.shell_command_line(*more)
    node.start()
    for text in typed:
        node.type_passphrase(text=text, seconds=200)
    probes.check_look(t, node, where, volumes)
    node.expect(r"Press Enter for maintenance[^\n]*\n?[^\n]*: ", seconds=200)
    # sulogin throws away what is typed before it listens.
    process.wait_until(lambda: node.seen(PROMPT) or node.send("") or time.sleep(2), f"{where}: a shell", 100, log=node.log)
    node.expect(PROMPT)
    node.send("read -r value < /sys/class/tpm/tpm0/pcr-sha256/15; echo IN-THE-SHELL $value")
    value = node.expect(r"^IN-THE-SHELL ([0-9A-F]{64})")[1]
    t.check(value != ZERO, f"{where}: the gate is closed in the shell", node.log)
    t.say(f"in the shell {node.seconds():.0f} s after power-on: PCR 15 is {value[:16]}...")
    node.power_cut()
    node.never(r"^ROOT")


def run(t):
    look = probes.look_before(*probes.EMERGENCY)
    lab, node = t.enrolled(files=look)
    boot_to_shell(t, node, "dracut-emergency.service", "rd.break=pre-mount")
    boot_to_shell(t, node, "dracut-emergency.service", "rd.break=pre-udev")
    boot_to_shell(t, node, "emergency.service", "rd.systemd.unit=emergency.target")
    lab.kill()
    boot_to_shell(t, node, "emergency.service", "rd.systemd.mask=tallyboot-gate.service", typed=[images.passphrase()],
                  volumes=["root"])
    node.boot_kernel(lab.node_files() | look | probes.service("kill", KILL, "sysinit.target", kind="simple")
                     | {"etc/crypttab": f"root UUID={images.TINY_UUID} none {images.CRYPTTAB}\n"})
    boot_to_shell(t, node, "emergency.service", typed=["wrong"] * 3)
    t.check(not t.part("unlocker killed") or node.seen("UNLOCKER-KILLED"), "the unlocker was killed", node.log)
