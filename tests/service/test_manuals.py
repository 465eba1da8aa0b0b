#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every verb, exit code and configuration key that the programs know is in --help and in a manual page."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from cases import main
from services import BUILD

TOP = pathlib.Path(__file__).resolve().parents[2]
MANUALS = TOP / "docs/man"
SERVICES = ("registrar", "tenant", "verifier")


class Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def help_of(program, *words):
    done = subprocess.run([BUILD / program, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout


def verbs(text, prefix=""):
    return re.findall(rf"^  {prefix}([a-z][a-z-]*) ", text, re.M)


def manual(name):
    return (MANUALS / name).read_text()


def test_verbs_of_tallyboot(_nothing):
    page, found = manual("tallyboot.8.scd"), verbs(help_of("tallyboot"))
    assert {"enroll", "unlock", "doctor", "gate", "wait"} <= set(found), found
    for verb in found:
        assert f"*{verb}*" in page or f"*{verb} " in page, verb
        text = help_of("tallyboot", verb)
        assert text.startswith(f"tallyboot {verb}") and len(text.splitlines()) > 4, text


def test_verbs_of_tallyctl(_nothing):
    page, found = manual("tallyctl.1.scd"), verbs(help_of("tallyctl"))
    assert {"init", "node", "cert", "log"} <= set(found), found
    for verb in found:
        text, below = help_of("tallyctl", verb), verbs(help_of("tallyctl", verb), f"{verb} ")
        assert len(text.splitlines()) > 2, text
        assert f"*{verb}" in page, verb
        for word in below:
            # *node suspend*, *resume*, ...; keystore's are in a list of their own
            assert re.search(rf"\*{verb} {word}\*|\*{word}\*", page), (verb, word)
            assert len(help_of("tallyctl", verb, word)) > 20, (verb, word)


def options(folder):
    """Those that the code of a folder of src/ takes."""
    return {name for path in (TOP / "src" / folder).glob("*.c")
            for name in re.findall(r'\{ "([a-z-]+)", (?:required|no)_argument,', path.read_text())}


def test_options(_nothing):
    """Each is in the help of some verb and in the manual."""
    for program, folders, page in (("tallyboot", ("boot", "enroll"), "tallyboot.8.scd"),
                                   ("tallyctl", ("ctl",), "tallyctl.1.scd")):
        text = help_of(program)
        for verb in verbs(text):
            below = help_of(program, verb)
            text += below + "".join(help_of(program, verb, word) for word in verbs(below, f"{verb} "))
        found = set().union(*map(options, folders))
        assert len(found) > 12, found
        for name in found:
            assert f"--{name}" in text, (program, name)
            assert f"--{name}" in manual(page), (page, name)
    found = options("service")
    assert len(found) > 3, found
    for service in SERVICES:
        for name in found:
            assert f"--{name}" in help_of(f"tallyboot-{service}") and f"--{name}" in manual(f"tallyboot-{service}.8.scd"), name


def exits(path, prefix):
    return set(re.findall(rf"^\s+{prefix}[A-Z_]+ = (\d+)", (TOP / path).read_text(), re.M))


def test_exit_codes(_nothing):
    """The numbers of the code are those of the documents, none more and none less."""
    for program, page, codes in (("tallyboot", "tallyboot.8.scd", exits("src/base/exit.h", "EXIT_")),
                                 ("tallyctl", "tallyctl.1.scd", exits("src/ctl/ctl.h", "CTL_") | {"130"})):
        assert len(codes) > 6, codes
        said = re.search(r"Exit (?:codes|status): (.*)", help_of(program), re.S)[1]
        assert set(re.findall(r"(?:^|[ ,\n(])(\d+) [A-Za-z]", said)) == codes, (program, said)
        text = re.search(r"^# EXIT (?:CODES|STATUS)\n\n(.*?)\n\n#", manual(page), re.S | re.M)[1].replace("*", "")
        assert set(re.findall(r"(?:^|[ ,\n;])(\d+)\s[A-Za-z]", text)) == codes, (page, text)
    for service in SERVICES:
        assert "0 ended as asked, 1 failed, 2 wrong usage" in help_of(f"tallyboot-{service}")
        text = re.search(r"^# EXIT STATUS\n\n(.*?)\n\n#", manual(f"tallyboot-{service}.8.scd") + "\n\n#", re.S | re.M)[1]
        assert set(re.findall(r"\d+", text)) == {"0", "1", "2"}, (service, text)


def test_keys_of_configurations(_nothing):
    page = manual("tallyboot.conf.5.scd")
    keys = re.findall(r'^\s+\{ "([a-z0-9-]+)", set_', (TOP / "src/boot/config.c").read_text(), re.M)
    assert len(keys) > 25, keys
    for key in keys:
        assert f"*{key}*" in page, key
    page = manual("tallyboot-keystore.5.scd")
    keys = re.findall(r'^\s+\{ "([a-z0-9-]+)", set_', (TOP / "src/keystore/options.c").read_text(), re.M)
    assert len(keys) > 15, keys
    for key in keys:
        assert f"*{key}*" in page or key.startswith("old-") and f"*{key[4:]}*" in page, key
    pages = {service: manual(f"tallyboot-{service}.8.scd") for service in SERVICES}
    keys = re.findall(r'^\s+\{ "(?:service|limits|audit|registrar|verifier)", "([a-z0-9-]+)", TYPE',
                      (TOP / "src/service/config.c").read_text(), re.M)
    assert len(keys) > 20, keys
    for key in keys:
        assert any(f"*{key}*" in page for page in pages.values()), key


def test_problems_are_in_the_protocol(_nothing):
    """Each name that a server answers with has its row in docs/protocol.md, 11, and the other way round."""
    text = (TOP / "docs/protocol.md").read_text()
    section = text[text.index("## 11. Errors"):text.index("## 12. ")]
    rows = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?) \| \d", section, re.M))))
    code = "".join(path.read_text() for folder in ("service", "registrar", "tenant", "verifier", "http", "wire")
                   for path in sorted((TOP / "src" / folder).glob("*.c")))
    used = set(re.findall(r'(?:service_problem|admit_refuse|http_problem)\([^;"]*?"([a-z-]+)"', code))
    assert len(used) > 12 and used <= rows, used - rows
    for name in rows:
        assert f'"{name}"' in code, name


def test_vectors_are_what_their_maker_makes(_nothing):
    """tests/vectors/protocol.json, by the second implementation that is beside it."""
    with tempfile.TemporaryDirectory(prefix="tb-vectors-") as directory:
        maker = pathlib.Path(directory) / "tests/vectors/make-protocol.py"
        maker.parent.mkdir(parents=True)
        shutil.copy(TOP / "tests/vectors/make-protocol.py", maker)
        (maker.parent.parent / "lib").symlink_to(TOP / "tests/lib")
        subprocess.run([sys.executable, maker], check=True)
        assert (maker.parent / "protocol.json").read_bytes() == (TOP / "tests/vectors/protocol.json").read_bytes()


if __name__ == "__main__":
    main(Nothing)
