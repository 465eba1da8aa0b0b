# SPDX-License-Identifier: LGPL-2.1-or-later
"""Software TPMs for tests: manufactured, with endorsement certificates of a CA made for the purpose.

    ca = TestCa("build/test-ca")            # made once, under a lock; kept
    with Swtpm(ca) as tpm:                  # manufactured, started, removed at the end
        run(["tallyboot", ...], tcti=tpm.tcti)
        tpm.reset()                         # power cycle: PCRs zero, resetCount one higher
    roots = ca.roots                        # directory with the PEM files that the services trust

    python3 tests/lib/swtpm.py CA-DIR [STATE-DIR]    runs one in the foreground, its TCTI string on standard output

All of a test's sockets are in a short directory under /tmp: a UNIX socket's path has room for 107 bytes.
"""

import atexit
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BANKS = ("sha1", "sha256", "sha384")


def _write(path, text):
    pathlib.Path(path).write_text(text)


class TestCa:
    """A root and an issuer of EK certificates, in a directory; made at the first use."""

    __test__ = False  # not a test class, whatever a runner thinks of its name

    def __init__(self, directory, manufacturer="Test"):
        self.directory = pathlib.Path(directory).absolute()
        self.manufacturer = manufacturer
        self.ca = self.directory / "ca"
        self.roots = self.directory / "roots"
        self.setup_conf = self.directory / "setup.conf"
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.roots / "issuer.pem").exists():
                self._make()

    def _make(self):
        for path in (self.ca, self.roots):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        _write(self.directory / "localca.conf",
               f"statedir = {self.ca}\nsigningkey = {self.ca}/signkey.pem\n"
               f"issuercert = {self.ca}/issuercert.pem\ncertserial = {self.ca}/certserial\n")
        _write(self.directory / "localca.options",
               f"--platform-manufacturer {self.manufacturer}\n--platform-model QEMU\n--platform-version 1.0\n")
        _write(self.setup_conf,
               f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
               f"create_certs_tool_config = {self.directory}/localca.conf\n"
               f"create_certs_tool_options = {self.directory}/localca.options\n")
        # The tool makes its CA when it signs for the first time: a TPM that nobody uses.
        with tempfile.TemporaryDirectory(prefix="tb-") as state:
            self._manufacture(state, BANKS)
        shutil.copy(self.ca / "swtpm-localca-rootca-cert.pem", self.roots / "root.pem")
        shutil.copy(self.ca / "issuercert.pem", self.roots / "issuer.pem")

    def manufacture(self, state, banks=BANKS):
        """Write a new TPM's state, with an EK of its own, into the directory state."""
        pathlib.Path(state).mkdir(parents=True, exist_ok=True)
        # swtpm_localca counts its serial numbers in a file, without a lock.
        with open(self.directory / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._manufacture(state, banks)

    def _manufacture(self, state, banks):
        log = self.directory / "setup.log"
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(state), "--config", str(self.setup_conf),
                   "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite",
                   "--pcr-banks", ",".join(banks), "--logfile", str(log)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"swtpm_setup failed: {done.stdout.decode(errors='replace')}\n{log.read_text()}")


class Swtpm:
    """One TPM. state: a directory to keep (manufactured if it has no TPM yet); None: removed with the object.
    firmware: at each power-on measure something into PCR 0 to 7, as firmware does; all-zero ones are refused."""

    def __init__(self, ca, state=None, banks=BANKS, start=True, firmware=True):
        self.run = tempfile.mkdtemp(prefix="tb-", dir="/tmp")
        self.state = str(state) if state is not None else os.path.join(self.run, "state")
        self.socket = os.path.join(self.run, "tpm")
        self.control = self.socket + ".ctrl"
        self.process = None
        self.firmware = firmware
        atexit.register(self.destroy)
        if not os.path.exists(os.path.join(self.state, "tpm2-00.permall")):
            ca.manufacture(self.state, banks)
        if start:
            self.start()

    @property
    def tcti(self):
        """What tss2-tctildr, tallyboot's configuration and tpm2-tools (-T) take."""
        return f"swtpm:path={self.socket}"

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, startup="clear"):
        """Power on: TPM2_Startup(CLEAR), or TPM2_Startup(STATE) after suspend()."""
        assert not self.running
        for path in (self.socket, self.control):
            if os.path.exists(path):
                os.unlink(path)
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--flags", f"startup-{startup}",
             "--server", f"type=unixio,path={self.socket}", "--ctrl", f"type=unixio,path={self.control}",
             "--log", f"file={self.run}/log"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"swtpm does not start, see {self.run}/log")
            time.sleep(0.005)
        if self.firmware and startup == "clear":
            for pcr in range(8):
                self.event(pcr, b"firmware")

    def event(self, pcr, data):
        """TPM2_PCR_Event: extend the PCR with the digests of data, in all banks."""
        password = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
        body = struct.pack(">II", pcr, len(password)) + password + struct.pack(">H", len(data)) + data
        self.command(0x8002, 0x13C, body)

    def command(self, tag, code, body):
        """One raw TPM command; the response without its header. Only while nobody else is connected."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(120)
            client.connect(self.socket)
            client.sendall(struct.pack(">HII", tag, 10 + len(body), code) + body)
            answer = b""
            while len(answer) < 10 or len(answer) < struct.unpack(">I", answer[2:6])[0]:
                chunk = client.recv(4096)
                if not chunk:
                    raise RuntimeError("swtpm closed the connection")
                answer += chunk
        result = struct.unpack(">I", answer[6:10])[0]
        if result != 0:
            raise RuntimeError(f"TPM command {code:#x} failed: {result:#x}")
        return answer[10:]

    def _answers(self):
        for path in (self.control, self.socket):
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(path)
                except OSError:
                    return False
        return True

    def stop(self):
        """Power off, as a cut: no TPM2_Shutdown."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(60)
                except subprocess.TimeoutExpired:
                    self.process.kill()
            self.process.wait()
            self.process = None

    def suspend(self):
        """TPM2_Shutdown(STATE) and power off, as for S3 or hibernation."""
        self.command(0x8001, 0x145, struct.pack(">H", 1))
        self.stop()

    def reset(self):
        """Power cycle: PCRs zero again, resetCount one higher."""
        self.stop()
        self.start()

    def freeze(self):
        """From now on the TPM takes commands and does not answer; thaw() ends that."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def tool(self, *arguments, check=True):
        """Run tpm2-tools on it: tool("pcrread", "sha256:0"). Standard output, as text."""
        done = subprocess.run([f"tpm2_{arguments[0]}", "-T", self.tcti, *arguments[1:]], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, cwd=self.run)
        if check and done.returncode != 0:
            raise RuntimeError(f"tpm2_{' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")

    def destroy(self):
        self.stop()
        shutil.rmtree(self.run, ignore_errors=True)
        atexit.unregister(self.destroy)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with Swtpm(TestCa(sys.argv[1]), state=sys.argv[2] if len(sys.argv) == 3 else None) as tpm:
        print(tpm.tcti, flush=True)
        try:
            tpm.process.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
