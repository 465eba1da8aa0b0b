# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real system on OVMF and a UKI: enrolled while it runs, first boot held and captured, then opened by both halves at once."""
import json
import re
import time

from vmtest import images, process

NEEDS = ["debian-root"]
LIMIT = 1800
DEVICE = f"/dev/disk/by-uuid/{images.DEBIAN_UUID}"
PARTIES = ("tenant", "verifier")


def step(t, number, text):
    t.say()
    t.say(f"{number}. {text}")


def quote(t, text):
    for line in text.strip().splitlines():
        t.say(f"    | {line}")


def enroll(t, lab, node):
    """`tallyboot enroll` in the booted system, approved by an operator who compares the code. Returns the code."""
    step(t, 2, "Enrollment, in the running system: tallyboot enroll /dev/vdb (the root's LUKS volume)")
    lab.install(node)
    node.run("until ip -4 route show default | grep -q .; do sleep 0.5; done")    # a slow machine is up before its network
    node.put("/root/passphrase", images.passphrase(), 0o600)
    node.run(f"tallyboot enroll --key-file /root/passphrase --recovery-key no {DEVICE} > /root/enroll.log 2>&1 & "
             "echo $! > /root/enroll.pid")
    process.wait_until(lambda: "Waiting for approval" in node.get("/root/enroll.log") or "ended" in node.run(
        "[ -d /proc/$(cat /root/enroll.pid) ] || echo ended").output, "enroll waits for its approval", 120)
    said = node.get("/root/enroll.log")
    code = re.search(r"code ([a-z2-7]{4}-[a-z2-7]{4})", said)
    t.check(code and "Waiting for approval" in said, f"enroll waits for an operator: {said}", node.log)
    t.say(f"It registered itself, and waits; on its screen is the code {code[1]}.")
    nodes = lab.ctl("node", "list")
    for party in PARTIES:
        t.check([(n["code"], n["state"]) for n in nodes[party]["nodes"]] == [(code[1], "pending")], f"pending at the {party}")
    t.say(f"The operator sees the same code at tenant and verifier, each of which checked the TPM's certificate: node approve {code[1]}")
    lab.ctl("node", "approve", code[1])
    process.wait_until(lambda: not node.run("[ -d /proc/$(cat /root/enroll.pid) ] && echo runs", check=False).output,
                       "enroll ends", 120)
    said = node.get("/root/enroll.log")
    t.check(re.search(r"^Enrolled\.$", said, re.MULTILINE), f"enrolled: {said}", node.log)
    quote(t, said)
    t.say("Who holds what now:")
    t.say("    tenant      half U, and a description of the volume under a key that only both halves make")
    t.say("    verifier    half V, and that description's digest")
    t.say("    registrar   the public keys of the TPM")
    t.say("    disk        one more keyslot, for U xor V; the passphrase's slot as before; a token with names, no secret")
    t.say("    TPM         the key that signs what was booted; it never leaves it")
    return code[1]


def held_boot(t, lab, node, code):
    """The first boot with the new UKI waits for an operator, who looks and captures; nobody touches the node."""
    step(t, 4, "The first boot of that UKI")
    node.reboot()
    said = node.expect(r"pending-policy.*incident ([0-9a-f]{16})", seconds=300)
    t.say(f"{node.seconds():.0f} s after power-on both parties hold the boot: the TPM's quote is right, but nobody has said yet that")
    t.say(f"this firmware, UKI and command line may have the key. The console shows incident {said[1]}.")
    held = {party: lab.ctl("node", "show", code)[party]["held"] for party in PARTIES}
    for party in PARTIES:
        t.check(held[party] and held[party]["reason"] == "pending-policy", f"held at the {party}: {held[party]}")
    t.check(held["tenant"]["pcrs"] == held["verifier"]["pcrs"], "both saw the same PCR values")
    for pcr in ("4", "7", "11"):
        t.say(f"    | PCR {pcr:>2} {held['tenant']['pcrs'][pcr]}")
    t.say(f"The operator looks at it, and lets this state pass from now on: tallyctl node approve {code} --capture")
    lab.ctl("node", "approve", code, "--capture")
    captured = node.seconds()
    node.expect("root: opened with both halves", seconds=200)
    t.say(f"The node asked again by itself, {node.seconds() - captured:.0f} s later, and boots on. Nobody typed.")
    node.booted()


def journal(node, regex):
    """When the node's journal has it, by the node's clock: seconds since 1970, or None."""
    text = node.run("journalctl -b -o short-unix --no-hostname").output
    match = re.search(rf"^(\d+\.\d+) .*(?:{regex})", text, re.MULTILINE)
    return float(match[1]) if match else None


def written(node, path):
    result = node.run(f"stat -c %.Y {path}", check=False)
    return float(result.output) if result.status == 0 else None


def release(t, lab, party, incident):
    """The one release of that boot in the party's audit log."""
    records = lab.events(party, "release", incident=incident)
    t.check(len(records) == 1, f"one release in the log of the {party}: {records}", lab.log("tallyctl"))
    detail = records[0]["detail"]
    t.check(detail["purpose"] == "boot" and [key["state"] for key in detail["keys"]] == ["live"],
            f"a live half of one key: {detail}")
    return records[0]


def timeline(t, lab, node, power_on, ready):
    """What happened in this boot, from the logs of all three; fails unless both halves opened the root."""
    incident = node.get("/run/tallyboot/incident").strip()
    releases = {party: release(t, lab, party, incident) for party in PARTIES}
    opened = journal(node, r"tallyboot\[\d+\]: root: opened with both halves")
    t.check(opened, "the node's journal says that both halves opened the root", node.log)
    # The node's clock to the host's: the machine's clock was set from the host's, to the second.
    ahead = float(node.run("date +%s.%N").output) - time.time()
    rows = [
        (power_on, "node", "power on"),
        (written(node, "/run/tallyboot/incident"), "node", "the unlocker starts; its TPM makes the same attestation key as ever"),
        (journal(node, "Starting systemd-cryptsetup@root"), "node", "systemd wants the root's volume and waits for the unlocker"),
        (releases["tenant"]["time"], "tenant", "challenge answered by a quote, checked: half U sealed to this boot's key"),
        (releases["verifier"]["time"], "verifier", "the same quote, its own nonce, checked: half V sealed to this boot's key"),
        # The note on the halves is written in the moment after the PCR was read back.
        (written(node, "/run/tallyboot/halves"), "node", "gate closed: PCR 15 extended in every bank, this boot's key wiped"),
        (opened, "node", "U xor V, the header checked against the manifest: root opened"),
        (journal(node, "Mounted sysroot.mount"), "node", "root mounted"),
        (journal(node, "Finished tallyboot-check-root|Finished .*Check that the root is ours"), "node",
         "root found to rest on that volume"),
        (ready, "node", "multi-user system, login"),
    ]
    step(t, 6, f"What the logs of node, tenant and verifier say of this boot, incident {incident}")
    t.say("    seconds since power-on; the parties' logs count whole ones")
    for when, who, what in rows:
        by_node = who == "node" and when not in (power_on, ready)
        seconds = when - power_on - (ahead if by_node else 0) if when is not None else None
        shown = "      ?" if seconds is None else f"{seconds:7.2f}" if who == "node" else f"{int(seconds):4d}   "
        t.say(f"    {shown}  {who:9} {what}")
        t.check(when is not None, f"in a log: {what}", node.log)


def thieves(t, node):
    step(t, 7, "What a thief would have")
    token = json.loads(node.run(f"cryptsetup token export --token-id 0 {DEVICE}").output)
    t.say(f"    the disk        ciphertext, and a token with names only: {', '.join(sorted(token))}")
    t.say("    the machine     that, and a TPM whose quotes no party answers once the node is revoked")
    t.say("    the tenant      half U: without V it is 32 random bytes; its own policy and approvals, not the verifier's")
    t.say("    the verifier    half V: the same, the other way round")
    t.say("    the registrar   public keys")
    t.say("    root here, now  nothing: the gate is closed until the next power-on:")
    asked = node.run(f"tallyboot unlock --test --device {DEVICE}", check=False)
    quote(t, asked.output)
    t.check(asked.status == 3 and "gate-closed" in asked.output, f"no half in the booted system: {asked}", node.log)


def run(t):
    t.say("A machine is enrolled, and then opens its encrypted disk at boot with two halves of a key: one from the tenant, one from")
    t.say("the verifier. All of it is real but the hardware: QEMU emulates machine and firmware, swtpm the TPM. Seconds are at the left.")
    step(t, 1, "The services start on this machine's loopback; a machine is switched on")
    lab = t.lab()
    for name, answer in lab.ctl("health").items():
        t.say(f"    | {name}: {answer['status']}")
    node = t.debian()
    node.start()
    t.say("OVMF firmware, measured boot, a Debian on LUKS2. It asks for its passphrase, for the last time.")
    node.type_passphrase(seconds=300)
    node.booted()
    t.say(f"Booted, {node.seconds():.0f} s after power-on.")
    code = enroll(t, lab, node)
    step(t, 3, "A new initramfs and UKI, with the unlocker, its configuration and the fleet's CA; this takes a minute or two")
    node.run("rebuild-uki", seconds=900)
    held_boot(t, lab, node, code)

    step(t, 5, "Reboot once more: from now on nobody is needed")
    node.reboot()
    power_on = time.time() - node.seconds()
    node.booted(300)
    ready = time.time()
    node.never("enter passphrase")
    t.check(node.run("findmnt -no SOURCE /").output == "/dev/mapper/root\n", "the root is on LUKS")
    t.check(set(node.pcr(15)) != {"0"}, "the gate is closed")
    timeline(t, lab, node, power_on, ready)
    thieves(t, node)
    t.say()
    t.say("Both halves opened the root, as the logs of tenant, verifier and node say; nobody was at the keyboard.")
