# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test's own files for an initramfs: the kernel unpacks archives one after the other, the last file wins."""
import os
from pathlib import Path

# In a merged /usr these are links: a directory of that name in an archive would replace the link.
LINKS = ("bin", "sbin", "lib", "lib64")


class Symlink(str):
    """The content of a file that is a symbolic link."""


def _record(inode, name, mode, content):
    fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def archive(files):
    """A cpio of {path: content}: str, bytes, Symlink, a Path to read, or a pair of one of these and the mode (0o644)."""
    records, directories = [], set()
    for name, value in sorted(files.items()):
        name = name.strip("/")
        if name.split("/")[0] in LINKS:
            raise ValueError(f"/{name}: say /usr/{name}")
        content, mode = value if isinstance(value, tuple) else (value, 0o644)
        kind = 0o120000 if isinstance(content, Symlink) else 0o100000
        content = content.read_bytes() if isinstance(content, Path) else content
        content = content.encode() if isinstance(content, str) else content
        for parent in reversed(Path(name).parents[:-1]):
            if str(parent) not in directories:
                directories.add(str(parent))
                records.append((str(parent), 0o040755, b""))
        records.append((name, kind | (0o777 if kind == 0o120000 else mode), content))
    records.append(("TRAILER!!!", 0, b""))
    return b"".join(_record(i + 1, *record) for i, record in enumerate(records))


def overlay():
    """The files below $VM_TESTS_OVERLAY, which go on top of every initramfs: what vm-tests/mutate puts in a defence's place."""
    top = Path(os.environ.get("VM_TESTS_OVERLAY", "/nonexistent"))
    return {str(file.relative_to(top)): (file, file.stat().st_mode & 0o777) for file in top.rglob("*") if file.is_file()}


def initramfs(base, files, out):
    """Write `out`: the initramfs `base`, with the files on top."""
    content = Path(base).read_bytes()
    # An archive that is not compressed must begin at a multiple of four bytes.
    Path(out).write_bytes(content + b"\0" * (-len(content) % 4) + archive(files))
    return out
