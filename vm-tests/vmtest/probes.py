# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test's own units in an initramfs: they look at what a scenario has to prove, and print it on the console."""
from . import cpio

# LOOK where WHAT value: mappings, the gate PCR in every bank, the payload.
LOOK = """#!/usr/bin/bash
exec > /dev/console 2>&1
echo
while read -r name; do [ "$name" = "No devices found" ] || echo "LOOK $1 DM $name"; done < <(dmsetup info -c --noheadings -o name 2>&1)
for file in /sys/class/tpm/tpm0/pcr-*/15; do read -r value < "$file"; echo "LOOK $1 PCR ${file%/15} $value"; done
[ ! -d /run/tallyboot/payload ] || echo "LOOK $1 PAYLOAD $(echo /run/tallyboot/payload/*)"
echo "LOOK $1 DONE"
sleep 2    # the unit's next command resets the terminal, and with it what is not printed yet
"""
EMERGENCY = ("emergency.service", "dracut-emergency.service", "rescue.service", "debug-shell.service")


def service(name, script, wanted_by="initrd.target", unit="", kind="oneshot"):
    """A unit that runs a bash script; `unit` has more lines of its first section, `kind` is its Type=."""
    return {
        f"etc/systemd/system/{name}.service":
            f"[Unit]\nDefaultDependencies=no\n{unit}\n[Service]\nType={kind}\nRemainAfterExit=yes\nExecStart=/usr/bin/bash /test/{name}\n",
        f"etc/systemd/system/{wanted_by}.wants/{name}.service": cpio.Symlink(f"../{name}.service"),
        f"test/{name}": (script, 0o755),
    }


def look_before(*units):
    """Look in the moment before these units run: after all that the product has to do before them."""
    files = {f"etc/systemd/system/{unit}.d/90-look.conf": f"[Service]\nExecStartPre=-/usr/bin/bash /test/look {unit}\n"
             for unit in units}
    return files | {"test/look": (LOOK, 0o755)}


def look_when_mounted():
    """Look as soon as the root is mounted: LOOK mounted."""
    return service("look-mounted", "bash /test/look mounted\n", "initrd-root-fs.target",
                   "Requires=sysroot.mount\nAfter=sysroot.mount\nBefore=initrd-root-fs.target") | {"test/look": (LOOK, 0o755)}


def check_look(t, node, where, volumes=()):
    """What the next look there has to find: the gate closed in every bank, no mapping but these, no payload."""
    text = node.expect(rf"^LOOK {where} (?:.*\n)*?LOOK {where} DONE").group()
    found = [line.split(" ", 3)[2:] for line in text.split("\n") if line.startswith(f"LOOK {where} ")]
    banks = [value.split(" ")[1] for what, *rest in found if what == "PCR" for value in rest]
    t.check(banks and all(set(value) != {"0"} for value in banks), f"{where}: the gate is closed in every bank", node.log)
    names = sorted({rest[0] for what, *rest in found if what == "DM"})
    t.check(names == sorted(volumes), f"{where}: open are {names}, not {sorted(volumes)}", node.log)
    t.check(all(what != "PAYLOAD" for what, *_ in found), f"{where}: no payload", node.log)
