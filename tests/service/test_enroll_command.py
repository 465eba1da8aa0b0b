#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""register, enroll and unenroll: the real program, TPM and services, LUKS2 files; then the unlock that a boot does."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from shutil import which

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cases import main, skip
from enrolled import EnrolledNode, header, interrupt, node_id_of, opens, slots, tokens
from services import Fleet


TRACED = {"ASAN_OPTIONS": "detect_leaks=0"}  # the leak checker is a tracer itself


def enrolled(node, *images, words=()):
    """Enrolls with a join token, which must work."""
    done = node.enroll("--join-token-file", node.join_token_file(), *words, *images)
    assert done.code == 0, done
    return node_id_of(done)


def unchanged(image, before):
    assert header(image) == before, header(image)
    assert opens(image)


def keys_of(node, party, node_id):
    return {key["id"]: {one["generation"]: one["state"] for one in key["generations"]}
            for key in node.shown(party, node_id)["keys"]}


def test_register(fleet):
    with EnrolledNode(fleet) as node:
        done = node.run("register")
        assert done.code == 0 and re.search(r"Registered: node [a-z2-7]{52}, code [a-z2-7]{4}-[a-z2-7]{4}", done.output), done
        assert node.run("register").output == done.output
        ek = fleet.registrar.get("/v1/nodes/" + re.search(r"node ([a-z2-7]{52})", done.output).group(1)).json["ek_sha256"]
        assert f"(SHA-256): {ek}" in done.output, done
        assert node.run("register", "more").code == 2


def test_register_without_a_registrar(fleet):
    with EnrolledNode(fleet) as node:
        node.configure(registrar="https://127.0.0.1:9")
        done = node.run("register")
        assert done.code == 4 and "registrar" in done.errors, done


def test_enroll_with_a_join_token_then_unlock(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        node_id = enrolled(node, image)
        assert slots(image) == [0, 1] and opens(image)
        token, = tokens(image)
        assert token["state"] == "live" and token["keyslots"] == ["1"] and token["node"] == node_id
        for party in fleet.parties:
            assert keys_of(node, party, node_id) == {token["key"]: {1: "live"}}
        assert header(image)["keyslots"]["1"]["kdf"]["iterations"] == 1000
        done = node.unlock_test(image)
        assert done.code == 0, done


def test_approval_by_code_on_a_terminal(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        terminal = node.terminal("enroll", image)
        terminal.expect("Existing passphrase of ")
        terminal.send(b"wrong\n")
        terminal.expect("opens no keyslot")
        terminal.expect("Existing passphrase of ")
        terminal.send(b"correct horse\n")
        node_id = terminal.expect("node ([a-z2-7]{52})").group(1).decode()
        terminal.expect("Waiting for approval at tenant and verifier")
        assert fleet.tenant.post(f"/v1/nodes/{node_id}/approve", {"group": "default"}).status == 200
        terminal.expect("Waiting for approval at verifier")
        assert fleet.verifier.post(f"/v1/nodes/{node_id}/approve", {"group": "default"}).status == 200
        terminal.expect(r"recovery key for .*\[y/N\]")
        terminal.send(b"y\n")
        recovery = terminal.expect(r"((?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8})").group(1)
        done = terminal.wait()
        assert done.code == 0, done
        assert "correct horse" not in done.output and "wrong" not in done.output, done  # no echo
        assert opens(image, recovery, 2) and opens(image)
        recovery_token, = [one for one in header(image)["tokens"].values() if one["type"] == "systemd-recovery"]
        assert recovery_token["keyslots"] == ["2"]
        assert node.unlock_test(image).code == 0


def test_ctrl_c_while_waiting_changes_nothing(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = header(image)
        terminal = node.terminal("enroll", "--key-file", node.key_file, image)
        terminal.expect("Waiting for approval")
        terminal.send(b"\x03")
        assert terminal.wait().code == 130
        unchanged(image, before)
        terminal = node.terminal("enroll", image)
        terminal.expect("Existing passphrase of ")
        terminal.send(b"\x03")
        assert terminal.wait().code == 130
        unchanged(image, before)


def test_signal_while_waiting_changes_nothing(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = header(image)
        process = node.start("enroll", "--key-file", node.key_file, image)
        for line in process.stdout:
            if b"Waiting for approval" in line:
                break
        interrupt(process)
        assert process.wait(240) == 130
        unchanged(image, before)


def test_no_wait_ends_with_8_and_a_second_run_finishes(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = header(image)
        done = node.enroll("--no-wait", image)
        assert done.code == 8 and "tallyctl node approve" in done.output, done
        unchanged(image, before)
        node.approve(node_id_of(done))
        assert node.enroll(image).code == 0
        assert node.unlock_test(image).code == 0


def test_key_file_from_stdin_and_credentials(fleet):
    with EnrolledNode(fleet) as node:
        image, other = node.image(), node.image("other")
        done = node.run("enroll", "--key-file", "-", "--join-token-file", node.join_token_file(), image, stdin=b"correct horse")
        assert done.code == 0, done
        credentials = node.directory / "credentials"
        credentials.mkdir()
        (credentials / "tallyboot.passphrase").write_bytes(b"correct horse")
        (credentials / "tallyboot.join-token").write_bytes(node.join_token_file().read_bytes())
        done = node.run("enroll", other, CREDENTIALS_DIRECTORY=str(credentials))
        assert done.code == 0, done
        done = node.unlock_test(image, other)
        assert done.code == 0, done


def test_several_volumes_are_one_key_and_one_manifest(fleet):
    with EnrolledNode(fleet) as node:
        images = [node.image(name) for name in ("a", "b", "c")]
        enrolled(node, *images)
        assert len({tokens(image)[0]["key"] for image in images}) == 1
        assert node.unlock_test(*images).code == 0
        later = node.image("later")
        enrolled(node, later)
        assert tokens(later)[0]["key"] != tokens(images[0])[0]["key"]
        done = node.unlock_test(*images, later)
        assert done.code == 0, done


def test_eight_volumes(fleet):
    """More than a confirmation has room for: said before anything is written, with how many go at once; and then they do."""
    with EnrolledNode(fleet) as node:
        images = [node.image(f"volume-{i}") for i in range(8)]
        before = [header(image) for image in images]
        done = node.enroll("--join-token-file", node.join_token_file(), *images)
        found = re.search(r"too many volumes for one key: (\d+) go into one enrollment", done.errors)
        assert done.code == 2 and found, done
        for image, one in zip(images, before):
            unchanged(image, one)
        n = int(found.group(1))
        assert 5 <= n < 8, n
        enrolled(node, *images[:n])
        enrolled(node, *images[n:])
        done = node.unlock_test(*images)
        assert done.code == 0 and done.errors.count("would open with generation 1") == 8, done


def test_payload_key(fleet):
    with EnrolledNode(fleet) as node:
        done = node.run("enroll", "--join-token-file", node.join_token_file())
        assert done.code == 0, done
        keys = node.shown(fleet.tenant, node_id_of(done))["keys"]
        assert [key["kind"] for key in keys] == ["payload"] and keys[0].get("public"), keys
        image = node.image()
        assert node.enroll("--payload", image).code == 0
        kinds = sorted(key["kind"] for key in node.shown(fleet.verifier, node_id_of(done))["keys"])
        assert kinds == ["payload", "payload", "volumes"], kinds


def test_second_run_says_that_it_is_enrolled(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        before = header(image)
        done = node.enroll(image)
        assert done.code == 0 and "is enrolled already" in done.output, done
        unchanged(image, before)
        assert node.enroll("--again", image).code == 0
        assert slots(image) == [0, 2] and len(tokens(image)) == 1 and opens(image)
        assert node.unlock_test(image).code == 0


def put_token(image, token, number):
    subprocess.run(["cryptsetup", "--disable-external-tokens", "token", "import", "--token-replace", "--token-id", str(number),
                    "--json-file", "-", image], input=json.dumps(token).encode(), check=True)


def test_a_malformed_token_is_named_and_left_alone(fleet):
    """The boot asks the manifest and not the token. What a person runs says which one it is and how to be rid of it."""
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        good, = tokens(image)
        changes = [("node", None), ("version", 2), ("key", "zz"), ("generation", "x"), ("state", 5), ("slot", 99)]
        for name, value in changes:
            bad = {key: one for key, one in {**good, name: value}.items() if one is not None}
            put_token(image, bad, 0)
            before = header(image)
            done = node.run("unenroll", "--key-file", node.key_file, image)
            assert done.code == 0 and "nothing to do" in done.output, done
            assert f'token 0 says that it is tallyboot\'s, but "{name}" is' in done.errors, done
            assert f"cryptsetup token remove --token-id 0 {image}" in done.errors, done
            unchanged(image, before)
            done = node.unlock_test(image)
            assert done.code == 0, done
        done = node.enroll(image)
        assert done.code == 0 and "token remove --token-id 0" in done.errors and bad in tokens(image), done
        assert node.unlock_test(image).code == 0


def test_two_tokens(fleet):
    """Both are ours and mean the same slot: one enrollment, and both go with it."""
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        good, = tokens(image)
        put_token(image, good, 5)
        before = header(image)
        done = node.enroll(image)
        assert done.code == 0 and "is enrolled already" in done.output, done
        unchanged(image, before)
        assert node.unlock_test(image).code == 0
        done = node.run("unenroll", "--key-file", node.key_file, image)
        assert done.code == 0 and not tokens(image) and slots(image) == [0] and opens(image), done


def cut(node, image, number, *words):
    """SIGKILL at the number-th write to the image; True if it came to that."""
    script = f"set -e\nexec strace -f -o /dev/null -P {image} -e trace=write,pwrite64 -e inject=write,pwrite64:signal=SIGKILL:when={number} \"$@\""
    done = subprocess.run(["bash", "-c", script, "bash", *node.command("enroll", *words, "--key-file", node.key_file, image)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                          env=node.environment(**TRACED), check=False)
    return done.returncode != 0


def test_invariant_11_power_cut_at_any_write_of_the_header(fleet):
    """The passphrase opens after each, and a second run finishes; a node has room for 16 keys."""
    if not which("strace"):
        skip("no strace")
    if os.path.basename(os.environ.get("BUILD", "build")) == "asan":
        skip("a minute for what the other build has shown")
    number, more = 1, True
    while more:
        with EnrolledNode(fleet) as node:
            node.approve(node_id_of(node.enroll("--no-wait", node.image("first"))))
            for _ in range(7):
                image = node.image(f"cut-{number}")
                more = cut(node, image, number)
                assert opens(image), f"cut at write {number}"
                if not more:
                    break
                node.reset()
                done = node.enroll(image)
                assert done.code == 0, (number, done)
                assert opens(image) and len(slots(image)) == 2, (number, slots(image))
                token, = tokens(image)
                assert token["state"] == "live" and int(token["keyslots"][0]) in slots(image), (number, token)
                number += 1
            assert node.unlock_test(image).code == 0
    assert 20 < number < 60, number


def test_invariant_11_a_disk_that_takes_no_more_writes(fleet):
    """From some write of the header on each one fails: the run says so, the passphrase opens, and a second run finishes."""
    if not which("strace"):
        skip("no strace")
    with EnrolledNode(fleet) as node:
        node.approve(node_id_of(node.enroll("--no-wait", node.image("first"))))
        for number in (1, 2, 4, 7, 11, 16, 22):
            image = node.image(f"full-{number}")
            script = (f"exec strace -f -o /dev/null -P {image} -e trace=write,pwrite64 "
                      f"-e inject=write,pwrite64:error=ENOSPC:when={number}+ \"$@\"")
            done = subprocess.run(["bash", "-c", script, "bash", *node.command("enroll", "--key-file", node.key_file, image)],
                                  timeout=120,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  start_new_session=True, env=node.environment(**TRACED), check=False)
            assert done.returncode == 6 and str(image) in done.stdout, (number, done)
            assert opens(image), number
            node.reset()
            again = node.enroll(image)
            assert again.code == 0, (number, again)
            token, = tokens(image)
            assert opens(image) and token["state"] == "live" and slots(image) == [0, int(token["slot"])], (number, token)
        assert node.unlock_test(image).code == 0


OTHER_TOKENS = [
    {"type": "clevis", "keyslots": ["1"], "jwe": {"ciphertext": "x", "encrypted_key": "", "iv": "y", "protected": "z",
                                                  "tag": "t"}},
    {"type": "systemd-tpm2", "keyslots": ["2"], "tpm2-blob": "AAAA", "tpm2-pcrs": [7], "tpm2-pcr-bank": "sha256",
     "tpm2-primary-alg": "ecc", "tpm2-policy-hash": "ab" * 32, "tpm2-pin": False},
    {"type": "systemd-recovery", "keyslots": ["3"]},
    {"type": "somebody-elses", "keyslots": [], "number": 5},
]


def test_other_tokens_and_slots_are_left_as_they_are(fleet):
    """Clevis', systemd's, anybody's: their JSON, their slots, the bytes of these."""
    with EnrolledNode(fleet) as node:
        image = node.image()
        for number in (1, 2, 3):
            subprocess.run(["cryptsetup", "-q", "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
                            "--key-file", node.key_file,
                            "--key-slot", str(number), image, "-"], input=f"other {number}".encode(), check=True)
        for number, token in enumerate(OTHER_TOKENS):
            put_token(image, token, number)
        before = header(image)

        def as_before(step):
            now = header(image)
            assert [now["tokens"][str(i)] for i in range(4)] == OTHER_TOKENS, (step, now["tokens"])
            assert [now["keyslots"][str(i)] for i in range(4)] == [before["keyslots"][str(i)] for i in range(4)], step
            assert opens(image, slot=0) and all(opens(image, f"other {i}".encode(), i) for i in (1, 2, 3)), step

        enrolled(node, image)
        as_before("enroll")
        assert slots(image) == [0, 1, 2, 3, 4] and len(tokens(image)) == 1
        assert node.unlock_test(image).code == 0
        assert node.enroll("--again", image).code == 0
        as_before("again")
        assert node.run("unenroll", "--key-file", node.key_file, image).code == 0
        as_before("unenroll")
        assert slots(image) == [0, 1, 2, 3] and len(header(image)["tokens"]) == 4


def test_another_boards_token_is_removed_after_confirm(fleet):
    with EnrolledNode(fleet) as old, EnrolledNode(fleet) as new:
        image = old.image()
        old_id = enrolled(old, image)
        done = new.enroll("--join-token-file", new.join_token_file(), image)
        assert done.code == 0 and f"node revoke {old_id}" in done.output, done
        token, = tokens(image)
        assert token["node"] == node_id_of(done) != old_id and slots(image) == [0, 2]


def test_tenant_or_verifier_not_there(fleet):
    for party in fleet.parties:
        with EnrolledNode(fleet) as node:
            image = node.image()
            before = header(image)
            node.configure(**{party.role: "https://127.0.0.1:9"})
            done = node.enroll("--join-token-file", node.join_token_file(), image)
            assert done.code == 4 and party.role in done.errors, done
            unchanged(image, before)


def held_before_the_slot(node, image, meanwhile):
    """Enrolls, standing still after both halves came, at the first write to the image. Exit code, output."""
    trace = node.directory / "trace"
    process = subprocess.Popen(["strace", "-f", "-o", str(trace), "-P", str(image), "-e", "trace=write,pwrite64", "-e",
                                "inject=write,pwrite64:signal=SIGSTOP:when=1",
                                *node.command("enroll", "--key-file", node.key_file, image)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                               env=node.environment(**TRACED))
    end = time.monotonic() + 240
    while not (trace.exists() and "stopped by SIGSTOP" in trace.read_text(errors="replace")):
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        time.sleep(0.05)
    meanwhile()
    os.killpg(process.pid, signal.SIGCONT)
    text = process.stdout.read().decode()
    return process.wait(), text


def test_confirm_refused_is_undone(fleet):
    """Suspended between the halves and the confirmation: the tenant refuses, the slot goes again."""
    with EnrolledNode(fleet) as node:
        node_id = enrolled(node, node.image("first"))
        image = node.image()
        before = header(image)["keyslots"]

        def suspend():
            for party in fleet.parties:
                assert party.post(f"/v1/nodes/{node_id}/suspend", {"reason": "test"}).status == 200

        code, text = held_before_the_slot(node, image, suspend)
        assert code == 3 and "suspended" in text and "as they were before" in text, text
        assert header(image)["keyslots"] == before and not tokens(image) and opens(image)


def test_verifier_gone_before_confirm_is_undone(fleet):
    """Without its nonce there is no quote: the tenant was sent nothing."""
    with EnrolledNode(fleet) as node:
        enrolled(node, node.image("first"))
        image = node.image()
        before = header(image)["keyslots"]
        code, text = held_before_the_slot(node, image, fleet.verifier.kill)
        fleet.verifier.start()
        assert code == 4 and "verifier" in text and "as they were before" in text, text
        assert header(image)["keyslots"] == before and not tokens(image) and opens(image)


class Proxy(threading.Thread):
    """In front of a service; closes everything, for good, once done() is true when the node sends."""

    def __init__(self, port, done):
        super().__init__(daemon=True)
        self.port, self.done, self.cut = port, done, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.create_connection(("127.0.0.1", self.port))
        with client, server:
            while True:
                for one in select.select([client, server], [], [])[0]:
                    data = one.recv(65536)
                    if one is client and data:
                        self.cut = self.cut or self.done()
                    if not data or self.cut:
                        return
                    (server if one is client else client).sendall(data)


def test_verifier_gone_after_the_tenants_answer_the_next_boot_confirms(fleet):
    with EnrolledNode(fleet) as node:
        node_id = enrolled(node, node.image("first"))
        image = node.image()

        def live():
            return sum(state == "live" for key in keys_of(node, fleet.tenant, node_id).values() for state in key.values()) == 2

        proxy = Proxy(fleet.verifier.port, live)
        node.configure(verifier=proxy.url)
        done = node.enroll(image)
        proxy.listener.close()
        node.configure()
        assert done.code == 0 and "the next boot uses the key" in done.errors, done
        key = tokens(image)[0]["key"]
        assert tokens(image)[0]["state"] == "live" and list(keys_of(node, fleet.verifier, node_id)[key].values()) == ["staged"]
        done = node.unlock_test(image)
        assert done.code == 0, done


def test_tenant_gone_at_confirm_a_second_run_finishes(fleet):
    with EnrolledNode(fleet) as node:
        enrolled(node, node.image("first"))
        image = node.image()
        code, text = held_before_the_slot(node, image, fleet.tenant.kill)
        fleet.tenant.start()
        assert code == 4 and "run enroll again" in text, text
        assert tokens(image)[0]["state"] == "staged" and opens(image)
        assert node.enroll(image).code == 0
        assert slots(image) == [0, 2] and len(tokens(image)) == 1
        assert node.unlock_test(image).code == 0


def test_bad_devices(fleet):
    with EnrolledNode(fleet) as node:
        plain = node.directory / "plain"
        plain.write_bytes(bytes(1 << 20))
        one = node.directory / "luks1"
        one.write_bytes(bytes(8 << 20))
        subprocess.run(["cryptsetup", "-q", "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", one, "-"],
                       input=b"correct horse", check=True)
        for path, words in ((plain, "no LUKS2 header"), (one, "LUKS1"), ("/nonexistent", "No such file"),
                            ("UUID=nonexistent", "No such")):
            done = node.enroll(path)
            assert done.code == 6 and words in done.errors, done
        image = node.image()
        done = node.enroll(image, image)
        assert done.code == 2 and "same volume" in done.errors, done


def test_bad_keys_and_options(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = header(image)
        wrong = node.directory / "wrong"
        wrong.write_bytes(b"wrong")
        join = node.directory / "join-bad"
        join.write_bytes(b"tj1-nonsense\n")
        for words, code in ((("--key-file", wrong), 6), (("--key-file", "/nonexistent"), 6), ((), 6),
                            (("--join-token-file", join), 2),
                            (("--nonsense",), 2), (("--recovery-key", "maybe"), 2), (("--recovery-key", "yes"), 2),
                            (("--name", "a/b", "--key-file", node.key_file, "--join-token-file", node.join_token_file()), 6)):
            done = node.run("enroll", *words, image)
            assert done.code == code, (words, done)
            unchanged(image, before)
        done = node.run("enroll", "--name", "x", image, image)
        assert done.code == 2, done
        node.config.unlink()
        assert node.enroll(image).code == 7


def test_join_token_works_once(fleet):
    with EnrolledNode(fleet) as node, EnrolledNode(fleet) as other:
        join = node.join_token_file()
        assert node.enroll("--join-token-file", join, node.image()).code == 0
        assert other.enroll("--no-wait", "--join-token-file", join, other.image()).code == 8


def test_no_tpm(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = header(image)
        node.tpm.stop()
        done = node.enroll(image)
        assert done.code == 5 and "TPM" in done.errors, done
        assert node.run("register").code == 5
        unchanged(image, before)


def test_revoked_node(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        node_id = enrolled(node, image)
        for party in fleet.parties:
            assert party.post(f"/v1/nodes/{node_id}/revoke", {}).status == 200
        later = node.image("later")
        before = header(later)
        done = node.enroll(later)
        assert done.code == 3 and "revoked" in done.errors, done
        unchanged(later, before)


def test_unenroll(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        before = slots(image)
        node_id = enrolled(node, image)
        wrong = node.directory / "wrong"
        wrong.write_bytes(b"wrong")
        assert node.run("unenroll", "--key-file", wrong, image).code == 6 and len(tokens(image)) == 1
        assert node.run("unenroll", image).code == 6 and len(tokens(image)) == 1  # nobody to ask
        done = node.run("unenroll", "--key-file", node.key_file, image)
        assert done.code == 0 and f"node revoke {node_id}" in done.output, done
        assert slots(image) == before and not tokens(image) and opens(image)
        done = node.run("unenroll", "--key-file", node.key_file, image)
        assert done.code == 0 and "nothing to do" in done.output, done
        assert node.run("unenroll").code == 2


def test_unenroll_refuses_to_remove_the_last_slot(fleet):
    with EnrolledNode(fleet) as node:
        image = node.image()
        enrolled(node, image)
        subprocess.run(["cryptsetup", "-q", "luksKillSlot", image, "0"], check=True)
        done = node.run("unenroll", "--key-file", node.key_file, image)
        assert done.code == 6 and "no other keyslot" in done.errors and len(tokens(image)) == 1, done
        assert node.unlock_test(image).code == 0
        assert node.run("unenroll", "--without-other-key", image).code == 0


def test_no_secret_in_arguments_or_output(fleet):
    """Halves, keys and passphrase appear in nothing that the program wrote or was started with."""
    with EnrolledNode(fleet) as node:
        image = node.image()
        done = node.enroll("--join-token-file", node.join_token_file(), image, "--debug")
        assert done.code == 0, done
        assert "correct horse" not in done.output + done.errors
        assert not re.search(r"[0-9a-f]{64}", done.errors), done.errors


if __name__ == "__main__":
    main(Fleet)
