#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the dracut module's hook makes of configuration and command line, before anything else of the initramfs runs."""

import pathlib
import subprocess
import tempfile

from cases import main, skip

TOP = pathlib.Path(__file__).resolve().parents[2]
HOOK = TOP / "dracut/90tallyboot/tallyboot-cmdline.sh"
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
        done = subprocess.run(["unshare", "-m", "sh", "-c", RUN, "sh", str(self.mount), str(HOOK)], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                              "WORDS": words}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout


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
            ("payload = yes\npayload-after = 60s\n", "", "rd.retry=240"), ("payload=true\npayload-after = 0\n", "", "rd.retry=31536180"),
            ("payload = yes\n", "rd.retry=5", None), ("payload = no\n", "", None), ("", "", None)):
        said = place.hook(words, "[node]\n" + configuration)
        assert ("rd.retry" in said) == bool(retry) and (retry or "") in said, (configuration, words, said)


if __name__ == "__main__":
    main(Place)
