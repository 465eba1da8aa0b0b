# SPDX-License-Identifier: LGPL-2.1-or-later
"""An unlock on the host: ours, its floor, and clevis, against the same software TPM, everything on the loopback."""
import glob
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from services import BUILD
from table import Sample, goal, in_turns, row, title, undisturbed
from unlocking import PASSPHRASE, Unlocking


class Tang:
    """tangd behind a listening socket, a process for each connection, as systemd's tangd.socket runs it."""

    def __init__(self, directory):
        self.keys = pathlib.Path(directory) / "tang"
        self.keys.mkdir()
        self.program = glob.glob("/usr/lib*/tangd")[0]
        subprocess.run([self.program + "-keygen", str(self.keys)], check=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                subprocess.Popen([self.program, str(self.keys)], stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)

    def close(self):
        self.listener.close()


class Commit:
    """What a party does before it answers, and the floor does not ask for: pages appended to SQLite's log, and on the disk. Both
    parties do it at the same time."""

    PAGES = 9  # of a release: the boot, the audit record, their indices

    def __init__(self, directory):
        self.file = os.open(pathlib.Path(directory) / "commit", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.times, self.processor = [], []

    def once(self):
        start = time.perf_counter()
        os.write(self.file, b"\1" * self.PAGES * (4096 + 24))
        os.fdatasync(self.file)
        self.times.append((time.perf_counter() - start) * 1000)

    @property
    def median(self):
        return statistics.median(self.times)


def make_lab():
    lab = Unlocking()
    lab.volume("root", "root")
    lab.ready()
    return lab


def clevis_secret(lab, tang, environment):
    config = json.dumps({"t": 2, "pins": {"tang": {"url": tang.url}, "tpm2": {}}})
    done = subprocess.run(["clevis", "encrypt", "sss", config, "-y"], input=b"32 bytes of a secret, more or less",
                          env=environment, stdout=subprocess.PIPE, check=True)
    path = pathlib.Path(lab.directory) / "secret.jwe"
    path.write_bytes(done.stdout)
    return path


def digest_rounds(path):
    done = subprocess.run(["cryptsetup", "luksDump", "--dump-json-metadata", path], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["digests"]["0"]["iterations"]


def orderly_power_cycle(lab):
    """clevis' sealed object is under dictionary-attack protection: a cut after its use would count as an attack."""
    lab.node.swtpm.tool("shutdown", "--clear")
    lab.power_on()
    lab.node.swtpm.tool("dictionarylockout", "--clear-lockout")


def samples_of(lab, tang):
    swtpm = lab.node.swtpm
    environment = {**os.environ, "TPM2TOOLS_TCTI": swtpm.tcti}
    secret = clevis_secret(lab, tang, environment)
    volume = lab.node.volumes[0][0]
    key = pathlib.Path(lab.directory) / "passphrase"
    key.write_text(PASSPHRASE)
    key.chmod(0o600)
    ports = [str(service.port) for service in (lab.fleet.tenant, lab.fleet.verifier)]
    return (
        Sample("tallyboot unlock --test", lambda: lab.command("unlock", "--test", "--device", volume), prepare=lab.power_on),
        Sample("its floor", [str(BUILD / "tests/tools/bench-floor"), swtpm.tcti, str(lab.fleet.pki.ca), "127.0.0.1", *ports,
                             volume, "0", str(key)], prepare=lab.power_on),
        Sample("clevis decrypt", ["sh", "-c", f"exec clevis decrypt < {secret}"], prepare=lambda: orderly_power_cycle(lab),
               environment=environment),
        Commit(lab.directory),
    ), volume


def report(ours, floor, clevis, commit, volume):
    title(f"An unlock, whole process (median of {len(ours.times)}; volume with a digest of {digest_rounds(volume)} rounds)")
    row("tallyboot unlock --test: TPM, two parties, gate, keyslot", f"{ours.median:.1f} ms",
        f"{ours.spread()}; {goal(ours.median, 50, ' ms')}")
    row("clevis decrypt, sss of tang and tpm2, 2 of 2", f"{clevis.median:.1f} ms", clevis.spread())
    row("floor: the same commands, connections and keyslot, bare", f"{floor.median:.1f} ms", floor.spread())
    row("one durable commit on this disk, not in the floor", f"{commit.median:.1f} ms")
    row("ours / clevis", f"{ours.median / clevis.median:.2f}", goal(ours.median / clevis.median, 0.35))
    row("ours / floor", f"{ours.median / floor.median:.2f}", goal(ours.median / floor.median, 1.3))
    row("ours / (floor + commit)", f"{ours.median / (floor.median + commit.median):.2f}")
    row("programs executed: tallyboot", f"{ours.programs()}", "goal 1")
    row("programs executed: clevis", f"{clevis.programs()}")
    memory = ours.memory()
    row("peak memory: tallyboot", f"{memory:.1f} MiB", goal(memory, 16, " MiB"))


def measure(rounds):
    lab = make_lab()
    tang = Tang(tempfile.mkdtemp(prefix="tang-", dir=lab.directory))
    try:
        samples, volume = samples_of(lab, tang)
        in_turns(samples, rounds)
        report(*samples, volume)
    finally:
        tang.close()
        lab.destroy()


def run(rounds):
    with undisturbed():
        measure(rounds)
