# SPDX-License-Identifier: LGPL-2.1-or-later
"""The multi-user root: passphrase at the first boot, commands in it, its UKI rebuilt inside with a key file, rebooted."""
NEEDS = ["debian-root"]


def run(t):
    node = t.debian()
    node.start()
    node.type_passphrase()
    t.say(f"passphrase typed at {node.seconds():.0f} s")
    node.booted()
    t.say(f"booted at {node.seconds():.0f} s")
    t.check(node.run("findmnt -no SOURCE /").output == "/dev/mapper/root\n", "the root is on LUKS")
    t.check(node.run("echo both; echo outputs >&2; false", check=False) == (1, "both\noutputs\n"), "status and output")
    before = node.pcr(11)
    t.check(len(before) == 64 and set(before) != {"0"}, "PCR 11 is measured")
    t.say(node.run("tpm2_readclock -T device:/dev/tpmrm0; systemctl --failed --no-legend; systemd-analyze").output)

    node.put("/etc/cryptsetup-keys.d/root.key", "correct horse", 0o600)
    node.put("/etc/dracut.conf.d/key.conf", 'install_items+=" /etc/cryptsetup-keys.d/root.key "\n')
    node.run("sed -i 's|none|/etc/cryptsetup-keys.d/root.key|' /etc/crypttab")
    start = node.seconds()
    node.run("rebuild-uki", seconds=600)
    t.say(f"rebuild-uki took {node.seconds() - start:.0f} s")
    node.reboot()
    node.booted()
    t.say(f"booted again, nothing typed, at {node.seconds():.0f} s")
    node.never("enter passphrase")
    t.check(node.pcr(11) != before, "PCR 11 is that of another UKI")
    t.say(node.run("tpm2_readclock -T device:/dev/tpmrm0; systemd-analyze").output)
    node.run("echo kept > /kept; sync")
    node.power_cut()
    node.start()
    node.booted()
    t.check(node.get("/kept") == "kept\n", "what was written outlives a power cut")
