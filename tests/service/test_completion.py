#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bash completes every verb and option that --help has, and nothing else."""

import functools
import pathlib
import re
import subprocess
import tempfile

from cases import main
from services import BUILD, TOP

# A line of words, as bash gives them, the last is completed; the answer is a line.
ASK = r"""
source "$1"
while IFS= read -r line; do
        IFS=$'\x1f' read -ra COMP_WORDS <<<"$line"
        COMP_WORDS=("${COMP_WORDS[@]:1}") # after a word that keeps an empty one at the end
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        program=${COMP_WORDS[0]}
        function=$(complete -p "$program") && [[ $function =~ -F\ ([a-z_]+) ]]
        "${BASH_REMATCH[1]}" "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[*]}"
done
"""


class Shell:
    """A bash that has read the file as it is installed, for the programs that were built."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="tb-completion-")
        self.file = pathlib.Path(self.directory.name) / "completion"
        text = (TOP / "completion/tallyctl").read_text()
        assert text.count("/usr/bin/tally") == 2
        self.file.write_text(text.replace("/usr/bin/tally", f"{BUILD}/tally"))
        self.bash = subprocess.Popen(["bash", "--norc", "-c", ASK, "bash", self.file], cwd=self.directory.name, text=True,
                                     bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        said = self.bash.communicate()[1]
        self.directory.cleanup()
        assert not said, said

    def complete(self, *words):
        self.bash.stdin.write("\x1f".join(["", *words]) + "\x1f\n")
        return set(self.bash.stdout.readline().split())


@functools.cache
def help_of(*words):
    return subprocess.run([BUILD / words[0], *words[1:], "--help"], capture_output=True, text=True, check=True).stdout


def verbs(text, prefix=""):
    return set(re.findall(rf"^  {prefix}([a-z][a-z-]*)(?= |$)", text, re.M))


def options(text):
    return set(re.findall(r"(?<![a-z-])--[a-z][a-z-]*", text))


def test_all_that_help_has(shell):
    for program, some in (("tallyctl", {"init", "node", "join-token", "keystore"}),
                          ("tallyboot", {"enroll", "unlock", "doctor"})):
        text = help_of(program)
        found = verbs(text)
        assert some <= found == shell.complete(program, ""), (found, shell.complete(program, ""))
        assert {"--config", "--version"} <= options(text) == shell.complete(program, "-")
        for verb in found:
            text = help_of(program, verb)
            below = verbs(text, f"{verb} ")
            assert shell.complete(program, verb, "") == below and shell.complete(program, verb, "--") == options(text), (program,
                                                                                                                         verb)
            for word in below:
                assert shell.complete(program, verb, word, "--") == options(help_of(program, verb, word)), (verb, word)
    assert {"list", "cancel", "create"} == shell.complete("tallyctl", "join-token", "")
    assert "--join-token-file" in shell.complete("tallyctl", "join-token", "cancel", "--join")


def test_a_word_that_is_begun(shell):
    assert shell.complete("tallyctl", "jo") == {"join-token"} and shell.complete("tallyctl", "node", "re") == {"resume", "revoke"}
    assert shell.complete("tallyctl", "--json", "--config", "/etc/x", "node", "li") == {"list"}
    assert shell.complete("tallyctl", "node", "--json", "list", "--st") == {"--state"}
    assert shell.complete("tallyboot", "enr") == {"enroll"}


def test_files_where_nothing_is_known(shell):
    """COMPREPLY is empty then. What is typed is no argument of the program, and no part of a command."""
    witness = pathlib.Path(shell.directory.name) / "witness"
    for words in (("--config", ""), ("nonsense", ""), ("policy", "set", "web", ""), ("node", "show", ""),
                  ("node", "nonsense", ""), ("$(touch witness)", ""),
                  ("node", "`touch witness`"), ("node", "show", "$(touch witness)"),
                  ("--x=$(touch witness)", "node", "-$(touch witness)")):
        assert shell.complete("tallyctl", *words) == set(), words
    assert not witness.exists()


if __name__ == "__main__":
    main(Shell)
