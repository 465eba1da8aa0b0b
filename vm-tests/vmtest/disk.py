# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of a machine, made without mounts, loop devices and device-mapper. Names are relative to the run directory."""
import shutil
import tempfile
import uuid as uuids
from pathlib import Path

from . import images
from .process import command


def copy(source, name):
    """A copy of a cached image that a machine may write to."""
    command("cp", "--sparse=always", "--reflink=auto", source, name)
    return name


def ext4(name, files=None, megabytes=16, uuid=None, label="data"):
    """A plain ext4 file system with {path: text or bytes}."""
    with tempfile.TemporaryDirectory(dir=".") as tree:
        for path, content in (files or {}).items():
            file = Path(tree) / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        command("truncate", "-s", f"{megabytes}M", name)
        command("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", "-L", label,
                "-U", uuid or str(uuids.uuid4()), "-d", tree, name)
    return name


def luks(name, files=None, megabytes=16, uuid=None, label="data"):
    """The same on LUKS2, opened by images.passphrase(); `uuid` is the LUKS volume's."""
    ext4(name, files, megabytes, label=label)
    command(images.SCRIPTS / "luks.sh", name, uuid or str(uuids.uuid4()))
    return name


def luks_uuid(name):
    return command("cryptsetup", "luksUUID", name).decode().strip()


def uki(name, initramfs, cmdline):
    """A unified kernel image of the cached kernel, made as the guest's rebuild-uki does it."""
    tree = images.path("debian", "tree")
    Path(f"{name}.cmdline").write_text(cmdline)
    command("env", f"STUB={tree}/usr/lib/systemd/boot/efi/linuxx64.efi.stub", images.GUEST / "usr/local/sbin/make-uki",
            images.path("kernel", "vmlinuz"), initramfs, f"{name}.cmdline", tree / "usr/lib/os-release", name)
    return name


def sign(name):
    """Sign an EFI program with the test key that the variables of firmware "secureboot" trust (password: snakeoil)."""
    key = f"{name}.key"
    command("openssl", "rsa", "-in", "/usr/share/ovmf/PkKek-1-snakeoil.key", "-passin", "pass:snakeoil", "-out", key)
    command("sbsign", "--key", key, "--cert", "/usr/share/ovmf/PkKek-1-snakeoil.pem", "--output", name, name)
    return name


def esp_put(name, path, file):
    """Put a file on an EFI system partition, as whoever has the disk can: path as EFI/BOOT/BOOTX64.EFI."""
    for parent in list(reversed(Path(path).parents))[1:]:
        command("mmd", "-D", "s", "-i", name, f"::{parent}", check=False)    # may be there
    command("mcopy", "-o", "-i", name, file, f"::{path}")


def esp(name, efi, megabytes=160):
    """An EFI system partition (the whole disk) that boots this EFI program; room for a second one of its size."""
    Path(name).unlink(missing_ok=True)
    command("truncate", "-s", f"{megabytes}M", name)
    # Small clusters: OVMF wants FAT32, which has at least 65525 of them.
    command("mkfs.fat", "-F", "32", "-s", "1", "-n", "ESP", name)
    command("mmd", "-i", name, "::EFI", "::EFI/BOOT")
    command("mcopy", "-i", name, efi, "::EFI/BOOT/BOOTX64.EFI")
    return name


def remove_all(directory):
    """What a passed scenario need not keep."""
    for pattern in ("*.img", "*.efi", "tpm"):
        for file in Path(directory).rglob(pattern):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
