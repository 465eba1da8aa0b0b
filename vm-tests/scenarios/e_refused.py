# SPDX-License-Identifier: LGPL-2.1-or-later
"""One of the two refuses, for its policy's sake or because the node is revoked: a prompt with the incident, which its log
finds."""
import re

from vmtest import images

NEEDS = ["tiny-root", "initramfs"]


def refused_boot(t, lab, node, party, problem):
    """A boot that needs the passphrase because `party` alone says `problem`."""
    node.start()
    node.expect("enter passphrase for disk", seconds=200)
    said = node.seen(rf"tallyboot.*{party}.*{problem}.*incident ([0-9a-f]{{16}})")
    t.check(said, f"the console names {party}, {problem} and an incident", node.log)
    refusals = lab.events(party, "refusal", incident=said[1])
    t.say(f"incident {said[1]}: {refusals}")
    t.check(any(record["detail"]["problem"] == problem for record in refusals), f"the {party}'s log finds it",
            lab.log("tallyctl"))
    other = "tenant" if party == "verifier" else "verifier"
    t.check(lab.events(other, "release", incident=said[1]), f"the {other} released its half", lab.log("tallyctl"))
    node.send(images.passphrase())
    node.expect(r"^ROOT /dev/mapper/root ext4")
    node.expect(r"^PCR 15 .*[1-9A-F]")
    node.expect(r"^DONE")
    node.off()
    node.never("opened with both halves")


def run(t):
    lab, node = t.enrolled()
    node.start()
    node.expect("root: opened with both halves")
    node.off()

    t.say("the tenant alone gets a policy with another PCR 4")
    policy = lab.call("tenant", "GET", "/v1/groups/default/policy")
    other = re.sub(r"(?m)^(pcr 4 = )[0-9a-f]+$", rf"\g<1>{'ab' * 32}", policy["text"])
    t.check(other != policy["text"], "the policy has a PCR 4")
    lab.call("tenant", "PUT", "/v1/groups/default/policy", {"text": other, "version": policy["version"]})
    refused_boot(t, lab, node, "tenant", "policy-refused")
    held = lab.ctl("node", "show", node.id)["tenant"]["held"]
    t.check([d["pcr"] for d in held["differences"]] == [4], f"the operator sees which PCR differs: {held['differences']}")
    lab.call("tenant", "PUT", "/v1/groups/default/policy", {"text": policy["text"], "version": policy["version"] + 1})

    t.say("the verifier alone revokes the node")
    lab.stop("tenant")
    lab.ctl("node", "revoke", node.id, "--reason", "stolen", status=5)
    lab.start("tenant")
    refused_boot(t, lab, node, "verifier", "revoked")
