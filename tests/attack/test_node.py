#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The node. A boot is either by halves or by passphrase: in one that a person took over the check of the root is off (invariant
13), so no halves may come any more. Whoever plugs a second disk in after typing the passphrase of her own root starts the
unlocker again."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import enrolled
from cases import main, skip
from node import PARTIES
from services import Fleet
from unlocking import EXIT, Unlocking

# The steps of an initramfs without which no boot goes on, and no shell opens.
STEPS = """
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" && mount -t overlay -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" none /etc &&
touch /etc/initrd-release || exit
"$@" wait root || echo "wait $?"
for step in 'gate close' check-root lock-up; do "$@" $step || echo "$step: $?"; done
"""


def setup():
    lab = Unlocking()
    lab.volume("root")
    lab.ready()
    return lab


def releases(lab):
    return [sum(record["event"] == "release" for record in lab.fleet.parties[i].audit()) for i in range(len(PARTIES))]


def unlock(lab, is_over=None):
    """So long as it takes until that is so; or for a while, in which it has been waiting long since."""
    process = subprocess.Popen(lab.command("unlock"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    end = time.monotonic() + (240 if is_over else 15)
    while process.poll() is None and not (is_over and is_over()) and time.monotonic() < end:
        time.sleep(0.1)
    process.terminate()
    text, _ = process.communicate(timeout=240)
    return text


def test_invariant_13_no_halves_after_a_passphrase(lab):
    lab.power_on()
    (lab.run_dir / "passphrase").write_text("")
    before = releases(lab)
    text = unlock(lab)
    assert releases(lab) == before, text
    assert not (lab.run_dir / "halves").exists(), text
    assert not (lab.run_dir / "gate-closed").exists(), text


def test_the_control_of_this_test(lab):
    """Without that note the same command gets both halves."""
    lab.power_on()
    before = releases(lab)

    def both_came():
        return all(now > then for now, then in zip(releases(lab), before))
    text = unlock(lab, both_came)
    assert both_came(), text


def test_who_types_a_passphrase_after_halves_came_is_noticed(lab):
    """One party names another manifest, so nothing can be opened, and yet halves came: the check of the root is on. It goes off
    only for a passphrase, and only while the unlocker is there to see it, with nothing left to steal."""
    lab.power_on()
    kept = lab.fleet.verifier.sql("SELECT sha256 FROM manifest_digests")[0][0]
    lab.fleet.verifier.sql("UPDATE manifest_digests SET sha256 = ?", bytes(32))
    try:
        process = subprocess.Popen(lab.command("unlock"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        for _ in range(2400):
            if (lab.run_dir / "halves").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert lab.run("wait", "settled").status == 0
        time.sleep(2)
        assert process.poll() is None, process.communicate()
        process.terminate()
        text, _ = process.communicate(timeout=240)
        assert "another manifest" in text and process.returncode == 0, text
    finally:
        lab.fleet.verifier.sql("UPDATE manifest_digests SET sha256 = ?", kept)


def test_a_configuration_that_cannot_be_used_is_no_end(lab):
    """A mistake that went into the initramfs: the unlocker asks for nothing, a passphrase opens, and the boot goes on behind a
    gate that is closed whichever it is. In the living system nothing is touched."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "-o", "lowerdir=/etc:/usr", "none", "/mnt"], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip("no mount namespaces with overlays here")
    (lab.directory / "over").mkdir()
    for mistake in ({"promt_after": "3"}, {"gate_pcr": "41"}, {"verifier": None}):
        lab.power_on()
        assert lab.run("gate", "close", **mistake).status == EXIT["config"]
        assert lab.run("gate", "status").text == "open\n"
        done = subprocess.run(["unshare", "-m", "sh", "-c", STEPS, str(lab.directory / "over"), *lab.command(**mistake)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
                              check=False)
        assert re.findall(r"^(?:wait|gate|check|lock).* (\d+)$", done.stdout, re.M) == [str(EXIT["config"])], done.stdout
        assert "tallyboot.conf: " in done.stdout and "needs a passphrase" in done.stdout, done.stdout
        assert (lab.run_dir / "gate-closed").exists(), done.stdout
        for pcr in (8, 9, 11, 12, 13, 14, 15):
            assert lab.run("gate", "status", gate_pcr=str(pcr)).text == "closed\n", pcr


def test_invariant_13_no_root_is_enrolled_beside_ours():
    """The machine for an hour, its network, a system of her own: the TPM quotes for purpose enroll, whatever was booted. A root
    that she enrolls would be one that halves opened, beside the volumes of its owner."""
    with Fleet() as fleet, enrolled.EnrolledNode(fleet) as node:
        root, data, hers = node.image("root"), node.image("data"), node.image("hers", b"hers")
        (node.directory / "her-key").write_bytes(b"hers")
        words = "enroll", "--no-wait", "--key-file", node.directory / "her-key", "--root", "--name", "root"
        assert node.enroll("--join-token-file", node.join_token_file(), "--root", "--name", "root", root).code == 0
        assert node.enroll("--other", "--name", "data", data).code == 0
        assert node.unlock_test(root, data).code == 0
        uuid = subprocess.run(["cryptsetup", "luksUUID", root], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
        subprocess.run(["cryptsetup", "-q", "luksUUID", "--uuid", uuid, hers], check=True)
        for party in fleet.parties:
            assert party.change("UPDATE nodes SET registered = registered - 3700, welcomed = welcomed - 3700") == 1

        node.reset()
        done = node.run(*words, hers)
        assert done.code == EXIT["pending"] and "Waiting for approval at tenant and verifier" in done.output, done
        node.reset()
        done = node.run("unlock", "--test", "--device", hers, "--device", data)
        assert done.code == EXIT["volume"] and "hers: root would not open" in done.errors, done

        node.approve(node.node_id())
        done = node.run(*words, hers)
        assert done.code == 0, done


def test_a_tenant_does_not_pass_for_a_verifier(lab):
    """Its word about payloads is all that stands behind them."""
    fleet = lab.fleet
    lab.power_on()
    fleet.pki.issue("verifier", ["urn:tallyboot:tenant"], ["127.0.0.1", "localhost"])
    fleet.verifier.restart()
    try:
        done = lab.unlock()
        assert done.status != 0 and "another service's" in done.text, done
    finally:
        fleet.pki.issue("verifier", ["urn:tallyboot:verifier"], ["127.0.0.1", "localhost"])
        fleet.verifier.restart()
    done = lab.unlock()
    assert done.status == 0, done


if __name__ == "__main__":
    main(setup)
