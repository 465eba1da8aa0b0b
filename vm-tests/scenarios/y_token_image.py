# SPDX-License-Identifier: LGPL-2.1-or-later
"""What dracut adds for a PKCS#11 token: what its module needs and no more; nothing where none is configured. No machine boots."""
import os
import subprocess
from pathlib import Path

from vmtest import REPO, images, process

NEEDS = ["initramfs", "initramfs-node", "initramfs-softhsm", "initramfs-opensc"]
LIMIT = 200
LIB, UNITS, DRIVER = "usr/lib/x86_64-linux-gnu", "usr/lib/systemd/system", "usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents"
CONFIGURATION = {"etc/tallyboot/ca.pem", "etc/tallyboot/tallyboot.conf"}
# Without directories, and versions of libraries: both the link and the file are there.
SOFTHSM = {
    "etc/softhsm/softhsm2.conf", "usr/lib/softhsm/libsofthsm2.so", f"{LIB}/softhsm/libsofthsm2.so", f"{LIB}/libstdc++.so.6",
    f"{UNITS}/tallyboot-unlock.service.d/20-token-pin.conf",    # images.PIN_CREDENTIAL
}
OPENSC = {
    "etc/libccid_Info.plist", "etc/opensc/opensc.conf", f"{DRIVER}/Info.plist", f"{DRIVER}/Linux/libccid.so", "usr/sbin/pcscd",
    f"{UNITS}/pcscd.service", f"{UNITS}/pcscd.socket", f"{UNITS}/tallyboot-unlock.service.d/20-pcscd.conf",
    *(f"{LIB}/{name}" for name in (
        "opensc-pkcs11.so", "libopensc.so.8", "libgio-2.0.so.0", "libglib-2.0.so.0", "libgmodule-2.0.so.0", "libgobject-2.0.so.0",
        "libpcsclite.so.1", "libpthread.so.0", "libusb-1.0.so.0")),
}


def unpack(name):
    """The image as a tree; its files, without directories and the second names of libraries."""
    tree = Path(name)
    tree.mkdir()
    process.command("sh", "-c", f"zstd -dcq {images.path(name, 'initramfs.img')} | cpio -idm --quiet -D {tree}")
    # build-time and what is made of the configuration's dates differ in content, not in name.
    return {str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_symlink() or not file.is_dir()}


def added(more, base):
    """What is in `more` only; the file that a library's link names counts with the link."""
    new = more - base
    return {name for name in new if not any(name != other and name.startswith(f"{other}.") for other in new)}


def check_added(t, name, base, expected):
    files = unpack(name)
    found = added(files, base)
    t.check(base <= files, f"{name}: nothing is missing: {sorted(base - files)}")
    t.check(found == expected, f"{name}: too much {sorted(found - expected)}, missing {sorted(expected - found)}")


def ask_module(call, configuration, files=()):
    """What a function of token-setup.sh prints, on a machine with this configuration and these other files."""
    root = Path("root")
    process.command("rm", "-rf", root)
    for path, text in [("etc/tallyboot/tallyboot.conf", configuration), *files]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    module = REPO / "dracut/90tallyboot"
    script = f'. "{module}/module-setup.sh"; . "{module}/token-setup.sh"; {call}'
    done = subprocess.run(["bash", "-c", script], env=os.environ | {"dracutsysrootdir": str(root.resolve()),
                                                                    "libdirs": "/usr/lib"},
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.split("\n")[:-1]


def modules(t):
    """Where the module's path comes from."""
    p11_kit = [("usr/share/p11-kit/modules/a.module", "# module: no.so\nmodule: a.so\n"), ("usr/lib/pkcs11/a.so", ""),
               ("etc/pkcs11/modules/b.module", "module: /opt/b.so\n"), ("opt/b.so", ""),
               ("etc/pkcs11/modules/c.module", "module: gone.so\n"),
               ("usr/lib/pkcs11/libd.so", ""), ("usr/share/p11-kit/modules/trust.module",
                                                "module: /opt/b.so\ntrust-policy: yes\n")]
    a, b = "/usr/share/p11-kit/modules/a.module /usr/lib/pkcs11/a.so", "/etc/pkcs11/modules/b.module /opt/b.so"
    for configuration, expected in (
            ("[node]\n", []),
            ("token-module = /opt/b.so\n", []),    # no key in a token: none is used
            ("token-key = pkcs11:object=k\ntoken-module = /opt/x.so\noffline-key=pkcs11:object=w\n", ["/opt/x.so"]),
            ("# token-key = pkcs11:object=k\n", []),
            ("token-key = pkcs11:object=k?pin-source=file:/p&module-path=/opt/a%20b%2e.so\n", ["/opt/a b..so"]),
            ("token-key = pkcs11:object=k?module-path=/opt&module-name=b\n", ["/opt/b.so"]),
            ("token-key = pkcs11:object=k?module-path=/usr/lib/pkcs11&module-name=d\n", ["/usr/lib/pkcs11/libd.so"]),
            ("offline-key = pkcs11:object=k?module-name=b\n", [b]),
            ("token-key = pkcs11:object=k?module-name=trust\n", []),
            ("token-key = pkcs11:object=k\n", [b, a])):
        found = ask_module("tallyboot_token_modules | grep .", configuration, p11_kit)
        t.check(found == expected, f"{configuration!r}: {found}, not {expected}")
    found = ask_module("tallyboot_token_modules=/opt/b.so; tallyboot_token_modules | grep .", "")
    t.check(found == ["/opt/b.so"], f"a generic image, by dracut.conf: {found}")


def pins(t):
    """A PIN's file is brought, one of /run is not; a credential is handed to the unlocker."""
    stubs = "inst_simple() { echo brought $1; }; dwarn() { echo warned; }; systemdsystemunitdir=/u; initdir=$PWD/image; "
    for pin, expected in (("ask", []), ("file:/run/pin", []), ("file:/etc/pin", ["brought /etc/pin", "warned"]),
                          ("file:///etc/pin", ["brought /etc/pin", "warned"]), ("/etc/pin", ["brought /etc/pin", "warned"]),
                          ("credential:b.pin", ["brought /etc/credstore/b.pin", "warned"]), ("credential:a.pin", [])):
        found = ask_module(f"{stubs} tallyboot_token_install_pin {pin}", "", [("etc/credstore/b.pin", "1234")])
        t.check(found == expected, f"token-pin = {pin}: {found}, not {expected}")
    dropin = Path("image/u/tallyboot-unlock.service.d/20-token-pin.conf").read_text()
    t.check(dropin == "[Service]\nLoadCredential=a.pin\n", f"the credential's drop-in: {dropin!r}")


def run(t):
    inert, node = unpack("initramfs"), unpack("initramfs-node")
    t.check(node - inert == CONFIGURATION and inert <= node, f"a configuration without a token: {sorted(node ^ inert)}")
    tree = Path("initramfs-softhsm")
    check_added(t, "initramfs-softhsm", node, SOFTHSM)
    t.check(list((tree / "var/lib/softhsm").rglob("*")) == [tree / "var/lib/softhsm/tokens"], "an empty folder for tokens")
    check_added(t, "initramfs-opensc", node, OPENSC)
    for image, module in (("initramfs-softhsm", images.SOFTHSM), ("initramfs-opensc", images.OPENSC)):
        said = process.command("chroot", image, "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--list", module).decode()
        t.check("=>" in said and "not found" not in said, f"{image}: all libraries of {module} are there: {said}")
    usb = sorted(file.name for file in Path("initramfs-opensc/usr/lib/modules").glob("*/kernel/drivers/usb/host/*hci*pci.ko*"))
    t.check(len(usb) >= 3, f"drivers for USB readers: {usb}")
    modules(t)
    pins(t)
    process.command("rm", "-rf", "root", "image", *NEEDS)
