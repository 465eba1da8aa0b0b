#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tallyctl keystore: the ceremony, moving from master to master under a running service, what is said of bad input, the way back
where a TPM does not give its key. Killed at any write: test_keystore_kills.py."""

import base64
import ctypes
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, skip
from enrolled import Terminal
from node import Refused, ready
from services import BUILD, Fleet, encode_fields, field_hash
from softhsm import MODULE, PIN, SoftHsm
from softtpm import SoftTpm
from swtpm import Swtpm

PHRASE = re.compile(r"\b(?:[a-z2-7]{4}-){13}[a-z2-7]{4}\b")
KEYCTL, USER_KEYRING, UNLINK, ADD_KEY = 250, -4, 9, 248
libc = ctypes.CDLL(None, use_errno=True)


def forget_boot(fleet, tpm):
    """What a power cycle does to the kernel's keyring: it has what belongs to this fleet and this TPM no more. Others' tests have
    theirs in the same one."""
    fleet.note_secrets()
    with open("/proc/keys", encoding="ascii", errors="replace") as keys:
        for line in keys:
            if any(name in line for name in fleet.secrets) or f"{tpm.tcti}:" in line:
                libc.syscall(KEYCTL, UNLINK, int(line.split()[0], 16), USER_KEYRING)


def keyring_works():
    key = libc.syscall(ADD_KEY, b"user", b"tallyboot-test-probe", b"x", 1, USER_KEYRING)
    if key < 0:
        return False
    libc.syscall(KEYCTL, UNLINK, key, USER_KEYRING)
    return True


class Result:
    def __init__(self, done):
        self.code, self.output, self.errors = done.returncode, done.stdout.decode(), done.stderr.decode()

    def __repr__(self):
        return f"{self.code}\n{self.output}\n{self.errors}"

    @property
    def json(self):
        return json.loads(self.output)


def tallyctl(*words, stdin=b"", env=None):
    done = subprocess.run([str(BUILD / "tallyctl"), *map(str, words)], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, timeout=240, env={**os.environ, **(env or {})})
    return Result(done)


def keystore(config, *words, code=0, says="", **options):
    """tallyctl keystore WORDS --config; with that exit code, and these words on either output."""
    result = tallyctl("keystore", *words, "--config", config, **options)
    assert result.code == code, (words, code, result)
    assert says in result.output + result.errors, (says, result)
    return result


def reload(service):
    """Configured as it says now, without an end."""
    service.configure()
    before = service.log_text().count("keystore's configuration was read anew")
    service.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 240
    while service.log_text().count("keystore's configuration was read anew") == before:
        assert service.process.poll() is None and time.monotonic() < deadline, service.log_text()[-2000:]
        time.sleep(0.02)


class Booting:
    """A node that boots again and again, as long as the block lasts: every release is answered, and gives the same key."""

    def __init__(self, node):
        self.node, self.boots, self.failed, self.end = node, 0, None, False
        self.expected = self.keys()
        self.thread = threading.Thread(target=self.run)

    def keys(self):
        self.node.reboot()
        return {party: {what: half["half"] for what, half in halves.items()} for party, (halves, _) in self.node.unlock().items()}

    def run(self):
        try:
            while not self.end:
                assert self.keys() == self.expected
                self.boots += 1
        except BaseException as error:
            self.failed = error

    def wait(self):
        """One whole boot, from now on."""
        before = self.boots
        while self.boots < before + 2 and not self.failed:
            time.sleep(0.01)
        if self.failed:
            raise self.failed

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.end = True
        self.thread.join()
        if self.failed and not kind:
            raise self.failed


class Setup(Fleet):
    def __init__(self):
        super().__init__(start=False)
        self.secrets = set()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tb-keystore-", dir=self.directory))
        self.registrar.start()
        self.verifier.start()
        self.tenant.keystore = {"master": f"file:{self.master['tenant']}"}
        self.tenant.start()
        for name in ("default", "web", "db"):
            self.group(name)
        self.node = ready(self, swtpm=SoftTpm(self.test_ca))
        for name in ("web", "db"):
            ready(self, group=name, swtpm=SoftTpm(self.test_ca))

    @property
    def conf(self):
        return self.tenant.directory / "conf"

    def note_secrets(self):
        """The names in the kernel's keyring of what the database has sealed."""
        for (parameters,) in self.tenant.sql("SELECT parameters FROM keystore_masters WHERE kind = 'tpm'"):
            self.secrets.add("tallyboot-keystore:" + field_hash("tallyboot keystore tpm v1", parameters[8:40]).hex()[:32])

    def move(self, name, source, **options):
        """From what is configured to this master, by the book; returns what init said."""
        old = {f"old-{key}": value for key, value in self.tenant.keystore.items() if key in ("master", "module", "pin", "mac",
                                                                                             "mac-key")}
        kept = {key: value for key, value in self.tenant.keystore.items() if key in ("tpm", "gate-pcr", "pcrs")}
        self.tenant.keystore = {"master": source, **kept, **options, **old}
        self.tenant.configure()
        result = keystore(self.conf, "init", *(["--recovery", self.dir / name] if source == "tpm" else []))
        self.note_secrets()
        reload(self.tenant)
        keystore(self.conf, "verify", code=5, says="left to do")
        keystore(self.conf, "rewrap", "--limit", 1, code=5, says="run it again")
        keystore(self.conf, "verify", code=5)
        keystore(self.conf, "rewrap", says=f"all are under {source}")
        keystore(self.conf, "verify", says="open.")
        self.tenant.keystore = {"master": source, **options, **(kept if source == "tpm" else {})}
        reload(self.tenant)
        keystore(self.conf, "verify")
        return result


def audited(service, event):
    return [record for record in service.audit() if record["event"] == event]


def test_file_to_file(fleet):
    """Under a running service and a second one on the same database."""
    replica = fleet.replica(fleet.tenant)
    first = fleet.tenant.keystore["master"]
    with Booting(fleet.node) as booting:
        fleet.tenant.keystore = {"master": f"file:{fleet.dir}/second", "old-master": first}
        replica.keystore = dict(fleet.tenant.keystore)
        fleet.tenant.configure()
        made = keystore(fleet.conf, "init", says="Back it up apart from the database")
        assert os.stat(fleet.dir / "second").st_mode & 0o777 == 0o600 and "rewrap" in made.output
        keystore(fleet.conf, "init", code=3, says="No master key was made")
        for one in (fleet.tenant, replica):
            reload(one)
        booting.wait()
        keystore(fleet.conf, "rewrap", says="Take old-master out of the configuration")
        booting.wait()
        fleet.tenant.keystore = {"master": f"file:{fleet.dir}/second"}
        replica.keystore = dict(fleet.tenant.keystore)
        for one in (fleet.tenant, replica):
            reload(one)
        booting.wait()
        keystore(fleet.conf, "verify")
    replica.stop()
    os.unlink(fleet.master["tenant"])
    fleet.tenant.restart()
    assert Booting(fleet.node).expected == booting.expected
    assert audited(fleet.tenant, "keystore-init") and audited(fleet.tenant, "keystore-rewrap")
    assert audited(fleet.tenant, "keystore-init")[-1]["who"].startswith("local:")


def test_file_to_tpm_and_back(fleet):
    if not keyring_works():
        skip("the kernel's keyring cannot be used here")
    with Swtpm(fleet.test_ca) as tpm:
        with Booting(fleet.node) as booting:
            fleet.tenant.keystore["tpm"] = tpm.tcti
            made = fleet.move("phrase", "tpm")
            assert "recovery phrase is in" in made.output and not PHRASE.search(made.output + made.errors)
            phrase = (fleet.dir / "phrase").read_text().strip()
            assert PHRASE.fullmatch(phrase) and os.stat(fleet.dir / "phrase").st_mode & 0o777 == 0o600
            booting.wait()
            shown = keystore(fleet.conf, "show").output
            assert re.search(r"\btpm\b", shown) and "Warning" not in shown, shown

        # a restart and a second process, while the TPM is gone
        tpm.stop()
        replica = fleet.replica(fleet.tenant)
        fleet.tenant.kill()
        fleet.tenant.start()
        replica.stop()
        assert Booting(fleet.node).expected == booting.expected
        tpm.start()

        # a power cycle unseals again, once
        fleet.tenant.stop()
        tpm.reset()
        forget_boot(fleet, tpm)
        fleet.tenant.start()
        assert Booting(fleet.node).expected == booting.expected
        keystore(fleet.conf, "verify")
        fleet.tenant.stop()
        forget_boot(fleet, tpm)
        assert "switch the machine off and on" in start_fails(fleet.tenant)

        # a changed PCR, the way back
        tpm.reset()
        forget_boot(fleet, tpm)
        tpm.event(7, b"another boot loader")
        assert "changed is PCR 7" in start_fails(fleet.tenant)
        keystore(fleet.conf, "recover", code=1, says="not a recovery phrase", stdin=b"abcd-efgh\n")
        keystore(fleet.conf, "recover", code=1, says="No recovery phrase was given", stdin=b"")
        keystore(fleet.conf, "recover", code=1, says="checksum does not fit", stdin=swapped(phrase).encode() + b"\n")
        keystore(fleet.conf, "recover", "--recovery", fleet.dir / "none", code=1, says="cannot be read")
        keystore(fleet.conf, "recover", "--this-boot", code=3)
        other = other_phrase()
        keystore(fleet.conf, "recover", code=3, says="not the phrase of this database", stdin=other.encode())
        assert "changed is PCR 7" in start_fails(fleet.tenant)
        keystore(fleet.conf, "recover", says="as it is now", stdin=phrase.upper().replace("-", " ").encode() + b"\n")
        fleet.tenant.start()
        keystore(fleet.conf, "verify")
        assert audited(fleet.tenant, "keystore-recover")

        tpm.reset()
        tpm.event(7, b"another boot loader")
        forget_boot(fleet, tpm)
        fleet.tenant.restart()
        with Booting(fleet.node) as booting:
            fleet.move("third", f"file:{fleet.dir}/third")
            booting.wait()
    forget_boot(fleet, tpm)


def swapped(phrase):
    """Two neighbours that differ."""
    at = next(i for i in range(len(phrase) - 1) if "-" not in phrase[i:i + 2] and phrase[i] != phrase[i + 1])
    return phrase[:at] + phrase[at + 1] + phrase[at] + phrase[at + 2:]


def other_phrase():
    """A right one of another secret."""
    secret = secrets.token_bytes(32)
    check = hashlib.sha256(encode_fields("tallyboot keystore recovery v1", secret)).digest()[:3]
    return base64.b32encode(secret + check).decode().rstrip("=").lower() + "\n"


def start_fails(service):
    try:
        service.start()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it started")


def test_file_to_tpm_to_hsm(fleet):
    """And back to a file: nobody at a boot notices."""
    uri = "pkcs11:token=tallyboot;object=tenant-master"
    with SoftHsm() as hsm, Swtpm(fleet.test_ca) as tpm:
        hsm.token("tallyboot")
        pin = fleet.dir / "pin"
        pin.write_text(PIN)
        pin.chmod(0o600)
        os.environ.update(hsm.environment)
        try:
            fleet.tenant.restart()
            with Booting(fleet.node) as booting:
                if keyring_works():
                    fleet.tenant.keystore["tpm"] = tpm.tcti
                    fleet.move("on the way", "tpm")
                    booting.wait()
                made = fleet.move("hsm", uri, module=MODULE, pin=f"file:{pin}", mechanism="key-wrap-pad")
                assert "as the maker of the HSM says" in made.output, made
                booting.wait()
                keystore(fleet.conf, "init", code=3, says="No master key was made")
                keystore(fleet.conf, "rotate-group", "web")
                booting.wait()
                assert {key["mechanism"] for key in keystore_json(fleet)["keys"]} == {"key-wrap-pad"}
                fleet.move("back", f"file:{fleet.dir}/fourth")
                booting.wait()
        finally:
            del os.environ["SOFTHSM2_CONF"]
            forget_boot(fleet, tpm)


def test_ceremony_in_a_token(fleet):
    """Master and MAC key with the labels of the configuration, and nothing is made twice."""
    with SoftHsm() as hsm:
        hsm.token("tallyboot")
        pin = fleet.dir / "ceremony.pin"
        pin.write_text(PIN)
        pin.chmod(0o600)
        uri = "pkcs11:token=tallyboot;object=verifier-master"
        head = f"[service]\ndatabase = {fleet.dir}/none\n[registrar]\nurl = x\n[keystore]\nmodule = {MODULE}\n"
        conf = fleet.dir / "ceremony.conf"
        conf.write_text(head + f"pin = file:{pin}\nmaster = {uri}\nmechanism = cbc-pad\nmac = sha256-hmac\nmac-key = verifier-mac\n")
        keystore(conf, "init", env=hsm.environment, says="tallyboot-verifier")
        keys = hsm.tool("tallyboot", "-O")
        for label in ("verifier-master", "verifier-mac"):
            entry = next(part for part in keys.split("Secret Key Object")[1:] if re.search(rf"label:\s+{label}\n", part))
            assert "sensitive" in entry and "never extractable" in entry, keys
        keystore(conf, "init", env=hsm.environment, code=3)
        assert hsm.tool("tallyboot", "-O").count("Secret Key Object") == 2
        for text, code, words in ((f"pin = file:{pin}\nmaster = pkcs11:token=other;object=x\n", 4, "other"),
                                  (f"master = {uri}2;pin-value={PIN}\n", 1, "pin-value"),
                                  (f"pin = {PIN}\nmaster = {uri}2\n", 1, "never is in the configuration itself")):
            conf.write_text(head + text)
            result = keystore(conf, "init", env=hsm.environment, code=code, says=words)
            assert PIN not in result.output + result.errors, result


def test_forgotten_reload(fleet):
    """The service does not know the new master when its keys are under it already: it says so, and nothing is lost."""
    first = fleet.tenant.keystore["master"]
    fleet.tenant.keystore = {"master": f"file:{fleet.dir}/forgotten", "old-master": first}
    fleet.tenant.configure()
    keystore(fleet.conf, "init")
    keystore(fleet.conf, "rewrap")
    fleet.node.reboot()
    try:
        fleet.node.unlock()
    except Refused as refused:
        assert refused.answer.status in (500, 503), refused
    else:
        raise AssertionError("it opens a key without its master")
    reload(fleet.tenant)
    fleet.node.reboot()
    fleet.node.unlock()
    fleet.tenant.keystore.pop("old-master")
    reload(fleet.tenant)
    keystore(fleet.conf, "verify")


def test_rotate_group(fleet):
    before = keystore_json(fleet)
    with Booting(fleet.node) as booting:
        result = keystore(fleet.conf, "rotate-group", "default", says="the old one is destroyed")
        assert "1 rows" in result.output, result
        booting.wait()
        keystore(fleet.conf, "rotate-group", "--own")
        booting.wait()
    after = keystore_json(fleet)
    for group in ("default", ""):
        assert generation(after, group) == generation(before, group) + 1
    assert generation(after, "web") == generation(before, "web")
    keystore(fleet.conf, "verify")
    fleet.tenant.restart()
    assert Booting(fleet.node).expected == booting.expected
    keystore(fleet.conf, "rotate-group", "nobody", code=1, says="no key for a group of this name")
    assert audited(fleet.tenant, "keystore-rotate")[-1]["detail"] != ""


def keystore_json(fleet):
    return tallyctl("--json", "keystore", "show", "--config", fleet.conf).json


def generation(shown, group):
    found = [key["generation"] for key in shown["keys"] if key["group"] == group]
    assert len(found) == 1, shown
    return found[0]


def test_show(fleet):
    shown = keystore_json(fleet)
    assert shown["role"] == "tenant" and shown["database"] == str(fleet.tenant.database)
    assert sorted(key["group"] for key in shown["keys"]) == ["", "db", "default", "web"]
    assert {key["rows"] for key in shown["keys"] if key["group"]} == {1}
    assert len(shown["masters"]) == 1 and shown["masters"][0]["configured"] == "master" and shown["masters"][0]["keys"] == 4
    assert any("is a file" in line for line in shown["warnings"]), shown
    table = keystore(fleet.conf, "show").output
    for word in ("MASTER", "GROUP", "(the service)", "web", "Warning: master"):
        assert word in table, table
    # before the verb, too; and with no key at all: show opens nothing
    assert tallyctl("--config", fleet.conf, "keystore", "show").output == table
    other = fleet.dir / "other.conf"
    other.write_text(f"[service]\ndatabase = {fleet.tenant.database}\n[keystore]\nmaster = file:{fleet.dir}/nothing\n")
    assert "is neither master nor old-master" in keystore(other, "show").output
    keystore(other, "verify", code=1, says="The master key cannot be used")
    keystore(other, "rewrap", code=1, says="cannot be read")
    pathlib.Path(fleet.dir / "nothing").write_bytes(secrets.token_bytes(32))
    os.chmod(fleet.dir / "nothing", 0o600)
    keystore(other, "verify", code=3, says="is not the master key")


def test_verify_names_what_is_broken(fleet):
    """One byte of one half; as a copy of the database, so that the fleet goes on."""
    fleet.tenant.stop()
    copy = fleet.dir / "copy.db"
    shutil.copy(fleet.tenant.database, copy)
    fleet.tenant.start()
    conf = fleet.dir / "copy.conf"
    conf.write_text(f"[service]\ndatabase = {copy}\n[keystore]\nmaster = {fleet.tenant.keystore['master']}\n")
    keystore(conf, "verify")
    with sqlite3.connect(copy) as connection:
        handle, = connection.execute("SELECT handle FROM keystore_key WHERE name = 'web'").fetchone()
        wrapped = bytearray(connection.execute("SELECT wrapped FROM keystore_half WHERE handle = ?", (handle,)).fetchone()[0])
        wrapped[-1] ^= 1
        connection.execute("UPDATE keystore_half SET wrapped = ? WHERE handle = ?", (bytes(wrapped), handle))
    result = keystore(conf, "verify", code=6, says="1 are broken")
    assert "does-not-open" in result.output and "web" in result.output, result
    found = tallyctl("--json", "keystore", "verify", "--config", conf)
    assert found.code == 6 and found.json["broken"] == 1 and found.json["findings"][0]["group"] == "web", found


def test_bad_input(fleet):
    def conf(text):
        path = fleet.dir / "bad.conf"
        path.write_text(text)
        return path
    database = f"[service]\ndatabase = {fleet.tenant.database}\n"
    master = fleet.tenant.keystore["master"]
    for text, words in (("", "not a service's configuration"), ("[service]\nlisten = x\n", "not a service's configuration"),
                        (database, "'master' is missing"),
                        (database + "[keystore]\nmaster = paper\n", "file:/path, tpm, or a PKCS#11 URI"),
                        (database + f"[keystore]\nmaster = {master}\ncolour = red\n", "colour"),
                        (database + f"[keystore]\nmaster = {master}\nmaster = {master}\n", "twice"),
                        (database + f"[keystore]\nmaster = {master}\ngate-pcr = 14\n", "gate-pcr is for a master key in the TPM"),
                        (database + "[keystore]\nmaster = tpm\ngate-pcr = 10\n", "not 10"),
                        (database + "[keystore]\nmaster = tpm\npcrs = x\n", "pcrs are numbers"),
                        (f"[service]\ndatabase = {fleet.dir}/none\n[keystore]\nmaster = {master}\n", "none"),
                        (f"[service]\ndatabase = {fleet.dir}\n[keystore]\nmaster = {master}\n", str(fleet.dir)),
                        (f"[service]\ndatabase = {__file__}\n[keystore]\nmaster = {master}\n", "")):
        keystore(conf(text), "verify", code=1, says=words)
    keystore(fleet.dir / "missing.conf", "show", code=1, says="missing.conf")
    for words in (("rewrap", "--limit", "0"), ("rewrap", "--limit", "-1"), ("rewrap", "x"), ("show", "--limit", "1"),
                  ("rotate-group",),
                  ("rotate-group", ""), ("rotate-group", "a", "b"), ("rotate-group", "a", "--own"), ("verify", "--colour"),
                  ("recover", "--recovery", "x", "--this-boot"), ("recover",)):
        keystore(fleet.conf, *words, code=2)
    assert tallyctl("keystore").code == 2 and tallyctl("keystore", "nothing").code == 2
    for verb in ("init", "show", "rotate-group", "rewrap", "verify", "recover"):
        result = tallyctl("keystore", verb, "--help")
        assert result.code == 0 and result.output.startswith(f"tallyctl keystore {verb}"), result

    tpm = conf(database + "[keystore]\nmaster = tpm\ntpm = device:/dev/no-such-tpm\nold-master = " + master + "\n")
    keystore(tpm, "init", code=2, says="no terminal to show the recovery phrase on")
    keystore(tpm, "init", "--recovery", fleet.dir / "p", "--no-recovery", code=2)
    keystore(tpm, "init", "--recovery", fleet.dir / "no" / "p", code=1, says="cannot be written")
    keystore(tpm, "init", "--recovery", fleet.dir / "p", code=4, says="there is no TPM")
    assert not (fleet.dir / "p").exists()
    (fleet.dir / "p").write_text("mine")
    keystore(tpm, "init", "--recovery", fleet.dir / "p", code=1, says="nothing is overwritten")
    assert (fleet.dir / "p").read_text() == "mine"
    keystore(fleet.conf, "init", "--recovery", fleet.dir / "q", code=2, says="for a master key in the TPM")
    keystore(conf(f"[service]\ndatabase = {fleet.dir}/none\n[keystore]\nmaster = tpm\n"), "init", "--no-recovery", code=1,
             says="Start the service once")
    new = conf(f"[service]\ndatabase = {fleet.dir}/none\n[keystore]\nmaster = file:fresh\n")
    keystore(new, "init", says="systemctl start tallyboot-registrar")
    assert len((fleet.dir / "fresh").read_bytes()) == 32 and not (fleet.dir / "none").exists()
    keystore(new, "init", code=3, says="fresh")


def test_interrupted(fleet):
    """Ctrl-C between two steps: says how far it came, and goes on."""
    fleet.tenant.keystore = {"master": f"file:{fleet.dir}/fifth", "old-master": fleet.tenant.keystore["master"]}
    fleet.tenant.configure()
    keystore(fleet.conf, "init")
    reload(fleet.tenant)
    lock = subprocess.Popen([sys.executable, "-c", f"""
import sqlite3, sys
connection = sqlite3.connect({str(fleet.tenant.database)!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE"); print("locked", flush=True); sys.stdin.read()"""], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    assert lock.stdout.readline() == b"locked\n"
    run = subprocess.Popen([str(BUILD / "tallyctl"), "keystore", "rewrap", "--config", str(fleet.conf)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not catches(run.pid, signal.SIGINT):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    lock.communicate(b"")
    errors = run.communicate(timeout=240)[1].decode()
    assert run.returncode == 130 and "goes on" in errors, (run.returncode, errors)
    keystore(fleet.conf, "verify", code=5)
    keystore(fleet.conf, "rewrap")
    fleet.tenant.keystore.pop("old-master")
    reload(fleet.tenant)
    keystore(fleet.conf, "verify")


def catches(pid, number):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*([0-9a-f]+)", status).group(1), 16) & 1 << (number - 1)


def test_phrase_on_a_terminal(fleet):
    if not keyring_works():
        skip("the kernel's keyring cannot be used here")
    with Swtpm(fleet.test_ca) as tpm:
        conf = fleet.dir / "terminal.conf"
        conf.write_text(f"[service]\ndatabase = {fleet.tenant.database}\n[keystore]\nmaster = tpm\ntpm = {tpm.tcti}\n"
                        f"old-master = {fleet.tenant.keystore['master']}\n")
        terminal = Terminal([str(BUILD / "tallyctl"), "keystore", "init", "--config", str(conf)], dict(os.environ))
        terminal.expect(PHRASE.pattern)
        assert terminal.wait().code == 0
        # given up: what is there under the file goes on, and the row of the TPM goes with the next rewrap
        keystore(fleet.conf, "verify", code=0)
        forget_boot(fleet, tpm)


if __name__ == "__main__":
    main(Setup)
