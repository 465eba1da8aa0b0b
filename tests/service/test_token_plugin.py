#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The token plugin in the real cryptsetup: luksDump in words, validation, and an open that leaves everything else as it was.

libcryptsetup 2.6 looks for plugins in one folder that is compiled in: in a mount namespace of its own a tmpfs lies over it."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / "build/libcryptsetup-token-tallyboot.so"
NODE = "a" * 52
KEY = "00112233445566778899aabbccddeeff"
INSIDE = """
mount -t tmpfs none "$1" && cp "$2" "$1/" && ln -s "${2##*/}" "$1/libcryptsetup-token-tallyboot-offline.so" && shift 2 && exec "$@"
"""


def token(**changes):
    return {"type": "tallyboot", "keyslots": [], "version": 1, "node": NODE, "key": KEY, "generation": 3, "state": "live",
            "slot": 4} | changes


def offline_token(**changes):
    return {"type": "tallyboot-offline", "keyslots": [], "version": 1, "node": NODE, "key": KEY, "generation": 3,
            "mechanism": "kwp", "group_key": "QUJD", "sealed": "QUJD"} | changes


def plugin_folder():
    words = subprocess.run(["cryptsetup", "--help"], capture_output=True, text=True, check=True).stdout
    return re.search(r"plugin path: (\S+?)\.?$", words, re.M).group(1)


def cryptsetup(*arguments, **options):
    """cryptsetup with our plugin, and no other, in its folder."""
    command = ["unshare", "-m", "sh", "-c", INSIDE, "sh", plugin_folder(), str(PLUGIN), "cryptsetup", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)


class Plugin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not PLUGIN.exists():
            raise unittest.SkipTest("the plugin is not built")
        if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode != 0:
            raise unittest.SkipTest("no mount namespaces here")
        cls.folder = tempfile.TemporaryDirectory()
        cls.image = os.path.join(cls.folder.name, "image")
        with open(cls.image, "wb") as file:
            file.truncate(17 << 20)
        subprocess.run(["cryptsetup", "-q", "luksFormat", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
                        "1000", cls.image, "-"], input=b"correct horse", check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def import_token(self, value, number="0"):
        return cryptsetup("token", "import", "--token-replace", "--token-id", number, "--json-file", "-", self.image,
                          input=json.dumps(value))

    def test_dump_is_in_words(self):
        self.assertEqual(self.import_token(token(slot=0, keyslots=["0"])).returncode, 0)
        done = cryptsetup("luksDump", self.image)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("0: tallyboot", f"node:       {NODE}", f"key:        {KEY}", "generation: 3", "slot:       0\n",
                      "state:      live:"):
            self.assertIn(words, done.stdout)

    def test_staged_token_says_what_to_do(self):
        self.assertEqual(self.import_token(token(state="staged")).returncode, 0)
        done = cryptsetup("luksDump", self.image)
        self.assertIn("slot:       4 (not made yet)", done.stdout)
        self.assertIn("`tallyboot enroll`", done.stdout)

    def test_malformed_token_is_refused_with_the_reason(self):
        for changes, words in (({"node": "x"}, '"node" is not a node id'), ({"generation": 0}, '"generation"'),
                               ({"slot": 77}, '"slot"'),
                               ({"keyslots": ["0"]}, '"keyslots"'), ({"state": "dead"}, '"state"'),
                               ({"version": 2}, '"version"')):
            done = self.import_token(token(**changes))
            self.assertNotEqual(done.returncode, 0, changes)
            self.assertIn(words, done.stderr)

    def test_open_goes_on_to_the_passphrase(self):
        self.assertEqual(self.import_token(token(slot=0, keyslots=["0"])).returncode, 0)
        done = cryptsetup("open", "--test-passphrase", self.image, input="correct horse")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = cryptsetup("open", "--test-passphrase", "--token-only", self.image)
        self.assertNotEqual(done.returncode, 0)

    def test_offline_token_is_dumped_in_words(self):
        self.assertEqual(self.import_token(offline_token(signature="QUJD"), "1").returncode, 0)
        done = cryptsetup("luksDump", self.image)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("1: tallyboot-offline", f"node:       {NODE}", f"key:        {KEY}", "generation: 3",
                      "mechanism:  kwp, signed by the node's key\n", "opens:      with the node's PKCS#11 token"):
            self.assertIn(words, done.stdout)

    def test_malformed_offline_token_is_refused_with_the_reason(self):
        for changes, words in (({"node": "x"}, '"node" is not a node id'), ({"mechanism": "A B"}, '"mechanism"'),
                               ({"sealed": "!"}, '"sealed"'),
                               ({"keyslots": ["0"]}, '"keyslots"'), ({"group_key": ""}, '"group_key"'),
                               ({"signature": 5}, '"signature"')):
            done = self.import_token(offline_token(**changes), "1")
            self.assertNotEqual(done.returncode, 0, changes)
            self.assertIn(words, done.stderr)

    def test_plugin_is_what_was_loaded(self):
        """Without it luksDump says nothing of a state: the tests above can fail."""
        self.assertEqual(self.import_token(token()).returncode, 0)
        bare = subprocess.run(["cryptsetup", "--disable-external-tokens", "luksDump", self.image], capture_output=True, text=True,
                              check=True)
        self.assertNotIn("state:", bare.stdout)


if __name__ == "__main__":
    unittest.main()
