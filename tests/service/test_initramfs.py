#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the dracut module's hook makes of configuration and command line, before anything else of the initramfs runs; and what
`tallyboot doctor` finds in an image and in ca.pem."""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from cases import main, skip
from pki import Pki
from services import BUILD

TOP = pathlib.Path(__file__).resolve().parents[2]
HOOK = TOP / "dracut/90tallyboot/tallyboot-cmdline.sh"
MODULE = TOP / "dracut/90tallyboot/module-setup.sh"
# The hook as dracut sources it, in an /etc and a /run of its own, and with the command line's words as getarg finds them.
RUN = """
set -e
mount -t tmpfs none "$1" && mkdir "$1/upper" "$1/work" "$1/usr" && cp -r "$1-files/." "$1/upper"
mkdir -p "$1/upper/cmdline.d"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
mount -t tmpfs none /run
mount -t tmpfs none /usr/lib/systemd/network
printf '[Match]\\nVirtualization=container\\n' > /usr/lib/systemd/network/80-container-host0.network
getarg() { case " $WORDS" in *" $1"*) return 0 ;; esac; return 1; }
. "$2"
for file in /etc/cmdline.d/*.conf /run/systemd/network/*; do [ ! -e "$file" ] || { echo "$file"; cat "$file"; }; done
"""
# An image for the running kernel in a /boot of its own: $1/image, and what is found there.
DOCTOR = """
set -e
mount -t tmpfs none /boot
(cd "$1/image" && find . | cpio --quiet -o -H newc) > "/boot/initrd.img-$(uname -r)"
shift
exec "$@"
"""
DHCP = "/run/systemd/network/zz-tallyboot.network"


class Place:
    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="tb-hook-")
        self.mount = pathlib.Path(self.directory.name) / "mount"
        if subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "-o", "lowerdir=/etc:/usr", "none", "/mnt"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            skip("no mount namespaces with overlays here")
        self.mount.mkdir()
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def hook(self, words="", configuration="[node]\n", **files):
        """What it writes. files: below /etc, '__' for '/', None: a link to /dev/null"""
        top = pathlib.Path(f"{self.mount}-files")
        subprocess.run(["rm", "-rf", top], check=True)
        top.mkdir()
        if configuration is not None:
            files["tallyboot__tallyboot.conf"] = configuration
        for name, text in files.items():
            path = top / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.symlink_to("/dev/null")
            else:
                path.write_text(text)
        done = subprocess.run(["unshare", "-m", "sh", "-c", RUN, "sh", str(self.mount), str(HOOK)],
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                              "WORDS": words}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
                              check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def doctor(self, *missing, **changed):
        """{check: [(level, text), ...]} with an image that has all that it should but these files, and those otherwise."""
        top = pathlib.Path(self.directory.name)
        program = top / "image" / changed.get("program", "usr/bin/tallyboot")
        shutil.rmtree(top / "image", ignore_errors=True)
        program.parent.mkdir(parents=True)
        program.write_text("the program\n")
        (top / "tallyboot.conf").write_text(f"[node]\ntenant = https://127.0.0.1:9\nverifier = https://127.0.0.1:9\nca = {top}/ca.pem\n"
                                            "tpm = device:/nowhere/tpm\ntpm-timeout = 0\n")
        inside = top / "image" / str(top)[1:]
        inside.mkdir(parents=True, exist_ok=True)
        for name in ("tallyboot.conf", "ca.pem"):
            shutil.copy(top / name, inside / name)
            if name in missing:
                (inside / name).unlink()
        if "ca" in changed:
            (inside / "ca.pem").write_bytes(changed["ca"])
        library = top / "image/usr/lib/x86_64-linux-gnu/libcurl.so.4"
        library.parent.mkdir(parents=True)
        library.write_text("the library\n")
        for name, path in (("tallyboot", program), ("libcurl.so.4", library)):
            if name in missing:
                path.unlink()
        done = subprocess.run(["unshare", "-m", "sh", "-c", DOCTOR, "sh", str(top), BUILD / "tallyboot", "--config",
                               top / "tallyboot.conf",
                               "--run-dir", top / "run", "doctor", "--json", "--offline"], stdout=subprocess.PIPE, timeout=240,
                              check=False, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        checks = {}
        for one in json.loads(done.stdout):
            checks.setdefault(one["check"], []).append((one["level"], one["text"]))
        return checks


def ca(place, *days):
    """ca.pem of the machine: a CA for each, good that many days from now, or ended that many ago."""
    top, text = pathlib.Path(place.directory.name), b""
    for number, ends in enumerate(days):
        pki = Pki(top / f"ca-{number}", f"CA {number}", datetime.timedelta(days=-9), datetime.timedelta(days=ends))
        text += pki.ca.read_bytes()
    (top / "ca.pem").write_bytes(text)
    return text


def test_doctor_looks_into_the_image(place):
    if not shutil.which("lsinitrd"):
        skip("no lsinitrd")
    text = ca(place, 300, 3000)
    [(level, said)] = place.doctor()["initramfs"]
    assert level == "ok" and "this configuration and this CA" in said, said
    [(level, said)] = place.doctor(program="usr/local/bin/tallyboot")["initramfs"]
    assert level == "ok", said
    first = text[:text.index(b"-----END") + 26]
    for arguments, changed, words in ((("ca.pem",), {}, "has no .*/ca.pem: dracut --force"),
                                      (("tallyboot.conf",), {}, "has no .*conf: dracut"),
                                      (("tallyboot",), {}, "without tallyboot"),
                                      (("libcurl.so.4",), {}, "can ask no server: dracut"),
                                      ((), {"ca": first}, "another .*/ca.pem than this system")):
        [(level, said)] = place.doctor(*arguments, **changed)["initramfs"]
        assert level == "problem" and re.search(words, said), (words, said)


def test_doctor_knows_a_ca_that_was_renewed(place):
    """While both are in ca.pem, one is enough, and the end of the other is not what keeps the node from booting."""
    for days, levels, words in (((300,), ["ok"], "CA 0"), ((-1,), ["problem"], "has expired: tallyctl cert renew"),
                                ((20,), ["warning"], "30 days"),
                                ((-1, 3000), ["ok", "ok"], "another is good"), ((20, 3000), ["ok", "ok"], "CA 1"),
                                ((-1, 20), ["ok", "warning"], "30 days"),
                                ((-1, -2), ["problem", "problem"], "has expired: tallyctl cert renew")):
        ca(place, *days)
        found = place.doctor()["ca"]
        assert [level for level, _ in found] == levels and any(words in text for _, text in found), (days, found)


def test_dracut_says_what_is_wrong_with_the_configuration(place):
    top = pathlib.Path(place.directory.name)
    script = 'derror() { echo "ERROR $*"; }; . "$0"; tallyboot_conf=$1 initdir=$2; tallyboot_check_configuration'
    for line, words in (("", None), ("promt-after = 3\n", 'tallyboot.conf: 4: unknown key "promt-after"'),
                        ("gate-pcr = 16\n", "8 to 15")):
        (top / "tallyboot.conf").write_text(f"[node]\ntenant = https://127.0.0.1:9\nverifier = https://127.0.0.1:9\n{line}")
        done = subprocess.run(["bash", "-c", script, MODULE, top / "tallyboot.conf", top], stdout=subprocess.PIPE, text=True,
                              check=False,
                              env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "ASAN_OPTIONS": "detect_leaks=0"},
                              timeout=240)
        assert done.stdout.startswith("ERROR tallyboot: ") and words in done.stdout if words else done.stdout == "", (line,
                                                                                                                      done.stdout)


def test_nothing_without_a_configuration(place):
    assert place.hook(configuration=None) == ""


def test_an_address_is_asked_for_where_nobody_says_how(place):
    """systemd-networkd configures nothing by itself: the machine would stay without an address in each boot."""
    for files in ({}, {"systemd__network__20-x.network": None}, {"systemd__network__10-x.link": "[Match]\n"}):
        said = place.hook(**files)
        assert "rd.neednet=1" in said and DHCP in said and "DHCP=yes" in said and "Type=ether" in said, said


def test_who_says_how_is_left_alone(place):
    said = place.hook(**{"systemd__network__50-static.network": "[Match]\nName=eth0\n"})
    assert "rd.neednet=1" in said and DHCP not in said, said
    for words in ("quiet ip=10.0.2.77::10.0.2.2:255.255.255.0:::none", "ip=dhcp"):
        said = place.hook(words)
        assert "rd.neednet=1" in said and DHCP not in said, said


def test_dracut_waits_as_long_as_the_payload_may_take(place):
    for configuration, words, retry in (
            ("payload = yes\n", "", "rd.retry=31536180"), ("payload = yes\npayload-after = 60\n", "", "rd.retry=240"),
            ("payload = yes\npayload-after = 60s\n", "", "rd.retry=240"),
            ("payload=true\npayload-after = 0\n", "", "rd.retry=31536180"),
            ("payload = yes\n", "rd.retry=5", None), ("payload = no\n", "", None), ("", "", None)):
        said = place.hook(words, "[node]\n" + configuration)
        assert ("rd.retry" in said) == bool(retry) and (retry or "") in said, (configuration, words, said)


if __name__ == "__main__":
    main(Place)
