# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the initramfs grows by: ours, with and without what only libcurl brings, and clevis', on top of the same base image with a
network. dracut runs in a Debian tree of its own (vm-tests/images), never on this machine's files."""
import os
import pathlib
import re
import shutil
import subprocess

from services import BUILD, TOP
from table import row, title

IMAGES = TOP / "vm-tests/images"
BASE = "base systemd systemd-initrd dracut-systemd udev-rules rootfs-block kernel-modules dm crypt systemd-networkd network shutdown"
CLEVIS = ("clevis-dracut", "clevis-luks", "clevis-tpm2", "clevis-systemd", "clevis", "netbase")  # its module wants /etc/services


def in_tree(tree, *command, **more):
    done = subprocess.run([str(IMAGES / "in-tree"), str(tree), *command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout[-500:]}")
    return done.stdout


def make_tree(work):
    """A copy of the tests' Debian with the product, a configuration, and clevis."""
    subprocess.run([str(IMAGES / "build"), "debian", "kernel"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["make", "-s", "-C", str(TOP), "install", f"DESTDIR={work / 'dest'}"], check=True, stdout=subprocess.DEVNULL)
    tree = work / "tree"
    subprocess.run(["cp", "-a", f"{BUILD / 'vm/images/debian/tree'}/.", f"{tree}/"], check=True)
    subprocess.run(["cp", "-a", "--remove-destination", f"{BUILD / 'vm/images/kernel/tree'}/.", f"{tree}/"], check=True)
    subprocess.run(["cp", "-a", "--no-preserve=ownership", f"{work / 'dest'}/.", f"{tree}/"], check=True)
    install_clevis(tree)
    (tree / "etc/tallyboot").mkdir(exist_ok=True)
    (tree / "etc/tallyboot/tallyboot.conf").write_text("[node]\ntenant = https://a:1\nverifier = https://b:1\n")
    (tree / "etc/tallyboot/ca.pem").write_text("a certificate\n")
    return tree


def install_clevis(tree):
    """Unpacked, not configured: dracut needs the files only."""
    done = subprocess.run(["apt-get", "install", "--print-uris", "--no-install-recommends", "-y", "-qq", "-o",
                           f"Dir::State::status={tree}/var/lib/dpkg/status", "-o", f"Dir::Cache={tree.parent}", *CLEVIS],
                          check=True, stdout=subprocess.PIPE, text=True)
    debs = tree.parent / "debs"
    debs.mkdir()
    for name, version in re.findall(r"^'.*' ([^_]+)_([^_]+)_\S+", done.stdout, re.MULTILINE):
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{name}={version.replace('%3a', ':')}"],
                       check=True, cwd=debs, stdout=subprocess.DEVNULL)
    for deb in debs.glob("*.deb"):
        # dpkg-deb -x would put a directory in the place of the link /lib.
        tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", str(tree)], input=tar, check=True)


def image(tree, name, modules):
    """The files of an image, unpacked."""
    version = (BUILD / "vm/images/kernel/version").read_text().strip()
    log = in_tree(tree, "dracut", "--force", "--quiet", "--no-hostonly", "--no-hostonly-cmdline", "--no-early-microcode",
                  "--nostrip", "--tmpdir", "/tmp", "--kver", version, "--modules", modules, "--no-compress", f"/{name}.img")
    if "cannot be found" in log or "FAILED" in log:
        raise RuntimeError(f"dracut {name}: {log[-300:]}")
    out = tree.parent / name
    out.mkdir()
    with open(tree / f"{name}.img", "rb") as archive:
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=out, stdin=archive, check=True, stderr=subprocess.DEVNULL)
    return out


def files_of(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()}


def size(root, names):
    """Bytes as they are, and after zstd -19."""
    plain = sum((root / name).lstat().st_size for name in names)
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input="\n".join(sorted(names)).encode(),
                             check=True, stdout=subprocess.PIPE).stdout
    packed = subprocess.run(["zstd", "-19", "-q", "-c"], input=archive, check=True, stdout=subprocess.PIPE).stdout
    return plain, len(packed)


def libraries(root, *programs):
    """What these load, as file names below root."""
    found = set()
    for program in programs:
        done = in_tree(root, "/bin/sh", "-c", f"for p in {program}; do /lib64/ld-linux-x86-64.so.2 --list $p; done")
        found |= {pathlib.Path(path).name for path in re.findall(r"=> (\S+)", done)}
    return found


def curl_tail(tree):
    """The libraries that are there for libcurl's sake alone, links and what they lead to."""
    own = libraries(tree, "/usr/lib/x86_64-linux-gnu/libtss2-*.so.0 /usr/lib/x86_64-linux-gnu/libjansson.so.4 "
                          "/usr/lib/x86_64-linux-gnu/libcryptsetup.so.12 /usr/lib/x86_64-linux-gnu/libsystemd.so.0 "
                          "/usr/lib/x86_64-linux-gnu/libssl.so.3")
    tail = libraries(tree, "/usr/lib/x86_64-linux-gnu/libcurl.so.4") - own
    return tail | {(tree / "usr/lib/x86_64-linux-gnu" / name).resolve().name for name in tail}


def report(name, root, names):
    plain, packed = size(root, names)
    row(name, f"+{packed / 1e6:.2f} MB", f"+{plain / 1e6:.1f} MB before zstd -19, {len(names)} files")


def run(_rounds):
    work = BUILD / "bench"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.environ.setdefault("LC_ALL", "C")
    try:
        tree = make_tree(work)
        base = files_of(image(tree, "base", BASE))
        ours = image(tree, "ours", BASE + " tallyboot")
        clevis = image(tree, "clevis", BASE + " clevis clevis-pin-sss clevis-pin-tang clevis-pin-tpm2")
        tail = curl_tail(tree)
        title("The initramfs, on top of one with LUKS and a network (zstd -19)")
        added = files_of(ours) - base
        report("tallyboot", ours, added)
        report("tallyboot, without what only libcurl loads", ours,
               {name for name in added if pathlib.Path(name).name not in tail})
        report("clevis with tang, tpm2, sss", clevis, files_of(clevis) - base)
    finally:
        shutil.rmtree(work, ignore_errors=True)
