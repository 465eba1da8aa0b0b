# SPDX-License-Identifier: LGPL-2.1-or-later
"""A software TPM that belongs to one machine: its own endorsement key and certificates, its state kept between boots."""
import hashlib
import os
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path

from . import images, process

CA = images.path("tpm-ca", "ca")
# The certificates that a service has to trust: root first.
CA_CERTIFICATES = [CA / "swtpm-localca-rootca-cert.pem", CA / "issuercert.pem"]


class Tpm:
    """Paths are relative to the run directory: a socket's path has room for 107 bytes."""

    def __init__(self, directory, banks="sha1,sha256,sha384"):
        self.directory, self.banks = Path(directory), banks
        self.state, self.socket, self.log = (self.directory / name for name in ("tpm", "tpm.sock", "swtpm.log"))
        self._process = None
        self.manufacture()

    def manufacture(self):
        """Make it new: another TPM, with another endorsement key (a board that was changed)."""
        here = self.directory.resolve()
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        (here / "localca.conf").write_text(
            f"statedir = {CA}\nsigningkey = {CA}/signkey.pem\nissuercert = {CA}/issuercert.pem\ncertserial = {CA}/certserial\n")
        (here / "swtpm.conf").write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {here}/localca.conf\n"
            f"create_certs_tool_options = {images.path('tpm-ca', 'localca.options')}\n")
        process.command(
            "swtpm_setup", "--tpm2", "--tpmstate", here / "tpm", "--config", here / "swtpm.conf", "--pcr-banks", self.banks,
            "--create-ek-cert", "--create-platform-cert", "--lock-nvram", log=self.directory / "swtpm_setup.log")

    def _start(self, arguments):
        """Run it behind its socket."""
        self.socket.unlink(missing_ok=True)
        # Level 1 is errors; 5 would add every command and answer, 20 all their bytes.
        level = os.environ.get("VM_TESTS_SWTPM_LOG", "1")
        self._process = process.spawn(
            shlex.split(f"swtpm socket --tpm2 --tpmstate dir={self.state} --log file={self.log},level={level}")
            + shlex.split(arguments))
        process.wait_until(self.socket.exists, "swtpm's socket", process=self._process, log=self.log)

    def stop(self):
        if self._process:
            process.stop(self._process)
            self._process = None

    def start_for_machine(self):
        """QEMU holds the control channel, and the TPM ends with it."""
        self._start(f"--terminate --ctrl type=unixio,path={self.socket}")

    @contextmanager
    def powered_on_by_host(self):
        """The TPM of a machine that is off, for the host's programs: yields a TCTI string. Counts as a boot (resetCount).
        PCRs 0 to 7 are measured into, as by a firmware: nobody believes a TPM where they are zero."""
        control = f"{self.socket}.ctrl"
        Path(control).unlink(missing_ok=True)
        self._start(f"--server type=unixio,path={self.socket} --ctrl type=unixio,path={control} --flags startup-clear")
        tcti = f"swtpm:path={self.socket.resolve()}"
        try:
            digest = hashlib.sha256(b"the host").hexdigest()
            process.command("tpm2_pcrextend", "-T", tcti, *(f"{pcr}:sha256={digest}" for pcr in range(8)))
            yield tcti
        finally:
            self.stop()
