#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that asks the servers first and then the token, with a PIN that a person types: what comes first, servers or person,
opens the volumes, and who has typed one PIN is not asked for it again."""

import contextlib
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import expect, main
from enrolled import TOKEN, EnrolledNode, check, node_id_of
from offline_machine import BootMachine, namespaces
from services import Fleet
from softhsm import PIN
from token_machine import TROUBLED, Boot, answer, question, questions


class Setup(Fleet):
    """One machine with a TPM and a token, enrolled for both ways."""

    def __init__(self):
        super().__init__()
        namespaces()
        self.group("default", accept_first_boot=True)
        self.tpm_node = EnrolledNode(self)
        self.machine = BootMachine(self, "default")
        self.settings = {"tpm": self.tpm_node.tpm.tcti}
        image = self.machine.image()
        self.machine.set(**self.settings)
        done = check(self.machine.enroll("--join-token-file", self.machine.join_token_file(group="default"), image), TOKEN,
                     "needs token-key-sha256")
        self.settings["token_key_sha256"] = re.search(r"token-key-sha256 = ([0-9a-f]{64})", done.errors)[1]
        self.machine.set(**self.settings)
        self.id = node_id_of(self.machine.enrolled(image))
        (self.machine.directory / "over").mkdir()
        self.machine.volume = image

    def boot(self, **changes):
        self.tpm_node.tpm.reset()
        self.machine.set(**{**self.settings, "token_pin": "ask", "offline_after": 1, "network_timeout": 0, **changes})
        return Boot(self.machine)

    def ways(self):
        """Which one opened the volumes of this boot: "" halves, "offline\\n" the token; None: none yet."""
        return self.machine.note("halves")

    def destroy(self):
        if hasattr(self, "machine"):
            self.machine.destroy()
        if hasattr(self, "tpm_node"):
            self.tpm_node.destroy()
        super().destroy()


@contextlib.contextmanager
def servers_away(fleet):
    """Gives what brings them back."""
    def back():
        for party in fleet.parties:
            if party.process is None:
                party.start()
    for party in fleet.parties:
        party.stop()
    try:
        yield back
    finally:
        back()


def test_online(fleet):
    with fleet.boot(offline_after=600) as boot:
        boot.expect("note:halves")
        assert fleet.ways() == "" and not questions(boot.process.pid), boot.text
        assert boot.stop() == 0


def test_servers_that_come_back_while_the_pin_is_asked(fleet):
    """Nobody is at the console: the machine goes on by itself, and takes its question away."""
    with servers_away(fleet) as back, fleet.boot() as boot:
        asked = question(boot)
        time.sleep(3)    # asked for, and nothing else happens
        assert os.path.exists(asked[2]) and fleet.ways() is None
        back()
        boot.expect("note:halves")
        assert fleet.ways() == "" and not os.path.exists(asked[2]), boot.text
        assert boot.stop() == 0


def test_a_person_is_faster(fleet):
    with servers_away(fleet), fleet.boot() as boot:
        answer(question(boot), PIN)
        boot.expect("note:halves")
        assert fleet.ways() == "offline\n", boot.text
        assert boot.stop() == 0


def test_a_pin_is_taken_while_a_server_is_being_asked(fleet):
    """A server that takes connections and says nothing keeps no person waiting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with fleet.boot(tenant=url, verifier=url, connect_timeout=600, exchange_timeout=600) as boot:
            asked = question(boot)
            silent.listen()
            silent.settimeout(240)
            with silent.accept()[0]:
                start = time.monotonic()
                answer(asked, PIN)
                boot.expect("note:halves")
                assert fleet.ways() == "offline\n" and time.monotonic() - start < 240, boot.text
                assert boot.stop() == 0


def test_a_party_that_says_no_takes_the_question_away(fleet):
    with servers_away(fleet) as back, fleet.boot() as boot:
        asked = question(boot)
        back()
        fleet.tenant.stop()
        expect(fleet.verifier.post(f"/v1/nodes/{fleet.id}/suspend", {}), 200)
        fleet.tenant.start()
        try:
            boot.expect("suspended")
            end = time.monotonic() + 60
            while os.path.exists(asked[2]):
                assert time.monotonic() < end, boot.text
                time.sleep(0.05)
            assert fleet.ways() is None
            assert boot.stop() == 0
        finally:
            expect(fleet.verifier.post(f"/v1/nodes/{fleet.id}/resume", {}), 200)


def test_a_reader_with_a_keypad(fleet):
    """The module waits for the person inside of its login, until its process is ended."""
    keypad = fleet.machine.troubles / "keypad"
    os.mkfifo(keypad)    # nobody types anything
    try:
        with servers_away(fleet) as back, fleet.boot(token_module=TROUBLED) as boot:
            boot.expect("at its reader")
            back()
            boot.expect("note:halves")
            assert fleet.ways() == "", boot.text
            assert boot.stop() == 0
    finally:
        keypad.unlink()


def test_one_pin_for_two_names_of_a_token(fleet):
    with servers_away(fleet):
        for name in ("pkcs11:object=aes", "pkcs11:manufacturer=SoftHSM%20project;token=node;object=aes"):
            with fleet.boot(offline_key=name) as boot:
                answer(question(boot), PIN)
                boot.expect("note:halves")
                assert fleet.ways() == "offline\n", boot.text
                assert boot.stop() == 0


if __name__ == "__main__":
    main(Setup)
