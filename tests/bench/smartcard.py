# SPDX-License-Identifier: LGPL-2.1-or-later
"""An unlock on the host without a TPM: by a token (SoftHSM) online, and offline, beside the TPM's way, against the same
services."""
import pathlib
import shutil

from host import digest_rounds, make_lab
from services import BUILD
from softhsm import MODULE, PIN
from table import Sample, goal, in_turns, row, title, undisturbed
from token_machine import TokenMachine
from token_node import token_group


class Machine(TokenMachine):
    """Enrolled with a key for either way, and a configuration for each."""

    def __init__(self, fleet):
        super().__init__(fleet, token_group(fleet, "0"))
        self.hsm.run(BUILD / "tests/tools/token-key", MODULE, "node", PIN, "aes", "wrap", "aes")
        self.offline = {"unlock": "online-then-offline", "offline_key": "pkcs11:token=node;object=aes"}
        self.set(**self.offline)
        self.volume = self.image()
        self.enrolled(self.volume)

    def way(self, **changes):
        self.set(**{**self.offline, **changes})
        config = pathlib.Path(f"{self.config}.{changes['unlock']}")
        shutil.copy(self.config, config)
        return [str(BUILD / "tallyboot"), "--config", str(config), "--run-dir", str(self.directory / "run"), "unlock", "--test",
                "--device", str(self.volume)]


def report(tpm, online, offline, volume):
    title(f"An unlock without a TPM, whole process (median of {len(tpm.times)}; SoftHSM, a digest of {digest_rounds(volume)} rounds)")
    row("by the TPM, both parties", f"{tpm.median:.1f} ms", tpm.spread())
    row("by the token, both parties", f"{online.median:.1f} ms", online.spread())
    row("by the token, offline", f"{offline.median:.1f} ms", f"{offline.spread()}; {goal(offline.median, 60, ' ms')}")
    row("token / TPM, online", f"{online.median / tpm.median:.2f}", goal(online.median / tpm.median, 1.5))
    row("programs executed: token, online", f"{online.programs()}")
    row("programs executed: token, offline", f"{offline.programs()}")
    row("peak memory: token, offline", f"{offline.memory():.1f} MiB")


def measure(rounds):
    lab = make_lab()
    machine = Machine(lab.fleet)
    dead = {role: "https://127.0.0.1:1" for role in ("tenant", "verifier")}
    try:
        samples = (
            Sample("by the TPM", lambda: lab.command("unlock", "--test", "--device", lab.node.volumes[0][0]),
                   prepare=lab.power_on),
            Sample("by the token, online", machine.way(unlock="online"), prepare=machine.reset,
                   environment=machine.environment()),
            Sample("by the token, offline", machine.way(unlock="offline", **dead), prepare=machine.reset,
                   environment=machine.environment()))
        in_turns(samples, rounds)
        report(*samples, machine.volume)
    finally:
        machine.destroy()
        lab.destroy()


def run(rounds):
    with undisturbed():
        measure(rounds)
