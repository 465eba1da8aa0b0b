# SPDX-License-Identifier: LGPL-2.1-or-later
"""dracut as Debian has it, host-only and told nothing of the network: enrolled in the running system, opened by both halves at
its next boot."""
from vmtest import images

NEEDS = ["debian-root"]
LIMIT = 1500
DEVICE = f"/dev/disk/by-uuid/{images.DEBIAN_UUID}"


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.debian()
    node.start()
    node.type_passphrase(seconds=300)
    node.booted()
    lab.install(node)
    node.run("until ip -4 route show default | grep -q .; do sleep 0.5; done")
    node.put("/root/token", lab.ctl("join-token", "create")["token"], 0o600)
    node.put("/root/key", images.passphrase(), 0o600)
    node.run(f"tallyboot enroll --key-file /root/key --join-token-file /root/token --recovery-key no {DEVICE}", seconds=300)

    t.say("dracut's own defaults; no file says anything of the network, and neither does the command line")
    node.run("rm /etc/systemd/network/20-dhcp.network /etc/dracut.conf.d/50-tests.conf")
    node.put("/etc/dracut.conf.d/50-quick.conf", 'hostonly="yes"\ncompress="zstd -1"\ndo_strip="no"\n')
    node.run("rebuild-uki", seconds=900)
    node.reboot()
    node.expect("root: opened with both halves", seconds=300)
    node.booted(300)
    node.never("enter passphrase")
    said = node.run("tallyboot doctor").output
    t.check("problem" not in said, f"doctor finds nothing: {said}", node.log)
