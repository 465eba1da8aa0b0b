# SPDX-License-Identifier: LGPL-2.1-or-later
"""A node without a disk: it registers by itself, is approved, gets its (dealt) payload in its first boot; who waits for it
starts."""
from pathlib import Path

from vmtest import images, probes

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 800

# The root is memory: where the kernel and the initramfs come from, all of the system comes from.
DISKLESS = """[ "$root" = tmpfs ] && rootok=1
"""
FILL = """mkdir -p /sysroot/{dev,etc,proc,run,sbin,sys,tmp,usr/lib,var}
cat /test/init > /sysroot/sbin/init
chmod 755 /sysroot/sbin/init
echo ID=tiny > /sysroot/usr/lib/os-release
"""
USE = """while read -r _ where type how _; do
    if [ "$where" = /run/tallyboot/payload ]; then echo "PAYLOAD-ON $type $how"; fi
done < /proc/mounts > /dev/console
echo "PAYLOAD-SAYS $(cat /run/tallyboot/payload/greeting)" > /dev/console
"""


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine()
    node.boot_kernel(
        lab.node_files(payload="yes", root="no")
        | {"usr/lib/dracut/hooks/cmdline/91-diskless.sh": (DISKLESS, 0o755),
           "test/init": (images.path("tiny-root", "init"), 0o755)}
        | probes.service("fill-root", FILL, "initrd-root-fs.target",
                         "Requires=sysroot.mount\nAfter=sysroot.mount\nBefore=initrd-root-fs.target dracut-mount.service")
        | probes.service("use-payload", USE, "tallyboot-payload.target",
                         "Requires=tallyboot-payload.target\nAfter=tallyboot-payload.target"),
        images.root_command_line("tmpfs", "rootfstype=tmpfs"))
    payload = Path("payload")
    (payload / "secrets").mkdir(parents=True)
    (payload / "greeting").write_text("hello, diskless one\n")
    (payload / "secrets" / "key").write_text("only for you\n")

    node.start()
    code = node.expect(r"this node is registered with code ([a-z2-7]{4}-[a-z2-7]{4}) and waits for an operator")[1]
    t.say(f"registered by itself {node.seconds():.0f} s after power-on, code {code}")
    lab.ctl("node", "approve", code)
    lab.ctl("payload", "set", code, payload)
    t.say("approved, and given a payload")
    node.never("PAYLOAD-SAYS")
    node.expect(r"PAYLOAD-SAYS hello, diskless one", seconds=150)
    t.say(f"the service that waits for it has it {node.seconds():.0f} s after power-on")
    t.check(node.seen(r"^PAYLOAD-ON (ramfs ro,|tmpfs ro,.*noswap)"), "it is in memory that is never swapped, and read-only",
            node.log)
    node.expect(r"^ROOT \S+ tmpfs")
    node.expect(r"^PCR 15 .*[1-9A-F]")
    t.check(node.console.expect(r"^DONE", 60), "the end")
    for line in (r"^RUN 40700 \d+ /run/tallyboot/payload$", r"^RUN 100[0-7]+ 13 /run/tallyboot/payload/secrets/key$"):
        t.check(node.seen(line), f"in the booted system: {line}", node.log)
    node.off()
    shown = lab.ctl("node", "show", code)
    keys = shown["verifier"]["keys"]
    t.check([(key["kind"], key["origin"]) for key in keys] == [("payload", "dealt")], f"a dealt payload key: {keys}")
