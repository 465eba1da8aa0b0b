#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose token opens a volume offline: machines with a TPM, tokens of an attacker's by the names of ours, tokens that are
exchanged."""

import contextlib
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from enrolled import OK, TOKEN, VOLUME, EnrolledNode, check, node_id_of
from offline_machine import DEAD, BootMachine, OfflineMachine, kept, key, namespaces, put
from services import Fleet
from token_machine import Boot


@contextlib.contextmanager
def with_a_tpm(fleet):
    """The machine proves itself with a TPM of its own. Gives what its configuration has, without token-key-sha256."""
    tpm_node = EnrolledNode(fleet)
    try:
        yield tpm_node.tpm, {"tpm": tpm_node.tpm.tcti}
    finally:
        tpm_node.destroy()


def pin_of(machine, image):
    """As the operator learns it: from the enrollment that is refused for want of it."""
    done = check(machine.enroll("--join-token-file", machine.join_token_file(group=machine.group), image), TOKEN,
                 "needs token-key-sha256")
    return re.search(r"token-key-sha256 = ([0-9a-f]{64})", done.errors)[1]


def test_a_machine_with_a_tpm(fleet):
    """The TPM is its identity; the token opens what it keeps, if the configuration says whose it is, whatever the mechanism."""
    with OfflineMachine(fleet, "default") as machine, with_a_tpm(fleet) as (tpm, settings):
        image = machine.image()
        for mechanism in ("aes", "rsa"):
            machine.set(**settings, token_key=None, offline_key=key(mechanism))
            check(machine.enroll("--join-token-file", machine.join_token_file(group="default"), image), TOKEN, "needs token-key")
        machine.set(**settings)
        pin = pin_of(machine, image)
        machine.set(**settings, token_key_sha256=pin)
        done = machine.enrolled(image)
        assert f"token-key-sha256 = {pin}" in done.output, done
        token, = kept(image).values()
        assert token["signature"] and token["node"] == node_id_of(done)
        settings["token_key_sha256"] = pin

        def boots(code, *words, **changes):
            tpm.reset()
            check(machine.offline(image, **{**settings, **changes}), code, *words)
        boots(OK)
        boots(OK, token_key_sha256=f"{'0' * 64} {pin.upper()}")    # a fleet's list
        boots(TOKEN, "needs token-key", token_key=None, token_key_sha256=None)
        boots(TOKEN, "needs token-key-sha256", token_key_sha256=None)
        boots(TOKEN, "none of those that token-key-sha256", token_key_sha256="0" * 64)
        boots(VOLUME, "not opened offline", tpm="device:/nowhere/tpm")    # evidence = auto: the token is another node
        number, = kept(image)
        del token["signature"]
        put(image, number, token)
        boots(VOLUME, "not signed")
        # RSA: anybody can wrap
        other = machine.image("rsa")
        machine.set(**settings, offline_key=key("rsa")).enrolled(other)
        tpm.reset()
        check(machine.offline(other, **settings, offline_key=key("rsa")), OK)


def test_doctor_says_whose_token(fleet):
    with OfflineMachine(fleet, "default") as machine, with_a_tpm(fleet) as (_, settings):
        def says(*words, **changes):
            text = machine.set(**{**settings, **changes}).run("doctor", "--offline").output
            assert all(re.search(word, text) for word in words), text
            return text
        says("problem +offline .*needs token-key = and", token_key=None)
        pin = re.search("token-key-sha256 = ([0-9a-f]{64})", says("problem +offline .*needs token-key-sha256"))[1]
        says("problem +offline .*needs token-key-sha256", token_pin="ask")
        says("ok +offline", token_key_sha256=pin)
        says("ok +offline", token_key_sha256=pin, token_pin="ask")
        assert "offline" not in says(unlock="online")
        says(f"warning +offline .*token-key-sha256 = {pin}", tpm="device:/nowhere/tpm")
        text = says("token-key", tpm="device:/nowhere/tpm", token_key_sha256=pin)
        assert "warning  offline" not in text and "problem  token" not in text, text
        says("problem +token-key .*none of those", tpm="device:/nowhere/tpm", token_key_sha256="0" * 64)


def rogue(machine, settings, *images):
    """A token of the attacker's, by all the names of ours, and what it opens: volumes of his that say they are this node's. (The
    servers deal its key, which saves the test from writing it by hand; a K_b is nobody's secret that he makes himself.) Gives its
    folder and pin."""
    ours = machine.directory / "our-token"
    shutil.move(machine.folder, ours)
    folder = machine.hsm.token("node")
    machine.hsm.key("node")
    machine.make_key("aes", "wrap", "aes")
    machine.set(**settings)
    pin = pin_of(machine, images[0])
    machine.set(**settings, token_key_sha256=pin)
    for image in images:
        machine.enrolled(image)
    shutil.move(folder, machine.directory / "rogue-token")
    shutil.move(ours, machine.folder)
    return folder, pin


def test_a_token_by_the_name_of_ours(fleet):
    """And a volume of its own: not even first in a boot where the configuration has the key of ours."""
    with OfflineMachine(fleet, "default") as machine, with_a_tpm(fleet) as (tpm, settings):
        fake, image = machine.image("fake"), machine.image()
        folder, _ = rogue(machine, settings, fake)
        machine.set(**settings)
        settings["token_key_sha256"] = pin_of(machine, image)
        machine.set(**settings).enrolled(image)
        with machine.hsm.pulled(machine.folder):
            shutil.move(machine.directory / "rogue-token", folder)
            tpm.reset()
            check(machine.offline(fake, **settings), TOKEN, "none of those that token-key-sha256")
            shutil.rmtree(folder)
        tpm.reset()
        check(machine.offline(image, fake, **settings), VOLUME, "fake: not opened offline: .*signature .* is wrong",
              "/image: .*would open")


def test_tokens_are_not_exchanged_in_a_boot(fleet):
    """Of two that are both in a fleet's list one opens the volumes of a boot: the other is not the first that comes back."""
    namespaces()
    with BootMachine(fleet, "default") as machine, with_a_tpm(fleet) as (tpm, settings):
        fake, another, image = machine.image("fake"), machine.image("another"), machine.image()
        third, data = machine.directory / "third", machine.directory / "data"
        folder, his = rogue(machine, settings, fake, another)
        machine.set(**settings)
        pin = pin_of(machine, image)
        machine.set(**settings, token_key_sha256=pin).enrolled(image)
        (machine.directory / "over").mkdir()
        machine.volume = fake
        machine.more = "".join(f"{path.name} {path} none luks,header={path}\n" for path in (third, data))
        machine.set(**settings, **DEAD, unlock="offline", token_key_sha256=f"{pin} {his}")
        tpm.reset()
        with machine.hsm.pulled(machine.folder) as back:
            shutil.move(machine.directory / "rogue-token", folder)
            with Boot(machine) as boot:
                boot.expect("note:halves", "note:offline-token")
                shutil.move(folder, machine.directory / "rogue-token")
                back()
                shutil.copy(another, third)    # it takes the first token to open it: that one is found to be gone
                boot.expect("is another than the one that this boot began with")
                shutil.copy(image, data)
                assert boot.stop() == 0
                assert "tallyboot: data: " not in boot.text and "tallyboot: third: " not in boot.text, boot.text


if __name__ == "__main__":
    main(Fleet)
