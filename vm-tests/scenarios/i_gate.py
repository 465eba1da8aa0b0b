# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the booted system no half is released any more: the gate is closed, in every bank, and in the other bank's quote too."""
from vmtest import images

NEEDS = ["debian-root", "initramfs"]
LIMIT = 1500
TEST = "tallyboot unlock --test --device /dev/vda"


def refused(t, lab, node, bank):
    """root on the running node asks for the halves, as a boot would."""
    result = node.run(TEST, check=False)
    t.say(f"in bank {bank}: {result.output.strip()}")
    t.check(result.status == 3 and "gate-closed" in result.output, f"refused, gate closed: {result}", node.log)
    for party in ("tenant", "verifier"):
        last = lab.events(party)[-1]
        t.check(last["event"] == "refusal" and last["detail"]["problem"] == "gate-closed", f"the {party}'s log has it: {last}")


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine()
    node.add_root("debian-root")
    node.boot_kernel(lab.node_files() | {"etc/crypttab": f"root UUID={images.DEBIAN_UUID} none {images.CRYPTTAB},x-initrd.attach\n"})
    identity = lab.enroll(node, (node.disks[0], "root", "root"))
    node.start()
    node.expect("root: opened with both halves", seconds=200)
    node.booted()
    lab.install(node)

    for bank in ("sha1", "sha256", "sha384"):
        t.check(set(node.pcr(15, bank)) != {"0"}, f"PCR 15 is extended in {bank}", node.log)
    t.check(node.run("tallyboot gate status").output == "closed\n", "gate status says closed")
    refused(t, lab, node, "sha256")

    # A quote in the other bank: the node anew, in a group that wants SHA-384.
    lab.ctl("group", "set", "second", "--bank", "sha384", "--accept-first-boot", "yes")
    lab.ctl("node", "delete", identity)
    node.put("/root/token", lab.ctl("join-token", "create", "--group", "second")["token"], 0o600)
    node.put("/root/key", images.passphrase(), 0o600)
    node.run("tallyboot enroll --again --key-file /root/key --join-token-file /root/token --recovery-key no /dev/vda",
             seconds=300)
    shown = lab.ctl("node", "show", identity)
    t.check({shown[party]["bank"] for party in ("tenant", "verifier")} == {"sha384"}, "the other bank is pinned")
    refused(t, lab, node, "sha384")
