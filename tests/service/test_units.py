#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units of the initramfs, in the order that systemd itself computes: no cycle (systemd breaks one by deleting a job, and the
one that it deletes is cryptsetup.target: such a machine does not boot), nothing that it does not understand, the gate before the
root."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from cases import main, skip
from services import BUILD

TOP = pathlib.Path(__file__).resolve().parents[2]
OURS = TOP / "dracut/90tallyboot/system"
SYSTEM = pathlib.Path("/usr/lib/systemd/system")
DRACUT = pathlib.Path("/usr/lib/dracut/modules.d/98dracut-systemd")
GENERATED = {
    # As systemd-fstab-generator and systemd-cryptsetup-generator write them in an initramfs.
    "sysroot.mount": """[Unit]
SourcePath=/proc/cmdline
Before=initrd-root-fs.target
Requires=systemd-fsck-root.service
After=systemd-fsck-root.service
After=blockdev@dev-mapper-root.target
[Mount]
Where=/sysroot
What=/dev/mapper/root
""",
    "systemd-cryptsetup@root.service": """[Unit]
Description=Cryptography Setup for %I
SourcePath=/etc/crypttab
DefaultDependencies=no
After=cryptsetup-pre.target systemd-udevd-kernel.socket
Before=blockdev@dev-mapper-%i.target
Wants=blockdev@dev-mapper-%i.target
IgnoreOnIsolate=true
Conflicts=umount.target
Before=umount.target cryptsetup.target
BindsTo=dev-vda.device
After=dev-vda.device
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutSec=infinity
KeyringMode=shared
ExecStart=/bin/true attach 'root' '/dev/vda' 'none' 'luks'
ExecStop=/bin/true detach 'root'
""",
}
WANTS = {"cryptsetup.target.requires": ["systemd-cryptsetup@root.service"], "initrd-root-fs.target.requires": ["sysroot.mount"],
         "sysinit.target.wants": ["tallyboot-unlock.service", "cryptsetup.target"],
         "initrd.target.wants": ["dracut-pre-mount.service", "dracut-initqueue.service", "dracut-mount.service",
                                 "dracut-pre-pivot.service"]}


def initramfs(root):
    """A tree with the units of an initramfs: the host's systemd, dracut's, ours."""
    units = root / "usr/lib/systemd/system"
    shutil.copytree(SYSTEM, units, symlinks=True, ignore=shutil.ignore_patterns("tallyboot*", "10-tallyboot.conf", "*.wants",
                                                                                "dracut-*"))
    for file in DRACUT.glob("*.service"):
        shutil.copy(file, units)
    shutil.copytree(OURS, units, dirs_exist_ok=True)
    for name, text in GENERATED.items():
        (units / name).write_text(text)
    for directory, names in WANTS.items():
        (units / directory).mkdir(exist_ok=True)
        for name in names:
            os.symlink(f"../{name}", units / directory / name)
    (root / "etc").mkdir()
    (root / "etc/initrd-release").write_text("ID=test\n")
    for path in ("usr/bin/tallyboot", "bin/true"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", root / path)
    return units


def verify(root, unit, recursive="no"):
    """What systemd says of a unit; with recursive="yes" of all that it pulls in, and only then of the order of things."""
    done = subprocess.run(["systemd-analyze", "verify", f"--root={root}", "--man=no", f"--recursive-errors={recursive}", unit],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


class Initramfs:
    def __enter__(self):
        if not shutil.which("systemd-analyze") or not DRACUT.exists():
            skip("systemd-analyze or dracut is not installed")
        self.directory = tempfile.TemporaryDirectory(prefix="tb-units-")
        self.root = pathlib.Path(self.directory.name)
        self.units = initramfs(self.root)
        return self

    def __exit__(self, *_):
        self.directory.cleanup()


TARGETS = ("initrd.target", "initrd-switch-root.service", "initrd-cleanup.service", "sysroot.mount", "cryptsetup.target",
           "emergency.target", "rescue.target")


def test_no_ordering_cycle(tree):
    for unit in TARGETS:
        said = verify(tree.root, unit, "yes")
        assert "cycle" not in said, said


def test_a_cycle_would_be_seen(tree):
    """The test itself: with default dependencies the unlocker comes after sysinit.target, which waits for it."""
    unit = tree.units / "tallyboot-unlock.service"
    text = unit.read_text()
    try:
        unit.write_text(text.replace("DefaultDependencies=no\n", ""))
        assert "cycle" in verify(tree.root, "initrd.target", "yes")
    finally:
        unit.write_text(text)


def test_nothing_is_misunderstood(tree):
    for file in sorted(OURS.rglob("*")):
        if file.suffix not in (".service", ".target"):
            continue
        said = [line for line in verify(tree.root, file.name).splitlines() if "tallyboot" in line]
        assert not said, said
    said = verify(tree.root, "systemd-cryptsetup@root.service")
    assert "10-tallyboot" not in said, said


def test_the_running_systems_units_too(_tree):
    for file in sorted((TOP / "units").glob("*.*")):
        if file.is_dir():
            continue
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        said = [line for line in done.stdout.splitlines() if "tallyboot" in line and "not executable" not in line]
        assert not said, said


def test_the_services_units_and_their_drop_in_for_the_tpm(_tree):
    """As tallyctl init writes them, and as docs/keys.md says that they are to be changed for a master key in the TPM."""
    documented = re.search(r"For the TPM add a drop-in.*?```\n(.*?)```", (TOP / "docs/keys.md").read_text(), re.S)[1]
    assert "DeviceAllow=/dev/tpmrm0 rw" in documented and "SupplementaryGroups=tss" in documented
    with tempfile.TemporaryDirectory(prefix="tb-units-") as directory:
        fleet = pathlib.Path(directory) / "fleet"
        subprocess.run([BUILD / "tallyctl", "init", "--dir", fleet, "--registrar", "registrar.example", "--tenant",
                        "tenant.example", "--verifier", "verifier.example"], check=True, stdout=subprocess.DEVNULL)
        units = {path.name: path for path in fleet.rglob("*.service")}
        assert set(units) == {f"tallyboot-{role}.service" for role in ("registrar", "tenant", "verifier")}, units
        for name, unit in units.items():
            drop_in = unit.parent / f"{name}.d/tpm.conf"
            drop_in.parent.mkdir()
            for text in (documented, documented.replace("DeviceAllow=", "AllowDevice=")):
                drop_in.write_text(text)
                said = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
                said = [line for line in said.splitlines() if "tallyboot" in line and "not executable" not in line]
                assert bool(said) == ("AllowDevice" in text), said    # the test itself: what it does not know is said


def test_every_way_to_a_shell_locks_up_first(_tree):
    for name in ("emergency", "rescue", "dracut-emergency", "debug-shell"):
        text = (OURS / f"{name}.service.d/10-tallyboot.conf").read_text()
        assert re.search(r"^ExecStartPre=/usr/bin/tallyboot lock-up$", text, re.M), name
        assert re.search(r"^FailureAction=poweroff-force$", text, re.M), name


def test_what_comes_after_the_gate_insists_on_it(_tree):
    for name in ("sysroot.mount", "initrd-switch-root.service"):
        text = (OURS / f"{name}.d/10-tallyboot.conf").read_text()
        for line in ("Requires=tallyboot-gate.service", "After=tallyboot-gate.service",
                     "AssertPathExists=|/run/tallyboot/gate-closed"):
            assert line in text.splitlines(), (name, line)


def test_nothing_waits_for_the_network(_tree):
    for file in OURS.rglob("*"):
        if file.is_file():
            for line in file.read_text().splitlines():
                assert line.startswith("#") or "network-online" not in line, (file, line)


def test_the_servers_are_shut_in(_tree):
    """The units that tallyctl init writes: systemd understands every line, and finds little that is left open (0: nothing, 100:
    all)."""
    with tempfile.TemporaryDirectory(prefix="tb-units-") as directory:
        subprocess.run([BUILD / "tallyctl", "init", "--dir", f"{directory}/fleet", "--registrar", "r.example", "--tenant",
                        "t.example", "--verifier", "v.example"], stdout=subprocess.DEVNULL, check=True)
        for role in ("registrar", "tenant", "verifier"):
            unit = f"{directory}/fleet/{role}/tallyboot-{role}.service"
            for words in (["verify", "--man=no", "--recursive-errors=no"],
                          ["security", "--offline=yes", "--threshold=25", "--no-pager"]):
                done = subprocess.run(["systemd-analyze", *words, unit], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, check=False)
                assert done.returncode == 0, done.stdout
                assert words[0] != "verify" or not done.stdout, done.stdout


if __name__ == "__main__":
    main(Initramfs)
