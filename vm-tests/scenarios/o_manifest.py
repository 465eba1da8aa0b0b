# SPDX-License-Identifier: LGPL-2.1-or-later
"""LUKS2 headers of an attacker on real volumes: each is refused by name, nothing of it is open; one that flips while it is read
is not."""
import re
import shutil

from vmtest import disk, images, luks2, nbd, probes, process

NEEDS = ["tiny-root", "initramfs"]
LIMIT = 1500
INTEGRITY = {"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"}
PBKDF = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--batch-mode", "--key-file", images.SCRIPTS / "passphrase"]
WATCH = "while sleep 3; do dmsetup table root 2> /dev/null | sed 's/^/TABLE /' > /dev/console; bash /test/look watch; done\n"


def null_cipher(name):
    """CVE-2025-59054: libcryptsetup 2.6 opens it without a word, and what the attacker wrote to the disk is the file system."""
    luks2.edit(name, lambda header: header["segments"]["0"].update(encryption="cipher_null-ecb"))


def key_size(name):
    slot = luks2.our_slot(name)[0]
    luks2.edit(name, lambda header: header["keyslots"][slot].update(key_size=32))


def no_integrity(name):
    luks2.edit(name, lambda header: header["segments"]["0"].pop("integrity"))


def reencryption(name):
    """Real metadata, by cryptsetup: CVE-2021-4122 is a volume that decrypts itself with such ones."""
    process.command("cryptsetup", "reencrypt", "--init-only", "--key-slot", "0", *PBKDF, name)


def unknown_requirement(name):
    luks2.edit(name, lambda header: header["config"].update(requirements={"mandatory": ["something-new"]}))


def bomb_in_the_slot(name):
    slot = luks2.our_slot(name)[0]
    luks2.edit(name, lambda header: header["keyslots"][slot]["kdf"].update(iterations=400_000_000))


def bomb_in_the_digest(name):
    luks2.edit(name, lambda header: header["digests"]["0"].update(iterations=400_000_000))


def another_volume(name):
    """Supplantation: a volume of the attacker's own, with the UUID, and with our token copied."""
    uuid, token = disk.luks_uuid(name), f"{name}.token"
    process.command("cryptsetup", "token", "export", "--token-id", "0", "--json-file", token, name)
    disk.luks(name, {"evil": "yes\n"}, uuid=uuid)
    process.command("cryptsetup", "luksAddKey", *PBKDF, "--key-slot", "1", name, images.SCRIPTS / "passphrase")
    process.command("cryptsetup", "token", "import", "--token-id", "0", "--json-file", token, name)


# Volume: what is done to it, and what the node says of it.
ATTACKS = {
    "null": (null_cipher, r"the segment's cipher is cipher_null-ecb, which encrypts nothing"),
    "size": (key_size, r"the header's key has 32 bytes, the manifest says 64"),
    "integrity": (no_integrity, r'the header\'s integrity is "", the manifest says "hmac\(sha256\)"'),
    "reencrypt": (reencryption, r'the header asks for "online-reencrypt-v2": a re-encryption is under way'),
    "unknown": (unknown_requirement, r'the header asks for "something-new"'),
    "slotbomb": (bomb_in_the_slot, r"the keyslot asks for 400000000 iterations, the manifest says 1000"),
    "digestbomb": (bomb_in_the_digest, r"the digest of the volume key asks for 400000000 iterations"),
    "supplant": (another_volume, r"the header's digest of the volume key is not what the manifest says|"
                 r"the digest of the volume key asks for \d+ iterations"),
    "rollback": (None, r"keyslot 2, which is ours, is not there any more"),
}


def configure(lab, node, names, files=None):
    lines = "".join(f"{name} UUID={disk.luks_uuid(image)} none {images.CRYPTTAB}\n" for name, image in names.items())
    node.boot_kernel(lab.node_files(prompt_after=60) | {"etc/crypttab": lines} | (files or {}))


def rotate(t, lab, node, names):
    """Two boots: the volumes get slots for new halves, then the old ones are retired and their slots wiped."""
    configure(lab, node, names)
    lab.ctl("node", "rotate", node.id)
    for generation in (1, 2):
        node.start()
        node.expect(rf"root: opened with both halves \(generation {generation}", 200)
        node.expect(r"^DONE")
        node.off()
    t.check({luks2.our_slot(image)[0] for image in names.values()} == {"2"}, "the volumes have new slots", node.log)


def flipping(node, root):
    """The root's disk shows another header, of a null cipher, from the moment on when our keyslot has been read."""
    evil, start = node.file("flipped.img"), int(luks2.our_slot(root)[1]["area"]["offset"])
    shutil.copy(root, evil)
    null_cipher(evil)

    def on_read(served, offset, size):
        if offset <= start + 128 * 1024 < offset + size:
            served.which = 1

    return nbd.Disk(node.file("nbd.sock"), [root, evil], on_read)


def refused(t, node, name, words):
    """In any order: the first prompt is up while others are still looked at."""
    regex = rf"{name}: not opened, a passphrase is needed: (.*)"
    process.wait_until(lambda: node.seen(regex) or node.seen(rf"{name}: opened with"), f"{name} is looked at", 150, log=node.log)
    said = node.seen(regex)
    t.check(said and re.search(words, said[1]), f"{name} is refused with its reason, not: {said and said[1]}", node.log)
    t.say(f"{name}: {said[1].strip()}")


def attacked_boot(t, lab, node, names):
    t.say("all at once: each volume but the root is changed, the root's disk flips its header while it is read")
    root = node.disks[0]
    served = flipping(node, root)
    node.disks[0] = served.url
    configure(lab, node, names, probes.look_before("emergency.service")
              | probes.service("watch", WATCH, kind="simple", unit="Conflicts=initrd-switch-root.target emergency.target"))
    node.start()
    node.expect("enter passphrase for disk", 300)
    for name, (_, words) in ATTACKS.items():
        refused(t, node, name, words)
    process.wait_until(lambda: node.seen(r"root: opened with both halves \(generation 2"), "the root is opened", 150,
                       log=node.log)
    t.check(served.which == 1, "the disk had flipped by then")
    t.check(" crypt aes-xts-plain64 " in node.expect(r"^TABLE (.*)$").group(), "opened as the checked header says", node.log)
    probes.check_look(t, node, "watch", ["root"])
    node.power_cut()
    served.stop()
    node.disks[0] = root


def null_root(t, lab, node):
    t.say("the root: a null cipher, and the attacker's file system behind it")
    root = node.disks[0]
    node.disks = [root]
    null_cipher(root)
    with open(root, "r+b") as file:
        file.seek(luks2.segment_offset(root))
        file.write(images.path("tiny-root", "plain.img").read_bytes())
    configure(lab, node, {"root": root}, probes.look_before("emergency.service")
              | probes.service("watch", WATCH, kind="simple", unit="Conflicts=initrd-switch-root.target emergency.target"))
    node.start()
    node.expect("enter passphrase for disk .*root", 300)
    refused(t, node, "root", ATTACKS["null"][1])
    probes.check_look(t, node, "watch")
    node.power_cut()
    node.never("^ROOT")


def run(t):
    lab = t.lab()
    lab.accept_first_boots()
    node = t.machine()
    node.add_root("tiny-root")
    node.disks += [disk.luks(node.file(f"{name}.img"), {"ours": f"{name}\n"}) for name in ATTACKS]
    names = dict(zip(["root", *ATTACKS], node.disks))
    before = {name: names[name] for name in ("root", "rollback")}
    node.id = lab.enroll(node, *((image, name, "root" if name == "root" else "other") for name, image in before.items()))
    old = names["rollback"] + ".old"
    shutil.copy(names["rollback"], old)
    rotate(t, lab, node, before)

    luks2.edit(names["integrity"], lambda header: header["segments"]["0"].update(integrity=INTEGRITY))
    lab.enroll(node, *((names[name], name, "other") for name in ATTACKS if name != "rollback"))
    for name, (attack, _) in ATTACKS.items():
        if attack:
            attack(names[name])
    shutil.copy(old, names["rollback"])
    if t.part("flip"):
        attacked_boot(t, lab, node, names)
    if t.part("null-root"):
        null_root(t, lab, node)
