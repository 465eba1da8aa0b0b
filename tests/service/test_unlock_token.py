#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines without a TPM: register, enroll, unlock --test, rotate, revoke with a PKCS#11 token (SoftHSM) against real services
and LUKS2 files; PINs, tokens that come late, go, are two, or have a module that is none."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main
from enrolled import OK, FAILED, USAGE, REFUSED, TOKEN, CONFIG, PENDING, check, node_id_of, tokens
from softhsm import PIN
from token_machine import SPY, TROUBLED, Boot, TokenFleet, TokenMachine, answer, question, questions


def works(fleet):
    fleet.machine.set()
    fleet.machine.pin(PIN)
    check(fleet.machine.unlock(fleet.image), OK, "would open with generation 1")


def test_register_says_node_code_and_key(fleet):
    with TokenMachine(fleet) as machine:
        done = check(machine.run("register"), OK, r"Registered: node [a-z2-7]{52}, code [a-z2-7]{4}-[a-z2-7]{4}",
                     r"Token key \(SHA-256\): [0-9a-f]{64}, token node")
        assert machine.run("register").output == done.output
        shown = fleet.registrar.get("/v1/nodes/" + re.search("node ([a-z2-7]{52})", done.output)[1]).json
        assert shown["token"] == "P-256" and shown["ek_sha256"] in done.output, shown


def test_approval_by_a_person(fleet):
    with TokenMachine(fleet) as machine:
        image = machine.image()
        done = check(machine.enroll("--no-wait", image), PENDING, "node approve")
        for party in fleet.parties:
            assert party.post(f"/v1/nodes/{node_id_of(done)}/approve", {"group": fleet.fast}).status == 200
        check(machine.enroll(image), OK, "Enrolled")
        check(machine.unlock(image), OK)


def test_both_halves_open_the_volume(fleet):
    works(fleet)
    token, = tokens(fleet.image)
    assert token["node"] == fleet.id and token["state"] == "live"
    assert fleet.machine.note("evidence").startswith("token, for no TPM appeared")
    assert fleet.machine.note("tpm-seen") is None


def test_each_kind_of_key(fleet):
    for kind in ("EC:secp384r1", "rsa:2048"):
        with TokenMachine(fleet) as machine:
            machine.hsm.key("node", "other", kind, "02")
            machine.set(token_key="pkcs11:token=node;object=other")
            image = machine.image()
            machine.enrolled(image)
            check(machine.unlock(image), OK)


def test_rotation(fleet):
    """In a boot; --test does not rotate, so the real one, which has no device to map."""
    key = tokens(fleet.image)[0]["key"]
    for party in fleet.parties:
        assert party.post(f"/v1/nodes/{fleet.id}/rotate", {"key": key}).status == 200
    with Boot(fleet.machine.set()) as boot:
        boot.expect("note:halves")
        boot.stop()
    for party in fleet.parties:
        shown = fleet.machine.shown(party, fleet.id)
        states = {one["generation"]: one["state"] for entry in shown["keys"] if entry["id"] == key
                  for one in entry["generations"]}
        assert states == {1: "live", 2: "staged"}, states
    works(fleet)


def test_revoked(fleet):
    with TokenMachine(fleet) as machine:
        image = machine.image()
        node = node_id_of(machine.enrolled(image))
        assert fleet.verifier.post(f"/v1/nodes/{node}/revoke", {"reason": "lost"}).status == 200
        check(machine.unlock(image), REFUSED, "verifier: .*revoked", "incident [0-9a-f]{16}")


def test_a_group_that_takes_no_tokens(fleet):
    with TokenMachine(fleet, "default") as machine:
        image = machine.image()
        machine.enrolled(image)
        done = machine.unlock(image)
        assert done.code in (REFUSED, PENDING) and re.search("(policy-refused|pending-policy): .*token-evidence = yes",
                                                             done.errors), done


def test_no_token(fleet):
    machine = fleet.machine.set()
    with machine.hsm.pulled(machine.folder):
        check(machine.unlock(fleet.image), TOKEN, "no token", "token=node;object=tallyboot", "incident [0-9a-f]{16}")
        check(machine.run("register"), TOKEN, "no token")
        check(machine.enroll(fleet.image), TOKEN, "no token")
        check(machine.run("evidence"), TOKEN, "no token")
        done = machine.run("doctor", "--offline")
        assert done.code == FAILED and re.search("problem +token +no token", done.output), done
    works(fleet)


def test_no_key_in_the_token(fleet):
    machine = fleet.machine.set(token_key="pkcs11:token=node;object=nothing")
    check(machine.unlock(fleet.image), TOKEN, "token node: no private key as token-key names it")
    machine.hsm.key("node", "twice", number="07")
    machine.hsm.key("node", "twice", number="08")
    machine.set(token_key="pkcs11:token=node;object=twice")
    check(machine.unlock(fleet.image), TOKEN, "names more than one private key")
    machine.set(token_key="pkcs11:token=node;object=twice;id=%07")
    check(machine.unlock(fleet.image), REFUSED, "unknown-node")
    works(fleet)


def test_a_key_of_another_type(fleet):
    fleet.machine.hsm.key("node", "small", "rsa:1024", "09")
    fleet.machine.set(token_key="pkcs11:token=node;object=small")
    check(fleet.machine.unlock(fleet.image), TOKEN, "of no type that signs evidence")


def certificate(machine, *extensions):
    """DER, with these extensions. Of another key: what it is for is all that counts here."""
    path = machine.directory / "certificate"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=card",
                    "-keyout", "/dev/null", "-outform", "DER", "-out", path,
                    *(word for one in extensions for word in ("-addext", one))],
                   check=True, stderr=subprocess.DEVNULL)
    return path


def test_a_key_that_was_made_for_something_else(fleet):
    with TokenMachine(fleet) as machine:
        for number, usage, words in (("11", "extendedKeyUsage=clientAuth,emailProtection",
                                      "TLS Web Client Authentication, E-mail Protection"),
                                     ("12", "extendedKeyUsage=1.3.6.1.4.1.311.20.2.2", "Smartcard"),
                                     ("13", "keyUsage=keyCertSign", "certificates")):
            machine.hsm.key("node", f"card-{number}", number=number)
            machine.hsm.tool("node", "--write-object", certificate(machine, usage), "--type", "cert", "--id", number)
            machine.set(token_key=f"pkcs11:token=node;object=card-{number}")
            check(machine.run("register"), TOKEN, "made for something else", words, "token make-key", "token-key-shared")
            check(machine.enroll(machine.image()), TOKEN, "made for something else")
            done = machine.run("doctor", "--offline")
            assert re.search("problem +token-key +.*made for something else", done.output), done
        check(machine.set(token_key="pkcs11:token=node;object=card-12", token_key_shared="yes").run("register"), OK,
              "has other uses")
        machine.hsm.key("node", "carrier", number="14")  # a certificate that is there to carry the public key
        machine.hsm.tool("node", "--write-object", certificate(machine), "--type", "cert", "--id", "14")
        check(machine.set(token_key="pkcs11:token=node;object=carrier").run("register"), OK)


def test_a_key_that_may_decrypt_is_warned_about(fleet):
    with TokenMachine(fleet) as machine:  # what pkcs11-tool makes in SoftHSM
        check(machine.run("register"), OK, "may also decrypt or derive")


def test_make_key(fleet):
    with TokenMachine(fleet) as machine:
        for kind, shown in (("p-256", "P-256"), ("p-384", "P-384"), ("rsa-2048", "RSA-2048")):
            done = check(machine.run("token", "make-key", "--label", f"made-{kind}", "--type", kind), OK)
            machine.set(token_key=re.search("^token-key = (.*)$", done.output, re.M)[1])
            done = check(machine.run("register"), OK)
            assert "may also" not in done.errors, done
            check(machine.run("evidence"), OK, shown)
        assert "Usage:      sign\n" in machine.hsm.tool("node", "-O", "--type", "privkey").split("made-p-256")[1]
        check(machine.run("token", "make-key", "--label", "made-p-256"), TOKEN, "has a key with the label")
        check(machine.run("token", "make-key", "--token", "pkcs11:token=nobody"), TOKEN, "no token")
        check(machine.run("token", "make-key", "--type", "p-521"), USAGE, "p-256, p-384")
        check(machine.run("token"), USAGE)


def test_two_tokens_match(fleet):
    machine = fleet.machine.set(token_key="pkcs11:object=tallyboot")
    other = machine.hsm.token("other")
    machine.hsm.key("other")
    check(machine.unlock(fleet.image), TOKEN, "node", "other")
    machine.set(token_key="pkcs11:token=other;object=tallyboot")
    check(machine.unlock(fleet.image), REFUSED, "unknown-node")
    with machine.hsm.pulled(other):
        machine.set(token_key="pkcs11:object=tallyboot")
        check(machine.unlock(fleet.image), OK)
    works(fleet)


def test_a_wrong_pin_is_not_tried_twice(fleet):
    machine = fleet.machine.set(token_module=SPY)
    machine.pin("999999")
    before = machine.logins()
    check(machine.unlock(fleet.image), TOKEN, f"the PIN of file {machine.pin_file} is wrong for token node")
    assert machine.logins() == before + 1
    assert "user PIN count low" in machine.hsm.flags("node")
    for _ in range(2):
        check(machine.again(fleet.image), TOKEN, "not tried again")
    check(machine.run("evidence"), TOKEN, "not tried again")
    assert machine.logins() == before + 1
    machine.pin(PIN)  # another file is another PIN
    check(machine.again(fleet.image), OK)
    assert machine.logins() == before + 2
    works(fleet)


def test_the_pins_file(fleet):
    machine = fleet.machine.set()
    machine.pin_file.chmod(0o644)
    check(machine.unlock(fleet.image), TOKEN, "may be read by others")
    machine.pin("")
    check(machine.unlock(fleet.image), TOKEN, "is empty")
    machine.pin("1" * 4000)
    check(machine.unlock(fleet.image), TOKEN, "longer than any PIN")
    machine.set(token_pin="file:/nowhere/pin")
    check(machine.unlock(fleet.image), TOKEN, "file /nowhere/pin cannot be read: No such file")
    machine.set(token_pin=None, token_key=f"pkcs11:token=node;object=tallyboot?pin-source=file:{machine.pin_file}")
    machine.pin(PIN)
    check(machine.unlock(fleet.image), OK)


def test_a_credential(fleet):
    machine = fleet.machine.set(token_pin="credential:tallyboot.pin")
    check(machine.unlock(fleet.image), TOKEN, "credential tallyboot.pin cannot be read")
    directory = machine.directory / "credentials"
    directory.mkdir(exist_ok=True)
    (directory / "tallyboot.pin").write_text(PIN)
    check(machine.unlock(fleet.image, CREDENTIALS_DIRECTORY=str(directory)), OK)


def test_nobody_to_ask(fleet):
    check(fleet.machine.set(token_pin=None).unlock(fleet.image), TOKEN, "wants a PIN, and there is nobody to ask", "token-pin")


def test_a_person_on_a_terminal(fleet):
    machine = fleet.machine.set(token_pin="ask")
    terminal = machine.terminal("evidence")
    terminal.expect("PIN of token node")
    terminal.send(b"000000\n")
    terminal.expect("Wrong PIN")
    terminal.send(f"{PIN}\n".encode())
    done = terminal.wait()
    assert done.code == OK and fleet.id in done.output and PIN not in done.output, done
    terminal = machine.terminal("evidence")
    terminal.expect("PIN of token node")
    terminal.send(b"\n")
    done = terminal.wait()
    assert done.code == TOKEN and "no PIN was given" in done.output, done


def test_a_person_at_a_password_agent(fleet):
    with Boot(fleet.machine.set(token_pin="ask")) as boot:
        asked = question(boot)
        assert "PIN of token node" in asked[0] and asked[1] == "0", asked
        answer(asked, "000000")
        asked = question(boot)
        assert asked[0].startswith("Wrong PIN. "), asked
        answer(asked, PIN)
        boot.expect("note:halves")
        assert PIN not in boot.text and not questions(boot.process.pid)
        boot.stop()
    works(fleet)


def test_a_person_who_wants_the_passphrase(fleet):
    for text in ("", None):
        with Boot(fleet.machine.set(token_pin="ask")) as boot:
            answer(question(boot), text)
            assert boot.wait() == TOKEN
            assert "no PIN was given" in boot.text and "this boot needs a passphrase" in boot.text, boot.text


def test_the_question_goes_with_the_unlocker(fleet):
    machine = fleet.machine.set(token_pin="ask")
    with Boot(machine) as boot:
        asked = question(boot)
        check(machine.run("gate", "close"), OK)  # a passphrase was typed: the gate's unit ends the unlocker
        boot.wait()
        assert not os.path.exists(asked[2]) and not questions(boot.process.pid)
    with Boot(machine) as boot:
        asked = question(boot)
        boot.process.kill()
        boot.wait()
        until(lambda: not os.path.exists(asked[2]))
    works(fleet)


def test_a_wrong_pin_of_the_file_then_a_person(fleet):
    machine = fleet.machine.set(token_module=SPY)
    machine.pin("999999")
    before = machine.logins()
    with Boot(machine) as boot:
        asked = question(boot)
        assert "A wrong PIN was given before" in asked[0], asked
        boot.expect("not tried again")
        assert machine.logins() == before + 1
        answer(asked, PIN)
        boot.expect("note:halves")
        boot.stop()
    works(fleet)


def test_a_token_that_comes_late(fleet):
    machine = fleet.machine.set()
    with machine.hsm.pulled(machine.folder) as back, Boot(machine) as boot:
        boot.expect("waiting for a token", "note:control")
        assert boot.text.count("waiting for a token") == 1, boot.text
        back()
        boot.expect("note:halves")
        boot.stop()
    works(fleet)


def test_a_time_limit_for_tokens(fleet):
    machine = fleet.machine.set(token_timeout=1)
    with machine.hsm.pulled(machine.folder), Boot(machine) as boot:
        assert boot.wait() == TOKEN
        assert "no token" in boot.text and "this boot needs a passphrase" in boot.text, boot.text


def test_removed_while_the_pin_is_asked(fleet):
    machine = fleet.machine.set(token_pin="ask", token_module=TROUBLED)
    with Boot(machine) as boot:
        asked = question(boot)
        with machine.trouble("removed"):
            boot.expect("is there no more; waiting for it")
            assert not os.path.exists(asked[2]), asked
        answer(question(boot, other_than=asked), PIN)
        boot.expect("note:halves")
        boot.stop()
    works(fleet)


def test_a_card_that_calls_a_wrong_pin_an_error(fleet):
    """It counts as wrong: once by itself, then a person is asked, who may mistype it too."""
    machine = fleet.machine.set(token_module=TROUBLED)
    machine.pin("87654321")
    with machine.trouble("odd-pin", "logins"), Boot(machine) as boot:
        asked = question(boot)
        assert machine.logins() == 1
        answer(asked, "11111111")
        again = question(boot, other_than=asked)
        assert machine.logins() == 2
        answer(again, PIN)
        boot.expect("did not take the PIN of file", "CKR_GENERAL_ERROR", "note:halves")
        boot.stop()
    works(fleet)


def test_the_last_try_is_a_persons(fleet):
    machine = fleet.machine.set(token_module=TROUBLED)
    with machine.trouble("last", "logins"):
        check(machine.unlock(fleet.image), TOKEN, "token node has one try left: the PIN's file .* is not used for it")
        assert machine.logins() == 0
        done = machine.run("doctor", "--offline")
        assert done.code == FAILED and re.search("problem +token +.*one try left", done.output) and machine.logins() == 0, done
        with Boot(machine) as boot:
            asked = question(boot)
            assert asked[0].startswith("LAST TRY"), asked
            assert machine.logins() == 0
            answer(asked, PIN)
            boot.expect("one try left", "note:halves")
            assert machine.logins() == 1
            boot.stop()
    machine.set(token_pin="credential:tallyboot.pin", token_module=TROUBLED)
    with machine.trouble("last", "logins"):
        check(machine.unlock(fleet.image), TOKEN, "one try left: the PIN's credential")
        assert machine.logins() == 0
    works(fleet)


def test_a_locked_pin_is_said_in_words(fleet):
    machine = fleet.machine.set(token_module=TROUBLED)
    with machine.trouble("locked", "logins"):
        check(machine.unlock(fleet.image), TOKEN, "PIN of token node is locked", "PUK or SO PIN")
        done = machine.run("doctor", "--offline")
        assert done.code == FAILED and re.search("problem +token +.*locked", done.output), done
        with Boot(machine.set(token_pin="ask", token_module=TROUBLED)) as boot:
            assert boot.wait() == TOKEN
            assert "is locked" in boot.text and "this boot needs a passphrase" in boot.text, boot.text
        assert machine.logins() == 0
    works(fleet)


def test_locked_by_a_persons_try(fleet):
    machine = fleet.machine.set(token_pin="ask", token_module=TROUBLED)
    with Boot(machine) as boot:
        asked = question(boot)
        with machine.trouble("locked"):
            answer(asked, "000000")
            assert boot.wait() == TOKEN
            assert "is locked" in boot.text, boot.text
    works(fleet)


def test_a_pin_that_is_typed_at_the_reader(fleet):
    machine = fleet.machine.set(token_pin="ask", token_module=TROUBLED)
    with machine.trouble(f"keypad={PIN}"):
        check(machine.unlock(fleet.image), OK, "type the PIN of token node at its reader")
        check(machine.set(token_pin="keypad", token_module=TROUBLED).unlock(fleet.image), OK)
        check(machine.set(token_module=TROUBLED).unlock(fleet.image), OK)  # the file's is given all the same
    with machine.trouble("keypad=000000", "logins"):
        check(machine.set(token_pin="keypad", token_module=TROUBLED).unlock(fleet.image), TOKEN, "CKR_PIN_INCORRECT")
        assert machine.logins() == 1
    machine.set(token_pin="keypad")  # a token that has none
    check(machine.unlock(fleet.image), TOKEN, "nobody to ask")
    works(fleet)


def test_modules_in_trouble(fleet):
    machine = fleet.machine.set(token_module=TROUBLED)
    for trouble, words in (("exit-start", "module"), ("fail-start", "C_Initialize|CKR_DEVICE_ERROR"), ("busy", "CKR_|in use")):
        with machine.trouble(trouble):
            check(machine.unlock(fleet.image), TOKEN, words)
    for trouble in ("renumber", "lose-session", "active"):
        with machine.trouble(trouble):
            check(machine.unlock(fleet.image), OK)
    with machine.trouble("crash"):  # its process ends, and another one signs
        assert machine.unlock(fleet.image).code in (OK, TOKEN)
    works(fleet)


def test_crashed_in_a_boot(fleet):
    machine = fleet.machine.set(token_module=TROUBLED)
    with machine.trouble("crash"), Boot(machine) as boot:
        boot.expect("note:halves")
        boot.stop()
    works(fleet)


def until(is_true):
    end = time.monotonic() + 240
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_called(port):
    """Somebody has a connection to it: proc(5), /proc/net/tcp."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in file.readlines()[1:])


@contextlib.contextmanager
def in_the_middle(fleet):
    """A boot that is logged in, while the tenant keeps it waiting for a nonce; the value lets the tenant go on."""
    machine = fleet.machine.set(exchange_timeout=600, token_module=TROUBLED)
    tenant = fleet.tenant.process
    with machine.trouble("logins"):
        tenant.send_signal(signal.SIGSTOP)
        try:
            with Boot(machine) as boot:
                until(lambda: is_called(fleet.tenant.port))  # after the token was opened: no header gives a hint here
                assert machine.logins() == 1
                yield boot, lambda: tenant.send_signal(signal.SIGCONT)
        finally:
            tenant.send_signal(signal.SIGCONT)
    works(fleet)


def test_removed_in_the_middle(fleet):
    """The signature finds no token, and it is waited for again."""
    with in_the_middle(fleet) as (boot, go_on):
        with fleet.machine.trouble("removed"):
            go_on()
            boot.expect("it was removed: ", "; waiting for it")
        boot.expect("note:halves")
        boot.stop()


def test_exchanged_in_the_middle(fleet):
    machine = fleet.machine
    with in_the_middle(fleet) as (boot, go_on):
        with machine.trouble("removed"):
            go_on()
            boot.expect("it was removed: ", "; waiting for it")
            away = machine.hsm.pulled(machine.folder)
            away.__enter__()
            other = machine.hsm.token("node")
            machine.hsm.key("node")
        assert boot.wait() == TOKEN
        assert "this is another token than before: its node id is " in boot.text, boot.text
        shutil.rmtree(other)
        away.__exit__(None, None, None)


def test_modules_that_are_none(fleet):
    machine = fleet.machine
    for module, words in (("/nowhere/module.so", "/nowhere/module.so"), ("/etc/passwd", "/etc/passwd"),
                          ("/usr/lib/x86_64-linux-gnu/libz.so.1", "libz")):
        check(machine.set(token_module=module).unlock(fleet.image), TOKEN, words)
    works(fleet)


def test_a_tpm_that_is_there_is_not_passed_over(fleet):
    """It refuses: that is no reason to take a token."""
    machine = fleet.machine.set(tpm="device:/dev/null")
    check(machine.unlock(fleet.image), TOKEN, "TPM")
    assert machine.note("evidence").startswith("tpm")
    machine.set(tpm="device:/dev/null", evidence="token")
    check(machine.unlock(fleet.image), OK)
    machine.set(evidence="tpm")
    check(machine.unlock(fleet.image), TOKEN, "no TPM appeared")


def test_the_gate_lets_go(fleet):
    machine = fleet.machine.set()
    check(machine.unlock(fleet.image), OK)
    check(machine.run("gate", "close"), OK)
    assert "no TPM answered" in machine.note("gate-closed")
    (machine.directory / "run" / "gate-closed").unlink()
    (machine.directory / "run" / "tpm-seen").write_text("")
    machine.set(tpm="device:/dev/null", evidence="token")
    check(machine.run("gate", "close"), OK)
    assert "no gate: evidence = token" in machine.note("gate-closed")


def test_status_doctor_evidence(fleet):
    machine = fleet.machine.set()
    check(machine.unlock(fleet.image), OK)
    status = json.loads(machine.run("status", "--json").output)
    assert status["unlock"] == "online" and status["evidence"].startswith("token"), status
    check(machine.run("status"), OK, "Unlocks +online", "Evidence +token")
    evidence = json.loads(check(machine.run("evidence", "--json"), OK).output)
    assert evidence["node"] == fleet.id and evidence["token"] == "node" and evidence["key_type"] == "P-256", evidence
    found = {(one["check"], one["level"]) for one in json.loads(machine.run("doctor", "--json").output)}
    assert {("token", "ok"), ("tenant", "ok"), ("verifier", "ok")} <= found and not {("tpm", "problem")} & found, found


def test_configuration(fleet):
    machine = fleet.machine
    for words, settings in (("without a PIN", {"token_key": "pkcs11:object=x?pin-value=1234"}),
                            ("PKCS#11 URI", {"token_key": "x"}),
                            ("needs token-key", {"token_key": None, "evidence": "token"}), ("ask, keypad", {"token_pin": "1234"}),
                            ("auto, tpm or token", {"evidence": "both"}), ("needs offline-key", {"unlock": "offline"})):
        check(machine.set(**settings).run("unlock", "--test"), CONFIG, words)
    works(fleet)


if __name__ == "__main__":
    main(TokenFleet)
