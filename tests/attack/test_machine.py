#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attacks on the machine itself, its disk and its TPM, with the node's own program: who listens on the TPM's bus, who has the
TPM's state and the disk, who looks for files that others can read, who fills a keyslot with an expensive passphrase."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hpke
from cases import main, skip
from enrolled import EnrolledNode, header, node_id_of
from node import Node
from services import BUILD, Fleet, encode_fields
from swtpm import Swtpm
from tap import Tap
from test_secrets import expect_nowhere

MIB = 1 << 20
COSTLY = 640 * 1024    # KiB of memory for a passphrase slot


class Machine(EnrolledNode):
    """A node with one volume, enrolled by its own program, captured, ready to boot."""

    def __init__(self, fleet):
        super().__init__(fleet)
        self.volume = self.image("root")

    def ready(self):
        done = self.enroll("--join-token-file", self.join_token_file(), self.volume)
        assert done.code == 0, done
        self.id = node_id_of(done)
        assert self.unlock_test(self.volume).code == 0
        return self

    def secrets(self):
        """Both halves of this machine, what they make, and what opens the volume; asked for in a boot of its own."""
        self.reset()
        node = Node(self.fleet, self.tpm)
        assert node.id == self.id
        opened = node.unlock()
        node.unload()
        out = {}
        for (key, generation), half in opened["tenant"][0].items():
            k_b = node.keys[key][generation]
            uuid = subprocess.run(["cryptsetup", "luksUUID", self.volume], check=True, stdout=subprocess.PIPE,
                                  text=True).stdout.strip()
            info = encode_fields("tallyboot luks2 v1", generation, uuid)
            out.update({"U": half["half"], "V": opened["verifier"][0][key, generation]["half"], "K_b": k_b,
                        "the volume key": hpke.hkdf(k_b, node.id.encode(), info, 32)})
        assert len(out) == 4, opened
        done = subprocess.run(["cryptsetup", "open", "--test-passphrase", "--key-file", "-", self.volume],
                              input=out["the volume key"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout  # they are what opens the disk
        return out


def test_tpm_bus_sniffed(fleet):
    """Whoever records all that goes to the TPM and comes from it, at enrollment and at boot, has no half, no K_b, no volume
    key."""
    with Machine(fleet) as machine, Tap(machine.tpm) as tap:
        machine.configure()
        text = machine.config.read_text()
        machine.config.write_text(text.replace(machine.tpm.tcti, tap.tcti))
        machine.ready()
        seen = tap.seen
        for code in (b"\x00\x00\x01\x58", b"\x00\x00\x01\x47", b"\x00\x00\x01\x3c"):  # quote, credential, gate
            assert code in seen, code
        secrets = machine.secrets()
        expect_nowhere(seen, secrets, "what went over the bus")
        try:
            expect_nowhere(seen + secrets["V"], secrets, "the control")
        except AssertionError:
            return
        raise AssertionError("the search finds nothing")


def test_ftpm_broken(fleet):
    """The TPM's whole state and the disk, copied while the machine was off: neither holds a half, and the copy gets none once the
    node is revoked. One party that revoked is enough."""
    with Machine(fleet) as machine:
        machine.ready()
        secrets = machine.secrets()
        machine.tpm.stop()
        for directory, _, names in os.walk(machine.tpm.state):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    expect_nowhere(file.read(), secrets, name)
        with open(machine.volume, "rb") as file:
            expect_nowhere(file.read(), secrets, "the disk")
        stolen = machine.directory / "stolen"
        shutil.copytree(machine.tpm.state, stolen)
        assert fleet.verifier.post(f"/v1/nodes/{machine.id}/revoke", {"reason": "stolen"}).status == 200
        with Swtpm(fleet.test_ca, stolen) as thief:
            machine.config.write_text(machine.config.read_text().replace(machine.tpm.tcti, thief.tcti))
            shutil.rmtree(machine.directory / "run", ignore_errors=True)
            done = machine.run("unlock", "--test", "--device", machine.volume)
            assert done.code == 3 and "revoked" in done.output + done.errors, done


OPENED = re.compile(r'(?:openat|open|creat|mkdir|mkdirat|mknod|mknodat)\((?:AT_FDCWD, |\d+, )?"([^"]*)"(.*?)\)\s+= (\d+)')
MODE = re.compile(r"\b0([0-7]{3,4})\b")


def created(trace):
    """(path, mode, flags) of every file and directory that was made."""
    for line in trace.splitlines():
        found = OPENED.search(line)
        if not found or ("open" in found[0][:6] and "O_CREAT" not in found[2]):
            continue
        if "O_TMPFILE" in found[2]:
            continue
        modes = MODE.findall(found[2])
        yield found[1], int(modes[-1], 8) if modes else None, found[2], line


def traced(command, log, **options):
    if not shutil.which("strace"):
        skip("strace is not installed")
    done = subprocess.run(["strace", "-f", "-qq", "-e",
                           "trace=openat,open,creat,mkdir,mkdirat,mknod,mknodat,umask,chmod,fchmod,fchmodat",
                           "-o", str(log), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # a traced process cannot look for leaks
                          check=False, **options)
    return done, log.read_text(errors="replace")


# What is made for others to read, and says nothing: which state the boot is in, for units, udev and people; a socket's lock.
PUBLIC = re.compile(r"/run/(gate-closed|halves|passphrase|tpm|status[^/]*|opened|[a-z-]+)$")


def expect_private(trace, where):
    made = list(created(trace))
    for path, mode, flags, line in made:
        if path.startswith(("/dev/", "/proc/")):
            continue
        directory = "mkdir" in line
        assert mode is not None, line
        assert mode & (0o022 if directory else 0o077) == 0 or PUBLIC.search(path), f"{where}: wider than its owner: {line}"
        assert not path.startswith(("/tmp/", "/var/tmp/")) or "/tb-" in path, f"{where}: in a folder that all can write: {line}"
    for line in trace.splitlines():
        if re.search(r"\bumask\(", line):
            mask = re.search(r"umask\(0?([0-7]+)\)", line)
            assert mask and int(mask[1], 8) & 0o022 == 0o022, f"{where}: {line}"
    return made


def test_readable_keys_and_predictable_names(fleet):
    """Under strace: neither the node's program, at enrollment and at boot, nor tallyctl init makes a file with secrets that is
    wider than 0600, or anything in a folder that all can write; a file that others may read has no secret in it."""
    with Machine(fleet) as machine:
        log = machine.directory / "trace"
        done, trace = traced(machine.command("enroll", "--key-file", machine.key_file, "--join-token-file",
                                             machine.join_token_file(), machine.volume), log)
        assert done.returncode == 0, done.stdout
        machine.id = machine.node_id()
        expect_private(trace, "enroll")
        assert machine.unlock_test(machine.volume).code == 0
        machine.reset()
        done, trace = traced(machine.command("unlock", "--test", "--device", machine.volume), log)
        assert done.returncode == 0, done.stdout
        expect_private(trace, "unlock")
        secrets = machine.secrets()
        for directory, _, names in os.walk(machine.directory / "run"):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        expect_nowhere(file.read(), secrets, path)

        lab = machine.directory / "lab"
        done, trace = traced([str(BUILD / "tallyctl"), "init", "--dir", str(lab), "--lab"], log)
        assert done.returncode == 0, done.stdout
        made = [(mode, flags) for _, mode, flags, line in created(trace) if "mkdir" not in line]
        assert len(made) > 10 and all(mode == 0o600 and "O_EXCL" in flags and "O_NOFOLLOW" in flags for mode, flags in made), made
        keys = [path for path in lab.rglob("*") if path.is_file() and re.search(r"key$|master", path.name)]
        assert len(keys) >= 5 and all(path.stat().st_mode & 0o777 == 0o600 for path in keys), keys


def test_argon2id_slot_at_512_mb_of_memory(fleet):
    """A passphrase slot that costs 640 MB stands before ours: it is never tried, and the volume opens in a process with 512 MB of
    addresses."""
    with Machine(fleet) as machine:
        with open(machine.command()[0], "rb") as file:
            if b"__asan_init" in file.read():
                skip("built with AddressSanitizer, which needs terabytes of addresses")
        image = machine.directory / "costly"
        with open(image, "wb") as file:
            file.truncate(17 * MIB)
        subprocess.run(["cryptsetup", "-q", "luksFormat", "--type", "luks2", "--pbkdf", "argon2id", "--pbkdf-force-iterations",
                        "4",
                        "--pbkdf-memory", str(COSTLY), "--pbkdf-parallel", "1", image, "-"], input=machine.key_file.read_bytes(),
                       check=True)
        slots = header(image)["keyslots"]
        assert slots["0"]["kdf"]["type"] == "argon2id" and slots["0"]["kdf"]["memory"] == COSTLY, slots
        machine.volume = image
        machine.ready()
        machine.reset()
        limited = ["prlimit", f"--as={512 * MIB}", *machine.command("unlock", "--test", "--device", image)]
        done = subprocess.run(limited, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        assert done.returncode == 0, done.stdout
        tried = subprocess.run(["prlimit", f"--as={512 * MIB}", "cryptsetup", "open", "--test-passphrase", "--key-slot", "0",
                                "--key-file",
                                machine.key_file, image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert tried.returncode != 0, "the control: that slot cannot be opened with this memory"


if __name__ == "__main__":
    main(Fleet)
