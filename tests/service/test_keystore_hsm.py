#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tenant whose halves are under a master key in an HSM (SoftHSM, in a process of its own, behind
tests/modules/troubled-token.c): what it answers when the HSM misbehaves, that it goes on, and that it comes back by itself. The
same process from the first case to the last but where a case says that it starts again."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from node import Refused, ready
from services import BUILD, Fleet
from softhsm import PIN, SoftHsm
from softtpm import SoftTpm

TROUBLED = pathlib.Path(__file__).resolve().parents[2] / "build/tests/modules/troubled-token.so"  # not of a sanitizer's build
URI = "pkcs11:token=tallyboot;object=tenant-master"
PATIENCE = 240


class Setup(Fleet):
    """Two nodes in groups of their own: while one group's key is warm, the other's can be cold."""

    def __init__(self):
        super().__init__(start=False)
        self.hsm = SoftHsm()
        self.token = self.hsm.token("tallyboot")
        self.trouble = pathlib.Path(tempfile.mkdtemp(prefix="trouble-", dir=self.directory))
        self.pin = self.directory / "pin"
        self.pin.write_text(PIN)
        self.pin.chmod(0o600)
        os.environ.update(self.hsm.environment, TROUBLED_TOKEN=str(self.trouble))
        self.registrar.start()
        self.verifier.start()
        self.tenant.keystore = {"master": URI, "module": TROUBLED, "pin": f"file:{self.pin}"}
        self.tenant.configure()
        self.tallyctl("init")
        self.tenant.start()
        self.nodes = {}
        for name in ("web", "db"):
            self.group(name)
            self.nodes[name] = ready(self, group=name, swtpm=SoftTpm(self.test_ca))
        self.expected = {name: self.halves(name) for name in self.nodes}

    def tallyctl(self, *words, code=0):
        done = subprocess.run([str(BUILD / "tallyctl"), "keystore", *words, "--config", str(self.tenant.directory / "conf")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240)
        assert done.returncode == code, done.stdout
        return done.stdout

    def halves(self, name):
        """A whole boot; what the tenant gave."""
        node = self.nodes[name]
        node.reboot()
        return {what: half["half"] for what, half in node.unlock()["tenant"][0].items()}

    def boots(self, name):
        assert self.halves(name) == self.expected[name]

    def boots_soon(self, name):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.boots(name)
                return
            except Refused as refused:
                assert refused.problem == "unavailable" and time.monotonic() < deadline, refused
                time.sleep(0.2)

    def refused(self, name):
        try:
            self.halves(name)
        except Refused as refused:
            return refused
        raise AssertionError("it was answered")

    def cold(self):
        """Everything out of memory, as after the configured time. The service stays."""
        said = self.tenant.log_text().count("keystore's configuration was read anew")
        seconds = int(self.tenant.keystore.get("cache", 300))
        self.tenant.keystore["cache"] = seconds + 1
        self.tenant.configure()
        self.tenant.process.send_signal(signal.SIGHUP)
        self.journal("keystore's configuration was read anew", said + 1)

    def journal(self, words, times=1):
        deadline = time.monotonic() + PATIENCE
        while self.tenant.log_text().count(words) < times:
            assert self.tenant.process.poll() is None and time.monotonic() < deadline, (words, self.tenant.log_text()[-3000:])
            time.sleep(0.05)

    def happens(self, name, content=""):
        (self.trouble / name).write_text(content)

    def ends(self, name):
        (self.trouble / name).unlink()

    def module(self):
        """The process that the module is in."""
        done = subprocess.run(["pgrep", "-P", str(self.tenant.process.pid), "-f", "tallyboot-pkcs11"], stdout=subprocess.PIPE,
                              text=True, check=False)
        return [int(line) for line in done.stdout.split()]

    def destroy(self):
        super().destroy()
        self.hsm.destroy()


def unavailable(refused):
    assert refused.problem == "unavailable", refused
    return refused


def test_the_module_is_apart(fleet):
    """The vendor's library is in no memory of the service."""
    maps = pathlib.Path(f"/proc/{fleet.tenant.process.pid}/maps").read_text()
    assert "softhsm" not in maps and "troubled" not in maps
    pids = fleet.module()
    assert len(pids) == 1, pids
    assert "troubled" in pathlib.Path(f"/proc/{pids[0]}/maps").read_text()
    fleet.boots("web")
    fleet.boots("db")


def test_what_is_stored_is_the_tokens(fleet):
    """Every KEK is wrapped by the token, bound to what it is for."""
    rows = fleet.tenant.sql("SELECT name, generation, master, wrapped FROM keystore_kek ORDER BY name")
    assert [row[0] for row in rows] == ["", "db", "default", "web"], rows
    assert all(row[3][:4] == b"tbwk" for row in rows)
    assert "gcm" in fleet.tallyctl("show")
    fleet.tallyctl("verify")


def test_module_crashes(fleet):
    """A fault in the vendor's library: the release that needed it is answered all the same, by the next process."""
    service = fleet.tenant.process.pid
    fleet.cold()
    fleet.happens("crash")
    fleet.boots_soon("web")
    assert not (fleet.trouble / "crash").exists()
    fleet.cold()
    for pid in fleet.module():
        os.kill(pid, signal.SIGKILL)
    fleet.boots_soon("db")
    assert fleet.tenant.process.pid == service and fleet.tenant.process.poll() is None


def test_session_lost(fleet):
    for trouble in ("lose-session", "active"):
        fleet.cold()
        fleet.happens(trouble)
        fleet.boots_soon("web")
        assert not (fleet.trouble / trouble).exists()


def test_slots_renumbered(fleet):
    fleet.cold()
    fleet.happens("renumber")
    fleet.happens("lose-session")
    fleet.boots_soon("web")
    fleet.ends("renumber")
    fleet.cold()
    fleet.boots_soon("web")


def test_token_busy(fleet):
    fleet.cold()
    fleet.happens("busy")
    fleet.happens("lose-session")
    unavailable(fleet.refused("web"))
    fleet.ends("busy")
    fleet.boots_soon("web")


def test_token_away(fleet):
    """What is warm goes on; what is cold is refused as unavailable, with a time to come again, and works when the token is back,
    with nobody's hand."""
    fleet.cold()
    fleet.boots_soon("web")
    fleet.happens("removed")
    refused = unavailable(fleet.refused("db"))
    assert int(refused.answer.headers["Retry-After"]) > 0
    fleet.boots("web")
    assert fleet.tenant.get("/v1/health", cert=None).status == 200
    fleet.journal("The HSM of the keystore cannot be used")
    log = fleet.tenant.log_text()
    assert re.search(r"Half of node [a-z2-7]{52}, key [0-9a-f]{32}, generation 1, does not open: the token", log), log[-2000:]
    fleet.ends("removed")
    fleet.boots_soon("db")
    fleet.journal("The HSM of the keystore answers again")


def test_token_hangs(fleet):
    """Nobody waits for long, and those who need no HSM do not wait at all."""
    fleet.cold()
    fleet.boots_soon("web")
    pids = fleet.module()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        unavailable(fleet.refused("db"))
        fleet.boots("web")
        unavailable(fleet.refused("db"))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    fleet.boots_soon("db")


def test_another_token_of_that_name(fleet):
    """One with another serial number in the place of ours, and with another key: never used."""
    fleet.cold()
    away = fleet.hsm.directory / "kept"
    fleet.token.rename(away)
    other = fleet.hsm.token("tallyboot")
    fleet.hsm.tool("tallyboot", "--keygen", "--key-type", "AES:32", "--label", "tenant-master", "--id", "02")
    before = fleet.tenant.sql("SELECT COUNT(*) FROM keystore_kek")
    unavailable(fleet.refused("db"))
    fleet.group("new")
    assert fleet.tenant.sql("SELECT COUNT(*) FROM keystore_kek") == before
    subprocess.run(["rm", "-r", str(other)], check=True)
    away.rename(fleet.token)
    fleet.boots_soon("db")


def test_warm_for_the_configured_time(fleet):
    """cache = 1: a second later the token is needed again. Without the token the group is refused then."""
    fleet.tenant.keystore["cache"] = 0
    fleet.cold()
    fleet.boots_soon("web")
    fleet.happens("removed")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fleet.boots("web")
        except Refused as refused:
            unavailable(refused)
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    fleet.ends("removed")
    fleet.boots_soon("web")
    fleet.tenant.keystore["cache"] = 300


def test_pin_changed(fleet):
    """The PIN is no more what the service has: given once more, not again by the next process of the module, and no row is
    blamed."""
    fleet.boots_soon("web")
    fleet.cold()
    before = len(fleet.tenant.log_text())
    fleet.happens("logins")
    fleet.happens("pin-changed")
    for pid in fleet.module():
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        unavailable(fleet.refused("web"))
    fleet.journal("The HSM of the keystore cannot be used: PIN: ")
    log = fleet.tenant.log_text()[before:]
    assert "row was changed" not in log, log[-2000:]
    assert (fleet.trouble / "logins").stat().st_size == 1
    fleet.ends("pin-changed")
    fleet.ends("logins")
    fleet.tenant.restart()
    fleet.boots("web")


def test_rows_put_back(fleet):
    """An older generation of a group's key in the place of the newer one, under the running service: refused, by its name."""
    fleet.boots_soon("web")
    old = fleet.tenant.sql("SELECT wrapped FROM keystore_kek WHERE name = 'web'")[0][0]
    fleet.tallyctl("rotate-group", "web")
    fleet.boots("web")
    new, = fleet.tenant.sql("SELECT generation, wrapped FROM keystore_kek WHERE name = 'web'")
    assert new[0] == 2
    fleet.tenant.change("UPDATE keystore_kek SET wrapped = ? WHERE name = 'web'", old)
    assert fleet.refused("web").problem == "internal"
    fleet.journal("KEK of group 'web', generation 2: the row was changed, or is another's")
    fleet.tenant.change("UPDATE keystore_kek SET wrapped = ? WHERE name = 'web'", new[1])
    fleet.boots("web")
    fleet.tallyctl("verify")


def start_fails(fleet):
    fleet.tenant.stop()
    before = len(fleet.tenant.log_text())
    try:
        fleet.tenant.start()
    except RuntimeError:
        return fleet.tenant.log_text()[before:]
    raise AssertionError("it started")


def test_named_at_the_start(fleet):
    """The service does not come up, and says why: nothing is left for the first release to find out."""
    good = dict(fleet.tenant.keystore)
    second = fleet.hsm.token("second")
    for change, words in (({"master": "pkcs11:manufacturer=SoftHSM%20project;object=tenant-master"},
                           '2 tokens match the PKCS#11 URI: "'),
                          ({"mechanism": "kwp"}, "lacks CKM_AES_KEY_WRAP_KWP; it has CKM_RSA_PKCS_OAEP "),
                          ({"mechanism": "kwp"}, " CKM_AES_GCM "), ({"master": URI.replace("tenant-master", "none")}, "none"),
                          ({"master": URI.replace("token=tallyboot", "token=nobody")}, "nobody"),
                          ({"module": "/usr/lib/no-such-module.so"}, "no-such-module.so"), ({"pin": None}, "needs a PIN"),
                          ({"mac": "aes-cmac", "mac-key": "no-mac"}, "no-mac"),
                          ({"pin": "1234"}, "never is in the configuration")):
        fleet.tenant.keystore = {**good, **change}
        said = start_fails(fleet)
        assert words in said, (change, said)
        assert PIN not in said
    shutil.rmtree(second)

    fleet.tenant.keystore = good
    fleet.happens("exit-start")
    assert "cannot be used" in start_fails(fleet)
    fleet.ends("exit-start")

    # a wrong PIN is given to the token once, whoever starts the service again
    fleet.happens("logins")
    fleet.pin.write_text("000000")
    assert "PIN" in start_fails(fleet)
    tries = (fleet.trouble / "logins").stat().st_size
    assert tries == 1, tries
    fleet.pin.write_text("000001")
    assert "log in once by hand" in start_fails(fleet)
    assert (fleet.trouble / "logins").stat().st_size == tries
    fleet.pin.write_text(PIN)
    fleet.ends("logins")
    fleet.hsm.tool("tallyboot", "--list-objects")
    fleet.tenant.start()
    fleet.boots("web")


def test_always_sensitive(fleet):
    """Over to a key with a MAC, and the group keys used by the token alone: no boot fails, on the way neither, and without the
    token none is answered."""
    old = {f"old-{key}": fleet.tenant.keystore[key] for key in ("module", "pin")}
    fleet.tenant.keystore = {"master": "pkcs11:token=tallyboot;object=inside", "module": TROUBLED, "pin": f"file:{fleet.pin}",
                             "mechanism": "key-wrap-pad", "mac": "sha256-hmac", "mac-key": "inside-mac",
                             "always-sensitive": "yes", "old-master": URI, **old}
    fleet.tenant.configure()
    fleet.tallyctl("init")
    fleet.tenant.process.send_signal(signal.SIGHUP)
    fleet.journal("the master key is pkcs11:token=tallyboot;object=inside")
    fleet.boots("web")
    fleet.tallyctl("rewrap")
    fleet.boots("web")
    fleet.tallyctl("rotate-group", "web")
    for key in ("old-master", *old):
        del fleet.tenant.keystore[key]
    fleet.tenant.restart()
    fleet.boots("web")
    fleet.boots("db")
    fleet.happens("removed")
    unavailable(fleet.refused("web"))
    fleet.ends("removed")
    fleet.boots_soon("web")
    fleet.tallyctl("verify")


if __name__ == "__main__":
    main(Setup)
