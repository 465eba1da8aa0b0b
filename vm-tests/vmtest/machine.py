# SPDX-License-Identifier: LGPL-2.1-or-later
"""One machine: QEMU in software emulation, firmware, disks, a software TPM of its own, a console and an agent."""
import base64
import json
import os
import shlex
import shutil
import socket
from pathlib import Path

from . import Failure, cpio, disk, images, process
from .agent import Agent
from .console import Console
from .tpm import Tpm

# Firmware: code and variables. Without a row: SeaBIOS, the quickest, which boots -kernel only. secureboot: what runs has to be
# signed with the test key of Debian's ovmf; secureboot-off: the same code, and nobody's keys in its variables.
OVMF = {"ovmf": ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        "secureboot": ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"),
        "secureboot-off": ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")}
# About four times what two machines side by side take on two cores that nobody else uses.
BOOT = 150
COMMAND = 120

# A KVM device may be there and not work: never used. -no-reboot: a reboot ends QEMU, and start() begins the next boot.
BASE = """qemu-system-x86_64 -machine q35{machine} -accel tcg,thread=multi -cpu max -nodefaults -display none -no-reboot
    -serial stdio -device virtio-rng-pci"""


class Machine:
    """Settings are read at start(): a scenario may change them between two boots, as a person would.

    network: a card on QEMU's user network, where 10.0.2.2 is the host's loopback; tpm: "crb", "tis" or None;
    kernel, initrd, append: a -kernel boot, else the first disk is booted; disks: file names, in the order vda, vdb, ..."""

    def __init__(self, name, firmware="seabios", memory=1024, tpm="crb", network=True):
        self.name, self.firmware, self.memory, self.tpm_model, self.network = name, firmware, memory, tpm, network
        self.directory = Path(name)
        self.directory.mkdir()
        self.log = (self.directory / "serial.log").resolve()
        self.disks, self.kernel, self.initrd, self.append, self.more = [], None, None, "", ""
        self.boots, self.console, self._qemu, self._agent = 0, None, None, None
        self.tpm = Tpm(self.directory)
        if firmware in OVMF:
            self.new_variables()

    # What it is made of

    def file(self, name):
        """The name of a file in the machine's own directory."""
        return str(self.directory / name)

    def new_variables(self, firmware=None):
        """The firmware's variables as they left the factory, of this firmware from now on: what a person at its menu can do."""
        self.firmware = firmware or self.firmware
        shutil.copy(OVMF[self.firmware][1], self.directory / "vars.img")

    def boot_kernel(self, files, append=None, base="initramfs"):
        """Boot the cached kernel and the initramfs `base` with the test's files on top (see cpio.archive), and
        vm-tests/mutate's."""
        self.kernel = images.path("kernel", "vmlinuz")
        self.initrd = cpio.initramfs(images.path(base, "initramfs.img"), files | cpio.overlay(), self.file("initramfs.img"))
        self.append = images.root_command_line() if append is None else append

    def add_files(self, files):
        """More files on top of what boot_kernel() made."""
        cpio.initramfs(self.initrd, files, self.initrd)

    def boot_uki(self, signed=False):
        """Boot what boot_kernel() made as a unified kernel image, from an ESP as first disk. Returns the image's name."""
        efi = disk.uki(self.file("boot.efi"), self.initrd, self.append)
        if signed:
            disk.sign(efi)
        self.kernel = None
        self.disks.insert(0, disk.esp(self.file("esp.img"), efi))
        return efi

    def add_root(self, image, name="root.img"):
        """A copy of a cached image's root.img as the next disk."""
        self.disks.append(disk.copy(images.path(image, "root.img"), self.file(name)))

    def add_esp(self, efi):
        """An EFI system partition as the next disk; needs firmware "ovmf", and to be the first one."""
        self.disks.append(disk.esp(self.file("esp.img"), efi))

    # Power

    def _arguments(self):
        secure = self.firmware.startswith("secureboot")
        command = shlex.split(BASE.format(machine=",smm=on" if secure else "")) + ["-m", str(self.memory), "-smp",
                                                                                   os.environ.get("VM_TESTS_CPUS", "1")]
        if secure:
            command += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        if self.firmware in OVMF:
            command += shlex.split(f"-drive if=pflash,format=raw,readonly=on,file={OVMF[self.firmware][0]}"
                                   f" -drive if=pflash,format=raw,file={self.directory}/vars.img")
        if self.kernel:
            command += ["-kernel", self.kernel, "-initrd", self.initrd, "-append", self.append]
        for i, image in enumerate(self.disks):
            # Unsafe: the host's page cache outlives a power cut of the guest. nbd:...: a disk that is served by a program
            # (nbd.py).
            command += ["-drive", f"if=none,id=disk{i},file={image},format=raw,cache=unsafe",
                        "-device", f"virtio-blk-pci,drive=disk{i},bootindex={i + 1}"]
        if self.network:
            command += shlex.split("-netdev user,id=net0 -device virtio-net-pci,netdev=net0,id=nic0,romfile=")
        if self.tpm_model:
            command += shlex.split(f"-chardev socket,id=tpm,path={self.tpm.socket} -tpmdev emulator,id=tpm0,chardev=tpm"
                                   f" -device tpm-{self.tpm_model},tpmdev=tpm0")
        command += shlex.split(
            f"-qmp unix:{self.file('qmp.sock')},server=on,wait=off -device virtio-serial-pci"
            f" -chardev socket,id=agent,path={self.file('agent.sock')},server=on,wait=off"
            f" -device virtserialport,chardev=agent,name=tallyboot.agent")
        return command + shlex.split(self.more)

    def start(self):
        """Power on. The TPM starts with it: a boot more in resetCount."""
        self.stop()
        self.boots += 1
        if self.tpm_model:
            self.tpm.start_for_machine()
        for name in ("qmp.sock", "agent.sock"):
            Path(self.file(name)).unlink(missing_ok=True)
        command = self._arguments()
        with open(self.log, "a") as log:
            print(f"=== boot {self.boots} ===\n{shlex.join(map(str, command))}", file=log, flush=True)
            self._qemu = process.spawn(command, bufsize=0, stdin=process.subprocess.PIPE,
                                       stdout=process.subprocess.PIPE, stderr=log)
        self.console = Console(self._qemu.stdout, self._qemu.stdin.write, self.log, self.name)
        process.wait_until(self._connect, "QEMU's sockets", process=self._qemu, log=self.log)

    def _connect(self):
        """Whether QEMU takes connections: its socket is there a moment earlier."""
        try:
            self._agent = Agent(self.file("agent.sock"), self.file("commands.log"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def stop(self):
        """Take what still runs away, at once; nothing is said about how it ended."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
            self.console.close()
            if self._agent:
                self._agent.close()
            self._qemu = self._agent = None
        self.tpm.stop()

    power_cut = stop

    def off(self, seconds=BOOT):
        """Wait until the machine has powered itself off (or wants to reboot)."""
        process.wait_until(lambda: self._qemu.poll() is not None, f"{self.name}: powers off", seconds, log=self.log)
        status = self._qemu.returncode
        self.stop()
        if status:
            raise Failure(f"{self.name}: QEMU ended with status {status}", self.log)

    def is_on(self):
        return bool(self._qemu) and self._qemu.poll() is None

    def reset(self):
        """Somebody presses the button: no clean stop; the TPM is reset as well."""
        self.power_cut()
        self.start()

    def reboot(self, seconds=BOOT):
        """`systemctl reboot` in the booted system; returns when the next boot has begun."""
        self._agent.send("systemctl --no-block reboot")
        self.off(seconds)
        self.start()

    def qmp(self, execute, **arguments):
        """A command for QEMU itself, e.g. qmp("set_link", name="nic0", up=False) pulls the network cable."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.file("qmp.sock"))
            file = connection.makefile("rw")
            for request in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                file.write(json.dumps(request) + "\n")
                file.flush()
                answer = {}
                while not {"return", "error"} & answer.keys():    # else: the greeting, an event
                    answer = json.loads(file.readline())
        if "error" in answer:
            raise Failure(f"{self.name}: QEMU refuses {execute}: {answer['error']['desc']}", self.log)
        return answer["return"]

    # The console

    def expect(self, regex, seconds=BOOT):
        """Wait until the console says it, after what was matched before; returns the match."""
        return self.console.expect(regex, seconds)

    def seen(self, regex):
        """The last match in all that the console said since power-on, or None."""
        return self.console.seen(regex)

    def never(self, regex):
        """Fail if the console has said it in this boot."""
        if match := self.seen(regex):
            raise Failure(f"{self.name}: seen, and should not be: {match.group()}", self.log)

    def send(self, text):
        """Type text and Enter."""
        self.console.send(text + "\n")

    def type_passphrase(self, volume="root", text=None, seconds=BOOT):
        """Wait for systemd's prompt and answer it."""
        self.expect(rf"enter passphrase for disk .*{volume}.*:", seconds)
        self.send(images.passphrase() if text is None else text)

    def seconds(self):
        """Since power-on."""
        return self.console.seconds()

    # The booted system

    def booted(self, seconds=BOOT):
        """Wait for a debian-root's multi-user system: from then on run() works."""
        self._agent.wait(seconds)

    def run(self, script, seconds=COMMAND, check=True):
        """Run a bash script as root; returns (status, output). check: another status than 0 is a failure."""
        result = self._agent.run(script, seconds)
        if check and result.status:
            last = (result.output.strip().split("\n") or [""])[-1]
            raise Failure(f"{self.name}: status {result.status} of: {script.strip()[:80]}: {last[:200]}", self._agent.log)
        return result

    def put(self, path, content, mode=0o644):
        """Write a small file in the booted system."""
        content = content.encode() if isinstance(content, str) else content
        self.run(f"mkdir -p \"$(dirname '{path}')\" && rm -f '{path}' && (umask 077 && base64 -d > '{path}') <<'END' &&"
                 f" chmod {mode:o} '{path}'\n{base64.b64encode(content).decode()}\nEND")

    def get(self, path):
        """Read a small text file of the booted system."""
        return self.run(f"cat '{path}'").output

    def pcr(self, index, bank="sha256"):
        """The value of a PCR in the booted system, as the kernel reads it: lower-case hex."""
        return self.get(f"/sys/class/tpm/tpm0/pcr-{bank}/{index}").strip().lower()
