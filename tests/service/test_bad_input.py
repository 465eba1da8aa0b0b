#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is wrong with servers, clock, TPM, volume or /run: the node says what and what to do, ends with the documented exit
code, leaves the volume and the gate as they were, reaches the prompt in time, and opens when the cause is gone."""

import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import tempfile
import time

from cases import main, refused, skip
from cryptography.hazmat.primitives.asymmetric import ec

import hpke
from impostor import Impostor
from node import PARTIES, Node
from pki import Pki
from swtpm import Swtpm
from troubled_tpm import BusyTpm, DeviceTpm
from unlocking import EXIT, PASSPHRASE, Done, Unlocking

PROMPT_AFTER = 1
HOUR = datetime.timedelta(hours=1)
LIMIT = 120    # seconds that a single try may take, on a busy machine
PATIENCE = 5    # exchange-timeout of a node that a server keeps waiting: long enough for the one that does not
# What systemd does in the initramfs: the unlocker starts, and before the prompt systemd-cryptsetup@root.service waits. What the
# unlocker has to say may come after the prompt: it goes on until it was heard.
BOOT = """
set -e
mount -t tmpfs none "$1/namespace" && mkdir "$1/namespace/upper" "$1/namespace/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/namespace/upper,workdir=$1/namespace/work" none /etc
echo "root $2 none luks" >/etc/crypttab
console=$1/console enough=$1/enough
shift 2
"$@" unlock >"$console" 2>&1 &
sleep 0.3
begin=$(date +%s%N)
"$@" wait root
echo "PROMPT $? $(( ($(date +%s%N) - begin) / 1000000 ))"
while [ ! -e "$enough" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
kill $! 2>/dev/null || true
for i in $(seq 20); do kill -0 $! 2>/dev/null || break; sleep 0.1; done
kill -KILL $! 2>/dev/null || true
wait || true
"""
FULL_RUN = """
mount -t tmpfs -o size=4k none "$0" && { dd if=/dev/zero of="$0/full" bs=4k count=2 2>/dev/null || true; } && exec "$@"
"""


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).digest()


def namespace(lab):
    if subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "-o", "lowerdir=/etc:/usr", "none", "/mnt"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip("no mount namespaces with overlays here")
    (lab.directory / "namespace").mkdir(exist_ok=True)
    return lab.directory


def in_time(text):
    found = re.search(r"PROMPT (\d+) (\d+)", text)
    assert found and found[1] == "0", text
    assert int(found[2]) < (PROMPT_AFTER + 40) * 1000, text    # bounded, on a busy machine too


def prompt(lab, *words, run=("unshare", "-m"), **changes):
    """What the unlocker says in a boot whose prompt came in time: until these words are in it; without words a few seconds long."""
    top = namespace(lab)
    console, enough = top / "console", top / "enough"
    for path in (console, enough):
        path.unlink(missing_ok=True)
    command = [*run, "sh", "-c", BOOT, "sh", str(top), lab.node.volumes[0][0],
               *lab.command(**{"prompt_after": str(PROMPT_AFTER), **changes})]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def is_heard():
        said = console.read_text(errors="replace") if console.exists() else ""
        return all(re.search(word, said) for word in words) if words else said

    end = time.monotonic() + (LIMIT if words else 6)
    while process.poll() is None and not is_heard() and time.monotonic() < end:
        time.sleep(0.05)
    enough.touch()
    text, _ = process.communicate(timeout=LIMIT)
    in_time(text)
    return console.read_text(errors="replace")


def works_again(lab):
    lab.power_on()
    done = lab.unlock()
    assert done.status == EXIT["ok"], done


def nothing():
    pass


def bad(lab, status, *words, gate="open", trouble=nothing, **changes):
    """One try by hand and one boot with this configuration, after trouble() each time. The same words come to the console."""
    before = digest(lab.node.volumes[0][0])
    lab.power_on()
    trouble()
    begin = time.monotonic()
    done = lab.unlock(**changes)
    assert time.monotonic() - begin < LIMIT, done
    assert done.status == EXIT[status], f"expected {status}, got {done}"
    if gate:
        assert lab.run("gate", "status").text == f"{gate}\n", done
    lab.power_on()
    trouble()
    console = prompt(lab, *words, **changes)
    for word in words:
        assert re.search(word, done.text), f"{word!r} not in {done}"
        assert re.search(word, console), f"{word!r} not on the console: {console}"
    assert digest(lab.node.volumes[0][0]) == before
    return done


# Clocks


@contextlib.contextmanager
def clock(offset):
    libraries = list(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        skip("no libfaketime")
    os.environ["WRAPPER"] = (f"env LD_PRELOAD={libraries[0]} FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 "
                             f"ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0")
    try:
        yield
    finally:
        del os.environ["WRAPPER"]


def test_clock_before_the_certificates(lab):
    """A living node, where no initramfs' build time helps."""
    for offset in ("-3d", "-20y"):
        with clock(offset):
            bad(lab, "unreachable", "tenant: .*not valid yet.*clock", "incident [0-9a-f]{16}")
            found = {one["check"]: one for one in json.loads(lab.run("doctor", "--json").text)}
        assert found["clock"]["level"] == "problem" and "behind" in found["clock"]["text"], found
        assert found["tenant"]["level"] == "problem" and "clock" in found["tenant"]["text"], found
    works_again(lab)


def test_clock_far_in_the_future(lab):
    for offset in ("+20d", "+30y"):
        with clock(offset):
            bad(lab, "unreachable", "tenant: .*expired.*clock", "incident [0-9a-f]{16}")
            found = {one["check"]: one for one in json.loads(lab.run("doctor", "--json").text)}
        assert found["tenant"]["level"] == "problem" and "clock" in found["tenant"]["text"], found
    works_again(lab)


def test_the_clock_of_an_enrollment(lab):
    """Nothing is written to a volume by a node whose clock is wrong."""
    other = lab.directory / "other.img"
    shutil.copy(lab.node.volumes[0][0], other)
    before = digest(other)
    key = lab.directory / "key"
    key.write_text(PASSPHRASE)
    for offset, word in (("-3d", "not valid yet"), ("+20d", "expired")):
        with clock(offset):
            done = lab.run("enroll", "--again", "--key-file", str(key), str(other))
        assert done.status == EXIT["unreachable"] and word in done.text and "clock" in done.text, done
        assert digest(other) == before


# A full /run


def on_full_run(lab, *words):
    """A run directory with no room for a byte, as a /run that something else has filled."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip("no mount namespaces here")
    command = ["unshare", "-m", "sh", "-c", FULL_RUN, str(lab.run_dir), *words]
    return Done(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               timeout=LIMIT, check=False))


def test_full_run_closes_the_gate(lab):
    """The note that the boot's later units insist on is there, if only without its words."""
    for verb in (("gate", "close"), ("lock-up",)):
        lab.power_on()
        done = on_full_run(lab, "sh", "-c", '"$@" && test -e "$0/gate-closed"', str(lab.run_dir), *lab.command(*verb))
        assert done.status == EXIT["ok"], done
        assert lab.run("gate", "status").text == "closed\n"
    works_again(lab)


def test_full_run_without_room_for_a_name(lab):
    """Not even an empty note: the boot stops with the reason, and the reason is not the TPM."""
    fill = 'i=0; while touch "$0/$i" 2>/dev/null; do i=$((i + 1)); [ $i -lt 10000 ] || exit 99; done; exec "$@"'
    for verb, words in ((("gate", "close"), "the boot must not go on"), (("lock-up",), "no shell")):
        lab.power_on()
        command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=4k,nr_inodes=8 none "$0" && exec sh -c "$@"',
                   str(lab.run_dir), fill, str(lab.run_dir), *lab.command(*verb)]
        done = Done(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   timeout=LIMIT, check=False))
        assert done.status == EXIT["failed"], done
        assert words in done.text and "gate-closed cannot be written: No space left" in done.text, done
        assert "gate is open" not in done.text, done
        assert lab.run("gate", "status").text == "closed\n"
    works_again(lab)


def test_full_run_and_the_unlocker(lab):
    lab.power_on()
    done = on_full_run(lab, *lab.command("unlock", "--test", "--device", lab.node.volumes[0][0]))
    assert done.status == EXIT["ok"], done
    lab.power_on()
    words = r"incident cannot be written \(incident "
    said = prompt(lab, words, run=("unshare", "-m", "sh", "-c", FULL_RUN, str(lab.run_dir)))
    assert re.search(words, said), said
    assert lab.run("gate", "status").text == "closed\n"
    works_again(lab)


# Servers


@contextlib.contextmanager
def certificate(lab, role, uris=None, hosts=("127.0.0.1", "localhost"), **dates):
    """The service shows another certificate for a while."""
    service = getattr(lab.fleet, role)
    lab.fleet.pki.issue(role, uris or [f"urn:tallyboot:{role}"], hosts, **dates)
    service.restart()
    try:
        yield
    finally:
        lab.fleet.pki.issue(role, [f"urn:tallyboot:{role}"], ["127.0.0.1", "localhost"])
        service.restart()


def test_expired_certificate(lab):
    for role in ("tenant", "verifier"):
        with certificate(lab, role, end=-HOUR):
            bad(lab, "unreachable", f"{role}: .*expired: renew it", "incident [0-9a-f]{16}")
    works_again(lab)


def test_wrong_host_name(lab):
    for role in ("tenant", "verifier"):
        with certificate(lab, role, hosts=["other.example"]):
            bad(lab, "unreachable", f"{role}: .*for another name: use an address that the certificate names")
    works_again(lab)


def test_wrong_ca(lab):
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        bad(lab, "unreachable", "tenant: .*not from the configured CA", ca=str(Pki(directory).ca))
    works_again(lab)


def http(body, *headers, status="200 OK"):
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *(headers or [f"Content-Length: {len(body)}"])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def drip(exchange):
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    while not exchange.impostor.ended.wait(0.2):
        exchange.raw(b" ")


def twice(exchange):
    """The first member a second time, with the same value."""
    name, value = next(iter(json.loads(exchange.answer.body).items()))
    exchange.send(b"{" + f"{json.dumps(name)}:{json.dumps(value)},".encode() + exchange.answer.body[1:])


def chunked(exchange):
    """Well chunked is HTTP and is read; this is a chunk without end."""
    exchange.raw(http(b"100000000\r\n" + b" " * (32 << 20), "Transfer-Encoding: chunked"))


def broken_chunk(exchange):
    exchange.raw(http(b"this is no length\r\n" + exchange.answer.body, "Transfer-Encoding: chunked"))


ANSWERS = {
    "hang": ("unreachable", "no whole answer in time", lambda exchange: exchange.impostor.ended.wait(LIMIT)),
    "drip": ("unreachable", "no whole answer in time", drip),
    "header": ("failed", "larger than allowed", lambda exchange: exchange.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20)
                                                                              + b"\r\n\r\n")),
    "broken": ("failed", "not as the protocol says; compare the versions",
               lambda exchange: exchange.send(exchange.answer.body[:-7])),
    "twice": ("failed", "not as the protocol says; compare the versions", twice),
    "chunked": ("failed", "larger than allowed", chunked),
    "broken chunk": ("unreachable", "broke off|chunk", broken_chunk),
    "page": ("failed", "is its address right", lambda exchange: exchange.send(b"<html>", status=404, kind="text/html")),
}


def spoiled(lab, role, route, act, status, *words, **how):
    with Impostor(getattr(lab.fleet, role)) as impostor:
        impostor.at, impostor.act = route, act
        # where the answer itself is what is refused there is no need to hurry
        patience = {"exchange_timeout": str(PATIENCE)} if status == "unreachable" else {}
        done = bad(lab, status, *(f"{role}: .*({word})" if how.get("named", True) else word for word in words),
                   gate=how.get("gate", "open"), **{role: impostor.url}, **patience)
        assert impostor.asked >= 2, impostor.asked    # by hand, and in a boot
    return done


def test_bad_challenges(lab):
    for name, (status, word, act) in ANSWERS.items():
        print(f"# {name}")
        spoiled(lab, "tenant", "/challenge", act, status, word, "incident [0-9a-f]{16}")
    works_again(lab)


def test_bad_releases(lab):
    for name, (status, word, act) in ANSWERS.items():
        print(f"# {name}")
        spoiled(lab, "verifier", "/release", act, status, word, "incident [0-9a-f]{16}")
    works_again(lab)


# Halves. In all of these both parties have released, so the gate is closed, or the answer could not be opened at all.


class Half:
    """What the verifier seals, to be changed: the honest V of this node."""

    def __init__(self, lab):
        lab.node.reboot()
        halves, details = lab.node.ask("boot")["verifier"]
        (self.key, self.generation), half = next(iter(halves.items()))
        self.value = half["half"]
        self.details = details
        lab.power_on()

    def plain(self, **changes):
        key, generation, value = (changes.get(name, getattr(self, name)) for name in ("key", "generation", "value"))
        return b"TBH1\0\1" + bytes.fromhex(key) + b"\1\2" + generation.to_bytes(4, "big") + value

    def described(self, **changes):
        first, = self.details["keys"]
        return {**self.details, "keys": [{key: value for key, value in {**first, **changes}.items() if value is not None}]}


def test_the_control_of_forged_halves(lab):
    """The honest half, sealed by the impostor, opens the volume: what is changed below is what is refused."""
    half = Half(lab)
    with Impostor(lab.fleet.verifier) as impostor:
        impostor.at, impostor.act = "/release", lambda exchange: exchange.seal(half.plain(), half.described())
        lab.power_on()
        done = lab.unlock(verifier=impostor.url)
        assert done.status == EXIT["ok"] and impostor.asked == 1, done


def test_a_half_of_31_bytes(lab):
    half = Half(lab)
    spoiled(lab, "verifier", "/release", lambda exchange: exchange.seal(half.plain(value=half.value[:31]), half.described()),
            "failed", "cannot be opened|not as the protocol says")
    works_again(lab)


def test_a_half_sealed_to_another_key(lab):
    half = Half(lab)
    other = hpke.point(ec.generate_private_key(ec.SECP256R1()).public_key())
    spoiled(lab, "verifier", "/release", lambda exchange: exchange.seal(half.plain(), half.described(), other), "failed",
            "cannot be opened|not as the protocol says")
    works_again(lab)


def test_the_answer_to_another_nk(lab):
    """The real party's own answer, of an earlier try: V of one NK beside U of another."""
    kept = []

    def replay(exchange):
        kept.append(exchange.answer.body)
        exchange.send(kept[0])

    with Impostor(lab.fleet.verifier) as impostor:
        impostor.at, impostor.act = "/release", replay
        lab.power_on()
        assert lab.unlock(verifier=impostor.url).status == EXIT["ok"]
    spoiled(lab, "verifier", "/release", replay, "failed", "cannot be opened|not as the protocol says")
    works_again(lab)


def test_halves_that_do_not_belong_together(lab):
    half = Half(lab)
    cases = (
        ("generation", half.plain(generation=2), half.described(generation=2), "know no key in common.*tallyctl node show"),
        ("key", half.plain(key="ab" * 16), half.described(id="ab" * 16), "know no key in common.*tallyctl node show"),
        ("value", half.plain(value=secrets.token_bytes(32)), half.described(), "do not belong together"),
        ("not confirmed", half.plain(), half.described(manifest_sha256=None), "does not confirm the manifest"),
        ("another manifest", half.plain(), half.described(manifest_sha256="00" * 32), "another manifest"),
    )
    for name, plain, details, word in cases:
        print(f"# {name}")
        spoiled(lab, "verifier", "/release", lambda exchange, plain=plain, details=details: exchange.seal(plain, details),
                "volume", word, gate="closed", named=False)
    works_again(lab)


# The operator's no


def test_suspended(lab):
    for role in ("tenant", "verifier"):
        party = getattr(lab.fleet, role)
        assert party.post(lab.node.path("/suspend"), {}).status == 200
        try:
            bad(lab, "refused", f"{role}: .*suspended.*tallyctl node resume", "incident [0-9a-f]{16}")
        finally:
            assert party.post(lab.node.path("/resume"), {}).status == 200
    works_again(lab)


def test_unknown_node(lab):
    with Swtpm(lab.fleet.test_ca) as other:
        bad(lab, "refused", "unknown-node.*tallyboot enroll", "incident [0-9a-f]{16}", tpm=other.tcti)
    works_again(lab)


def test_unapproved_node(lab):
    """Enrolled by nobody's word: the parties know it, and it waits."""
    with Swtpm(lab.fleet.test_ca) as other:
        node = Node(lab.fleet, other)
        assert node.register().status == 201
        for party in PARTIES:
            refused("pending-approval", node.ask, "enroll", {"keys": [{"id": "ab" * 16, "kind": "volumes"}]}, order=(party,))
        other.reset()
        bad(lab, "pending", "pending-approval.*tallyctl node approve", "incident [0-9a-f]{16}", tpm=other.tcti)
    works_again(lab)


# TPMs


def test_tpm_absent(lab):
    bad(lab, "tpm", "no TPM appeared at device:/nowhere/tpm.*this boot needs a passphrase", tpm="device:/nowhere/tpm",
        tpm_timeout="0")
    bad(lab, "tpm", "TPM", gate=None, trouble=lab.node.swtpm.stop)
    works_again(lab)


def test_tpm_late(lab):
    """A driver that is loaded after we are started is waited for, and the prompt is not kept back for it."""
    lab.power_on()
    with DeviceTpm(lab.node.swtpm) as tpm:
        process = subprocess.Popen(lab.command("unlock", "--test", "--device", lab.node.volumes[0][0], tpm=tpm.tcti,
                                               tpm_timeout=str(LIMIT)),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(1.5)
        assert process.poll() is None, process.communicate()
        tpm.appear()
        text, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == EXIT["ok"] and "would open" in text, text
    lab.power_on()
    prompt(lab, tpm="device:/nowhere/tpm", tpm_timeout="20")
    works_again(lab)


def test_tpm_in_lockout(lab):
    """Our keys are outside of it: nothing is wrong, and doctor says what is."""
    swtpm = lab.node.swtpm
    lab.power_on()
    swtpm.tool("dictionarylockout", "-Q", "-s", "-n", "1", "-t", "1000", "-l", "1000")
    swtpm.tool("createprimary", "-Q", "-C", "o", "-p", "secret", "-c", "o.ctx")
    swtpm.tool("create", "-Q", "-C", "o.ctx", "-P", "wrong", "-u", "u", "-r", "r", check=False)
    swtpm.tool("flushcontext", "-t")
    swtpm.tool("flushcontext", "-l")
    try:
        assert "inLockout:                 1" in swtpm.tool("getcap", "properties-variable")
        found = lab.run("doctor", "--json")
        assert re.search("lockout", found.text), found
        done = lab.unlock()
        assert done.status == EXIT["ok"], done
    finally:
        swtpm.tool("dictionarylockout", "-Q", "-c")
        swtpm.tool("dictionarylockout", "-Q", "-s", "-n", "32", "-t", "10", "-l", "10")
    works_again(lab)


def test_tpm_busy(lab):
    lab.power_on()
    with BusyTpm(lab.node.swtpm, 30) as tpm:
        done = lab.unlock(tpm=tpm.tcti)
        assert done.status == EXIT["ok"] and tpm.left == 0, done
    with BusyTpm(lab.node.swtpm) as tpm:
        lab.power_on()
        done = lab.unlock(tpm=tpm.tcti)
        assert done.status == EXIT["tpm"] and "busy" in done.text, done
        lab.power_on()
        prompt(lab, tpm=tpm.tcti)
    works_again(lab)


def test_tpm_that_never_answers(lab):
    lab.power_on()
    lab.node.swtpm.freeze()
    try:
        prompt(lab)
    finally:
        lab.node.swtpm.thaw()
    works_again(lab)


def test_tpm_without_room_for_objects(lab):
    """Nothing is flushed that is not ours."""
    def fill():
        for _ in range(3):
            lab.node.swtpm.tool("createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", "o.ctx")

    bad(lab, "tpm", "out of memory for objects: use /dev/tpmrm0, or flush", "incident [0-9a-f]{16}", trouble=fill)
    assert lab.node.swtpm.tool("getcap", "handles-transient").count("0x8000000") == 3
    works_again(lab)


def test_tpm_with_an_endorsement_authorization(lab):
    swtpm = lab.node.swtpm
    lab.power_on()
    swtpm.tool("changeauth", "-Q", "-c", "endorsement", "secret")
    try:
        bad(lab, "tpm", "endorsement hierarchy: remove it with tpm2_changeauth -c endorsement", "incident [0-9a-f]{16}")
    finally:
        swtpm.tool("changeauth", "-Q", "-c", "endorsement", "-p", "secret")
    works_again(lab)


def test_tpm_cleared(lab):
    """The same AK, and counters that went back to 0: refused until an operator accepts it."""
    def clear():
        swtpm.tool("clear", "-Q", "-c", "p")

    swtpm = lab.node.swtpm
    try:
        bad(lab, "refused", "rolled-back.*tallyctl node accept-reset", "incident [0-9a-f]{16}", trouble=clear)
    finally:
        for party in lab.fleet.parties:
            assert party.post(lab.node.path("/accept-reset"), {}).status == 200
    works_again(lab)


# The last one: a revocation is not lifted again.


def test_revoked(lab):
    for party in lab.fleet.parties:
        assert party.post(lab.node.path("/revoke"), {}).status == 200
        bad(lab, "refused", f"{party.role}.*revoked", "incident [0-9a-f]{16}")


if __name__ == "__main__":
    class Ready(Unlocking):
        def __enter__(self):
            self.volume("root")
            self.ready()
            return self

    main(Ready)
