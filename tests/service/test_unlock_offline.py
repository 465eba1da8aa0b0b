#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines that open their volumes with a PKCS#11 token (SoftHSM) and without the servers: enroll against real services, then
unlock with all of them dead; every mechanism; what an attacker with the disk can put into the header."""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cases import main, skip
from enrolled import OK, REFUSED, TOKEN, UNREACHABLE, VOLUME, check, header, node_id_of, opens, slots, tokens
from hpke import hkdf
from offline_machine import DEAD, INSIDE, OfflineMachine, booting, kept, key, namespaces, put
from services import BUILD, encode_fields
from softhsm import MODULE, PIN
from token_machine import Boot, TokenFleet


def copy(fleet, name="copy"):
    path = fleet.machine.directory / name
    path.write_bytes(fleet.image.read_bytes())
    return path


def test_servers_dead(fleet):
    check(fleet.machine.offline(fleet.image), OK, "would open with generation 1")
    check(fleet.machine.offline(fleet.image, unlock="offline"), OK, "would open with generation 1")
    fleet.machine.set()
    check(fleet.machine.unlock(fleet.image), OK, "would open with generation 1")


def test_online_is_not_offline(fleet):
    """The choice is the operator's: what is kept in the header is not used where he says online."""
    check(fleet.machine.offline(fleet.image, unlock="online"), UNREACHABLE, "tenant")
    # and offline asks no server, though they are there
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        check(fleet.machine.set(tenant=url, verifier=url, unlock="offline").unlock(fleet.image), OK)
        listener.setblocking(False)
        try:
            raise AssertionError(f"a connection: {listener.accept()}")
        except BlockingIOError:
            pass


def each_mechanism(fleet, mechanism, wanted, **settings):
    if not set(wanted) <= set(fleet.machine.mechanisms()):
        skip(f"SoftHSM lacks {' '.join(sorted(set(wanted) - set(fleet.machine.mechanisms())))}")
    machine = fleet.machine
    image = machine.image(f"image-{mechanism}")
    settings = {"offline_mechanism": mechanism, **settings}
    machine.set(**settings)
    done = machine.enrolled(image)
    assert f"wraps with {mechanism}" in done.output and "opens with the token alone" in done.output, done
    token, = kept(image).values()
    assert token["mechanism"] == mechanism and token["keyslots"] == [] and token["node"] == fleet.id, token
    check(machine.offline(image, **settings), OK, "would open with generation 1")
    check(machine.offline(image, **{**settings, "offline_mechanism": None}), OK)
    # every part counts
    number, = kept(image)
    for name in ("group_key", "sealed", "signature"):
        for at in (0, len(token[name]) // 2, len(token[name]) - 3):
            changed = token[name][:at] + ("A" if token[name][at] != "A" else "B") + token[name][at + 1:]
            put(image, number, {**token, name: changed})
            done = machine.offline(image, **settings)
            assert done.code == VOLUME and "not opened offline" in done.errors, (name, at, done)
        put(image, number, {**token, name: token[name][:len(token[name]) // 8 * 4]})
        assert machine.offline(image, **settings).code != OK, name
    put(image, number, token)
    check(machine.offline(image, **settings), OK)
    assert token["group_key"] not in machine.again(image).errors


def test_kwp(fleet):
    each_mechanism(fleet, "kwp", ["CKM_AES_KEY_WRAP_KWP"])


def test_a_mechanism_that_the_token_lacks(fleet):
    """It is named before anything is changed, with those that it has."""
    machine = fleet.machine
    if "CKM_AES_KEY_WRAP_KWP" in machine.mechanisms():
        skip("the token has CKM_AES_KEY_WRAP_KWP")
    image = machine.image("lacking")
    before = image.read_bytes()
    machine.set(offline_mechanism="kwp")
    check(machine.enroll("--join-token-file", machine.join_token_file(group=fleet.fast), image), TOKEN,
          "lacks CKM_AES_KEY_WRAP_KWP; it has .*CKM_AES_GCM")
    assert image.read_bytes() == before


def test_key_wrap_pad(fleet):
    each_mechanism(fleet, "key-wrap-pad", ["CKM_AES_KEY_WRAP_PAD"])


def test_gcm(fleet):
    each_mechanism(fleet, "gcm", ["CKM_AES_GCM"])


def test_cbc_pad_with_a_mac(fleet):
    each_mechanism(fleet, "cbc-pad", ["CKM_AES_CBC_PAD", "CKM_SHA256_HMAC"], offline_mac_key=key("mac"))


def test_rsa_oaep(fleet):
    each_mechanism(fleet, "rsa-oaep", ["CKM_RSA_PKCS_OAEP"], offline_key=key("rsa"))


def test_ecdh(fleet):
    each_mechanism(fleet, "ecdh", ["CKM_ECDH1_DERIVE"], offline_key=key("ec"))


def test_several_volumes(fleet):
    """Each keeps all of the key: one that is there is enough for those whose own is lost."""
    machine = fleet.machine.set()
    images = [machine.image(f"several-{i}") for i in range(2)]
    check(machine.enrolled(*images), OK)
    assert len({next(iter(kept(image).values()))["group_key"] for image in images}) == 1
    check(machine.offline(*images), OK, "several-0.*would open", "several-1.*would open")
    check(machine.offline(fleet.image, *images), OK, "several-0.*would open", "several-1.*would open",
          "/image: .*would open")    # two keys
    put(images[1], next(iter(kept(images[1]))), None)
    check(machine.offline(*images), OK, "several-0.*would open", "several-1.*would open")


def test_of_another_volume(fleet):
    """Where volumes are exchanged: what is kept of one does not speak of the other."""
    machine = fleet.machine.set()
    image = machine.image("another")
    machine.enrolled(image)
    (number, mine), = kept(image).items()
    other, = kept(fleet.image).values()
    put(image, number, other)
    check(machine.offline(image), VOLUME, "not opened offline", "signature")
    del other["signature"]
    put(image, number, other)
    check(machine.offline(image), VOLUME, "not opened offline", "not signed")
    put(image, number, mine)
    check(machine.offline(image), OK)


def test_of_another_node(fleet):
    with OfflineMachine(fleet) as other:
        image = other.image()
        other.enrolled(image)
        # the whole volume of another machine in place of ours
        check(fleet.machine.offline(image), VOLUME, "not opened offline", "is node .*'s, this is node")
        token = next(iter(kept(image).values()))
        put(image, next(iter(kept(image))), {**token, "node": fleet.id})
        check(fleet.machine.offline(image), VOLUME, "not opened offline")


def test_a_volume_in_place_of_ours(fleet):
    """An attacker's own LUKS volume, with his passphrase, with the UUID and the tokens of ours."""
    machine = fleet.machine
    fake = machine.image("fake")
    uuid = header_uuid(fleet.image)
    subprocess.run(["cryptsetup", "-q", "luksUUID", fake, "--uuid", uuid], check=True)
    for number, token in header(fleet.image)["tokens"].items():
        put(fake, number, {**token, "keyslots": []})
    # a slot where ours is
    subprocess.run(["cryptsetup", "-q", "luksAddKey", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-slot", "1",
                    "--key-file", machine.key_file, fake, "-"], input=b"his", check=True)
    check(machine.offline(fake), VOLUME, "would not open")
    check(machine.offline(fleet.image), OK)


def header_uuid(image):
    return subprocess.run(["cryptsetup", "luksUUID", image], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_an_older_generation_put_back(fleet):
    """Its keyslot is gone: the token may open what it likes."""
    machine = fleet.machine.set()
    image = machine.image("older")
    machine.enrolled(image)
    (number, old), = kept(image).items()
    ours, = tokens(image)
    # as after a rotation: the slot of generation 1 is wiped, that of 2 is there
    subprocess.run(["cryptsetup", "-q", "luksKillSlot", image, str(ours["slot"]), "--key-file", machine.key_file], check=True)
    mine = next(name for name, token in header(image)["tokens"].items() if token["type"] == "tallyboot")
    put(image, mine, {**ours, "generation": 2, "keyslots": []})
    check(machine.offline(image), VOLUME, "not opened offline", "generation 1 .*is retired")
    put(image, mine, {**ours, "keyslots": []})    # with the token too
    check(machine.offline(image), VOLUME, "would not open", "key ?slot")
    put(image, number, old)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forger:
    """Anybody who knows the public key of the token, from docs/protocol.md, 14 and 15, alone: a volume, a K_b and a manifest of
    his own."""

    def __init__(self, machine, node):
        self.machine, self.node = machine, node
        public = machine.directory / "rsa.der"
        machine.hsm.run("pkcs11-tool", "--module", MODULE, "--token-label", "node", "--read-object", "--type", "pubkey",
                        "--label", "rsa", "-o", public)
        self.public = serialization.load_der_public_key(public.read_bytes())
        self.image = machine.image("forged")
        self.key, self.k_b = secrets.token_hex(16), secrets.token_bytes(32)
        command = [BUILD / "tests/tools/luks-enroll", "correct horse", node, self.key, "1", self.k_b.hex(),
                   f"{self.image}:root:root"]
        self.manifest = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        self.uuid = header_uuid(self.image)

    def wrapped(self, group_key):
        """SoftHSM's OAEP is that of SHA-1 alone."""
        data = self.public.encrypt(group_key, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
        body = b"tbwk" + bytes([1, 5, 0, 1]) + (1).to_bytes(4, "big") + b"\0" + len(data).to_bytes(2, "big") + data
        binding = ("tallyboot offline group v1", self.node, self.key, 1)
        check = hmac.digest(group_key, encode_fields("tallyboot wrap confirm v1", body, *binding), "sha256")
        return body + bytes([len(check)]) + check

    def token(self):
        group_key, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
        manifest_key = hkdf(self.k_b, self.node.encode(), encode_fields("tallyboot manifest v1", 1), 32)
        mac = hmac.digest(manifest_key, encode_fields("tallyboot manifest v1", self.manifest), "sha256")
        aad = encode_fields("tallyboot offline v1", self.node, self.key, 1, self.uuid)
        self.group_key = self.wrapped(group_key)
        self.sealed = nonce + AESGCM(group_key).encrypt(nonce, self.k_b + self.manifest + mac, aad)
        return {"type": "tallyboot-offline", "keyslots": [], "version": 1, "node": self.node, "key": self.key, "generation": 1,
                "mechanism": "rsa-oaep", "group_key": b64(self.group_key), "sealed": b64(self.sealed)}

    def signed(self, token, number):
        """By a key of the machine's own token: what he cannot have."""
        message = b"tallyboot token signature v1".ljust(63) + b"\0" + encode_fields(
            "tallyboot offline signature v1", self.node, self.key, 1, self.uuid, "rsa-oaep", self.group_key, self.sealed)
        digest, signature = self.machine.directory / "digest", self.machine.directory / "signature"
        digest.write_bytes(hashlib.sha256(message).digest())
        self.machine.hsm.tool("node", "--sign", "--mechanism", "ECDSA", "--id", number, "-i", digest, "-o", signature)
        return {**token, "signature": b64(signature.read_bytes())}


def test_wrapped_by_anybody(fleet):
    """To a public key, all of it right but the signature. (Signed by the machine's key it opens: the text of the protocol is
    enough.)"""
    machine, settings = fleet.machine, {"offline_key": key("rsa")}
    forger = Forger(machine, fleet.id)
    token = forger.token()
    machine.hsm.key("node", "another", number="0a")
    put(forger.image, "9", token)
    check(machine.offline(forger.image, **settings), VOLUME, "not opened offline", "not signed by this node's token-key")
    put(forger.image, "9", forger.signed(token, "0a"))
    check(machine.offline(forger.image, **settings), VOLUME, "not opened offline", "signature .* is wrong")
    put(forger.image, "9", forger.signed(token, "01"))
    check(machine.offline(forger.image, **settings), OK, "would open with generation 1")


def test_a_boot(fleet):
    """Volume and token come late, one after the other; then all is as after halves, and status says how."""
    machine, image = booting(fleet)
    with machine:
        machine.set(**DEAD, unlock="offline")
        with Boot(machine) as boot:
            with machine.hsm.pulled(machine.folder):
                boot.expect("waiting for the volumes of /etc/crypttab")
                shutil.copy(image, machine.volume)
                boot.expect("waiting for a token")
            boot.expect("note:halves")    # as far as it goes: there is no device-mapper here
            assert machine.note("halves") == "offline\n"
            assert json.loads(machine.run("status", "--json").output)["boot"] == "offline"
            assert boot.stop() == 0


def test_a_boot_first_asks_the_servers(fleet):
    machine, image = booting(fleet)
    with machine:
        shutil.copy(image, machine.volume)
        machine.set(**DEAD, offline_after=1, network_timeout=0)
        with Boot(machine) as boot:
            boot.expect("no connection", "note:halves")
            assert machine.note("halves") == "offline\n"
            assert boot.stop() == 0
        machine.set(offline_after=600)
        with Boot(machine) as boot:
            boot.expect("note:halves")
            assert machine.note("halves") == ""
            assert boot.stop() == 0
        # neither: each is asked again, and the first that is there does it
        machine.set(**DEAD, offline_after=1, token_timeout=1, offline_key="pkcs11:token=late;object=aes")
        with Boot(machine) as boot:
            boot.expect("no connection", "offline: no token")
            assert machine.note("halves") is None
            assert boot.stop() == 0


def test_halves_that_came_late_are_not_mixed_with_a_token(fleet):
    """A boot that has tried the token in vain, and then has the halves, looks at nothing that a volume keeps for a token: a root
    that comes now would open by whoever made it, beside data volumes that the halves open."""
    machine, image = booting(fleet)
    with machine:
        data = machine.directory / "data"
        machine.more = f"data {data} none luks,header={data}\n"
        fake = machine.image("fake")
        put(fake, "9", {**next(iter(kept(image).values())), "sealed": "!"})    # whoever looks at it says so
        for party in fleet.parties:
            party.stop()
        try:
            machine.set(offline_after=1, network_timeout=0)
            with Boot(machine) as boot:
                boot.expect("offline: waiting for the volumes of /etc/crypttab")
                for party in fleet.parties:
                    party.start()
                boot.expect("note:halves")
                assert machine.note("halves") == ""
                shutil.copy(fake, machine.volume)
                shutil.copy(image, data)
                boot.expect("data: ")    # looked at, after the root: as far as it goes without a device-mapper
                assert "fake" not in boot.text and "malformed" not in boot.text and "late" not in boot.text, boot.text
                assert boot.stop() == 0
        finally:
            for party in fleet.parties:
                if party.process is None:
                    party.start()


def test_malformed(fleet):
    image = copy(fleet)
    (number, token), = kept(image).items()
    for changes in ({"generation": 0}, {"group_key": ""}, {"sealed": "!"}, {"keyslots": ["0"]}, {"mechanism": "none such"}):
        put(image, number, {**token, **changes})
        check(fleet.machine.offline(image), VOLUME, "malformed|mechanism")
    put(image, number, {**token, "mechanism": "gcm" if token["mechanism"] != "gcm" else "kwp"})
    assert fleet.machine.offline(image).code == VOLUME


def test_nothing_kept(fleet):
    machine = fleet.machine.set(unlock="online")
    image = machine.image("without")
    machine.enrolled(image)
    assert not kept(image)
    check(machine.offline(image), VOLUME, "no volume that is here keeps anything", "tallyboot enroll")
    done = check(machine.set().enroll("--join-token-file", machine.join_token_file(group=machine.group), image), OK,
                 "enrolled already, but nothing is kept for unlock = online-then-offline: it is enrolled anew", "removed slot")
    assert len(kept(image)) == 1 and len(tokens(image)) == 1 and len(slots(image)) == 2, done
    check(machine.offline(image), OK)
    # and again: nothing to do
    machine.set()
    check(machine.enroll(image), OK, "enrolled already", "Nothing was done")
    # the operator changes his mind
    check(machine.set(unlock="online").enroll(image), OK, "removed what was kept for the offline way")
    assert not kept(image) and len(tokens(image)) == 1
    check(machine.offline(image), VOLUME)


def test_again_leaves_one(fleet):
    machine = fleet.machine.set()
    image = machine.image("again")
    machine.enrolled(image)
    before = kept(image)
    check(machine.enroll("--again", "--join-token-file", machine.join_token_file(group=machine.group), image), OK)
    after = kept(image)
    assert len(after) == 1 and list(after.values()) != list(before.values())
    check(machine.offline(image), OK)


def test_a_copy_of_the_header_ends_with_the_key_that_wrapped(fleet):
    """What docs/keys.md says against old copies: another key in the token, enroll --again, the old one destroyed."""
    with OfflineMachine(fleet) as machine:
        image = machine.image()
        machine.enrolled(image)
        old = machine.directory / "old"
        shutil.copy(image, old)
        machine.make_key("aes", "wrap", "aes2")
        machine.set(offline_key=key("aes2"))
        check(machine.enroll("--again", "--join-token-file", machine.join_token_file(group=machine.group), image), OK)
        check(machine.offline(old, offline_key=key("aes")), OK)    # until then
        machine.hsm.tool("node", "--delete-object", "--type", "secrkey", "--label", "aes")
        check(machine.offline(image, offline_key=key("aes2")), OK)
        check(machine.offline(old, offline_key=key("aes2")), VOLUME, "the token does not open what is kept")
        check(machine.offline(old, offline_key=key("aes")), VOLUME, "no secret key")


# A leak checker cannot work under strace.
TRACED = {"ASAN_OPTIONS": "detect_leaks=0"}


def cut(machine, image, number):
    """SIGKILL at the number-th write to the image; True if it came to that."""
    command = ["strace", "-f", "-o", "/dev/null", "-P", str(image), "-e", "trace=write,pwrite64", "-e",
               f"inject=write,pwrite64:signal=SIGKILL:when={number}",
               *machine.command("enroll", "--key-file", machine.key_file, image)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          start_new_session=True, env=machine.environment(**TRACED), check=False).returncode != 0


def test_invariant_11_power_cut_at_writes_of_the_header(fleet):
    """The passphrase opens after each; a volume that the parties know has what the token needs; a second run finishes."""
    if not shutil.which("strace"):
        skip("no strace")
    if os.path.basename(os.environ.get("BUILD", "build")) == "asan":
        skip("a minute for what the other build has shown")
    number, more = 2, True
    while more:
        with OfflineMachine(fleet) as machine:
            machine.enrolled(machine.image("first"))
            for _ in range(6):
                image = machine.image(f"cut-{number}")
                more = cut(machine, image, number)
                assert opens(image), f"cut at write {number}"
                if any(token["state"] == "live" for token in tokens(image)):
                    assert len(kept(image)) == 1, number
                if more:
                    check(machine.enroll(image), OK)
                token, = tokens(image)
                mine, = kept(image).values()
                assert token["state"] == "live" and mine["key"] == token["key"] and len(slots(image)) == 2, (number, token)
                check(machine.offline(image), OK, "would open with generation 1")
                machine.set()
                number += 6
                if not more:
                    break
    assert 24 < number < 80, number


def test_unenroll_takes_it_away(fleet):
    machine = fleet.machine.set()
    image = machine.image("gone")
    machine.enrolled(image)
    wrong = machine.directory / "wrong"
    wrong.write_bytes(b"no key of it")
    before = kept(image)
    check(machine.run("unenroll", "--key-file", wrong, image), VOLUME)
    assert kept(image) == before    # refused: all of it stays
    check(machine.run("unenroll", "--key-file", machine.key_file, image), OK, "removed what was kept for the offline way")
    assert not kept(image) and not tokens(image) and opens(image)


def test_enroll_without_the_token_changes_nothing(fleet):
    machine = fleet.machine
    image = machine.image("untouched")
    before = image.read_bytes()
    machine.set(offline_key=key("nothing"))
    check(machine.enroll("--join-token-file", machine.join_token_file(group=machine.group), image), TOKEN, "offline-key")
    machine.set(offline_mechanism="rsa-oaep")
    check(machine.enroll("--join-token-file", machine.join_token_file(group=machine.group), image), TOKEN, "offline-key")
    assert image.read_bytes() == before


def test_no_token_and_no_servers(fleet):
    with fleet.machine.hsm.pulled(fleet.machine.folder):
        check(fleet.machine.offline(fleet.image, unlock="offline"), TOKEN, "token")
    check(fleet.machine.offline(fleet.image), OK)


def test_wrong_pin(fleet):
    machine = fleet.machine
    machine.pin("999999")
    check(machine.offline(fleet.image, unlock="offline"), TOKEN, "PIN")
    machine.pin(PIN)
    check(machine.offline(fleet.image), OK)


def test_a_party_that_says_no_is_obeyed(fleet):
    with OfflineMachine(fleet) as machine:
        image = machine.image()
        node = node_id_of(machine.enrolled(image))
        assert fleet.verifier.post(f"/v1/nodes/{node}/revoke", {"reason": "lost"}).status == 200
        machine.set()
        done = check(machine.unlock(image), REFUSED, "revoked")
        assert "would open" not in done.errors
        check(machine.offline(image), OK)    # what the offline way gives up


def test_status_and_dump(fleet):
    """Shown by number, with nothing secret."""
    token, = kept(fleet.image).values()
    assert set(token) == {"type", "keyslots", "version", "node", "key", "generation", "mechanism", "group_key", "sealed",
                          "signature"}
    status = json.loads(fleet.machine.set().run("status", "--json").output)
    assert status["unlock"] == "online-then-offline", status
    namespaces()
    (fleet.machine.directory / "over").mkdir()

    def inside(image, *words):
        command = ["unshare", "-m", "sh", "-c", INSIDE, str(fleet.machine.directory / "over"), str(image),
                   *fleet.machine.command(*words)]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=fleet.machine.environment()).stdout
    text = inside(fleet.image, "status")
    assert re.search(r"^Unlocks +online-then-offline", text, re.M), text
    assert re.search(r"^Offline +root: generation 1 opens with the token alone", text, re.M), text
    assert "kept for the token too, generation 1" in inside(fleet.image, "doctor", "--offline")
    image = copy(fleet, "doctored")
    number, = kept(image)
    put(image, number, {**token, "sealed": "!"})
    assert "what is kept for unlock = online-then-offline is malformed" in inside(image, "doctor", "--offline")
    put(image, number, None)
    assert "nothing is kept for unlock = online-then-offline" in inside(image, "doctor", "--offline")
    fleet.machine.set(unlock="online")
    assert "though unlock = online" in inside(fleet.image, "doctor", "--offline")


if __name__ == "__main__":
    main(lambda: TokenFleet(OfflineMachine))
