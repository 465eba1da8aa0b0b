#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make install: with DESTDIR and another prefix everything is below it, and what is started is found there."""

import os
import pathlib
import re
import subprocess
import tempfile

from cases import main, skip

TOP = pathlib.Path(__file__).resolve().parents[2]
PREFIX = "/opt/tally"


class Installed:
    def __enter__(self):
        if os.path.basename(os.environ.get("BUILD", "build")) == "asan":
            skip("the other build is what is installed")
        self.directory = tempfile.TemporaryDirectory(prefix="tb-install-")
        self.root = pathlib.Path(self.directory.name)
        environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL",
                                                                                      "BUILD")}
        subprocess.run(["make", "-s", "-C", TOP, "install", f"DESTDIR={self.root}", f"prefix={PREFIX}"], check=True,
                       env=environment, stdout=subprocess.DEVNULL)
        self.files = {"/" + str(path.relative_to(self.root)): path for path in self.root.rglob("*") if not path.is_dir()}
        return self

    def __exit__(self, *_):
        self.directory.cleanup()


def test_nothing_is_beside_the_prefix(installed):
    assert len(installed.files) > 40
    assert not [name for name in installed.files if not name.startswith(PREFIX + "/")], installed.files


def test_all_of_it_is_there(installed):
    for name in ("tallyboot", "tallyboot-registrar", "tallyboot-tenant", "tallyboot-verifier", "tallyctl"):
        assert os.access(installed.files[f"{PREFIX}/bin/{name}"], os.X_OK), name
    for source in (TOP / "docs/man").glob("*.scd"):
        section = source.stem.rsplit(".", 1)[1]
        assert f"{PREFIX}/share/man/man{section}/{source.stem}" in installed.files, source
    ours = {str(path.relative_to(TOP / "dracut/90tallyboot"))
            for path in (TOP / "dracut/90tallyboot").rglob("*") if path.is_file()}
    there = {name.split("/90tallyboot/")[1] for name in installed.files if "/dracut/modules.d/90tallyboot/" in name}
    assert ours == there, ours ^ there
    assert any(re.search(r"/cryptsetup/libcryptsetup-token-tallyboot\.so$", name) for name in installed.files)
    for name in ("systemd/system/tallyboot-payload.target", "udev/rules.d/90-tallyboot.rules"):
        assert f"{PREFIX}/lib/{name}" in installed.files, name
    for name in ("tallyctl", "tallyboot"):
        completion = installed.files[f"{PREFIX}/share/bash-completion/completions/{name}"].read_text()
        assert f" {PREFIX}/bin/{name}\n" in completion, name
    assert f"{PREFIX}/share/doc/tallyboot/README.md" in installed.files


def test_what_is_started_is_where_it_was_installed(installed):
    """No unit, rule or script of ours names /usr/bin/tallyboot then."""
    started = 0
    for name, path in installed.files.items():
        if "/bin/" in name or "/doc/" in name or "/man/" in name or path.is_symlink() or path.suffix == ".so":
            continue
        text = path.read_text()
        assert "/usr/bin/tallyboot" not in text, name
        started += text.count(f"{PREFIX}/bin/tallyboot")
    assert started > 15, started


if __name__ == "__main__":
    main(Installed)
