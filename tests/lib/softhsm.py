# SPDX-License-Identifier: LGPL-2.1-or-later
"""SoftHSM with a configuration and a folder of tokens of its own."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN, SO_PIN = "123456", "87654321"


class SoftHsm:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-hsm-"))
        self.tokens = self.directory / "tokens"
        self.tokens.mkdir()
        self.config = self.directory / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(self.config)}

    def run(self, *command, **options):
        return subprocess.run([*map(str, command)], env={"PATH": "/usr/bin:/bin:/usr/sbin", **self.environment}, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options).stdout

    def token(self, label, pin=PIN):
        """Made; the folder that it is in."""
        before = set(self.tokens.iterdir())
        self.run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin)
        made, = set(self.tokens.iterdir()) - before
        return made

    def tool(self, token, *words, pin=PIN):
        return self.run("pkcs11-tool", "--module", MODULE, "--token-label", token, "--login", "--pin", pin, *words)

    def key(self, token, label="tallyboot", kind="EC:prime256v1", number="01", pin=PIN):
        return self.tool(token, "--keypairgen", "--key-type", kind, "--label", label, "--id", number, pin=pin)

    @contextlib.contextmanager
    def pulled(self, folder):
        """The token is gone until the value is called, or the block ends."""
        away = self.directory / folder.name
        shutil.move(folder, away)

        def back():
            if away.exists():
                shutil.move(away, folder)
        try:
            yield back
        finally:
            back()

    def flags(self, label):
        """As the token tells them: what pkcs11-tool prints, such as "user PIN count low"."""
        text = self.run("pkcs11-tool", "--module", MODULE, "--list-token-slots")
        for part in text.split("Slot ")[1:]:
            if f": {label}\n" in part:
                return next(line for line in part.splitlines() if "token flags" in line)
        raise AssertionError(text)

    def destroy(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()
