# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that was said in one boot, by somebody who saw it in clear, said again in the next: no half to him, and none to the
node."""
import json

from vmtest import middle

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 600
PARTIES = ("tenant", "verifier")


def refused(t, lab, party, path, body, what):
    status, answer = middle.ask(lab, party, "POST", path, body)
    problem = json.loads(answer)
    t.say(f"{party}, {what}: {status} {problem.get('type')}")
    t.check(status >= 400 and "halves" not in problem, f"{party}, {what}: refused, not {status} {problem}")
    return problem["type"]


def replay(t, lab, node, recorded):
    """The evidence of the first boot, as it was; and the same with the nonces of today."""
    fresh = {party: json.loads(middle.ask(lab, party, "POST", f"/v1/nodes/{node.id}/challenge",
                                          b'{"purpose":"boot"}')[1])["nonce"]
             for party in PARTIES}
    for party in PARTIES:
        old = recorded[party].last("/release")
        kind = refused(t, lab, party, old.path, old.body, "evidence of the boot before")
        t.check(kind.endswith("stale-nonce"), f"{party}: the nonce was used: {kind}")
        evidence = json.loads(old.body) | {f"nonce_{name}": nonce for name, nonce in fresh.items()}
        refused(t, lab, party, old.path, json.dumps(evidence).encode(), "the same with nonces of this boot")


def opened(node):
    node.start()
    node.expect("root: opened with both halves", 200)
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.off()


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    between = {party: t.remember(middle.Middle(lab, party)) for party in PARTIES}
    files = lab.node_files()
    content, mode = files["etc/tallyboot/tallyboot.conf"]
    for party in PARTIES:
        content = content.replace(f":{lab.ports[party]}".encode(), f":{between[party].port}".encode())
    node = t.tiny(files=files | {"etc/tallyboot/tallyboot.conf": (content, mode)})
    node.id = lab.enroll(node, (node.disks[0], "root", "root"))

    opened(node)
    releases = {party: len(lab.events(party, "release", node=node.id)) for party in PARTIES}

    t.say("the next boot: the node is given the answers of the one before")
    for party in PARTIES:
        old = {path: between[party].last(path) for path in ("/challenge", "/release")}
        between[party].answer = lambda method, path, old=old: old["/" + path.split("/")[-1]]
    node.start()
    node.expect("enter passphrase for disk", 200)
    t.check(node.seen(r"tallyboot\[\d+\]: .*incident"), "the node says what it thinks of it", node.log)
    t.say(node.seen(r"tallyboot\[\d+\]: (.*incident.*)")[1].strip())
    node.never("opened with both halves")
    replay(t, lab, node, between)
    for party in PARTIES:
        t.check(len(lab.events(party, "release", node=node.id)) == releases[party], f"{party}: no release by a replay")

    node.power_cut()
    t.say("the servers answer by themselves again: nothing was used up")
    for party in PARTIES:
        between[party].answer = None
    opened(node)
