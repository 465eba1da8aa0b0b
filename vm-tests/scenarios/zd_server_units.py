# SPDX-License-Identifier: LGPL-2.1-or-later
"""The servers as docs/operations.md sets them up, run by systemd; the tenant's master key goes into the machine's TPM, the
verifier's into an HSM, both while the service runs; they release halves to the machine itself, before and after it starts
anew."""
import json
from pathlib import Path

from vmtest.softhsm import MODULE, PIN, SO_PIN
from vmtest.tpm import CA_CERTIFICATES

NEEDS = ["debian-root"]
LIMIT = 1500
SERVERS = {"registrar": "reg.example:7601", "tenant": "ten.example:7602", "verifier": "ver.example:7603"}
HSM = "/var/lib/verifier-hsm"
# docs/keys.md, "In the TPM"
SEES_THE_TPM = """[Unit]
Wants=dev-tpmrm0.device
After=dev-tpmrm0.device
[Service]
PrivateDevices=no
DevicePolicy=closed
DeviceAllow=/dev/tpmrm0 rw
SupplementaryGroups=tss
"""
SEES_THE_HSM = f"[Service]\nEnvironment=SOFTHSM2_CONF={HSM}/softhsm2.conf\nReadWritePaths={HSM}\n"


def set_up(node):
    for i, certificate in enumerate(CA_CERTIFICATES):
        node.put(f"/root/vendors/{i}.pem", Path(certificate).read_bytes())
    hosts = " ".join(server.split(":")[0] for server in SERVERS.values())
    names = " ".join(f"--{role} {server}" for role, server in SERVERS.items())
    node.run(f"echo 127.0.0.1 {hosts} >> /etc/hosts\n"
             f"tallyctl init --dir /root/fleet {names} --ek-roots /root/vendors --operator alice\n"
             "mkdir -p /etc/tallyboot && cp -a /root/fleet/operator /etc/tallyboot/ && cp /root/fleet/node/* /etc/tallyboot/")
    for role in SERVERS:
        node.run(f"cp -a /root/fleet/{role} /etc/tallyboot/\n"
                 f"ln -s /etc/tallyboot/{role}/tallyboot-{role}.service /etc/systemd/system/\n"
                 f"systemctl enable --now tallyboot-{role}")


def drop_in(node, role, text):
    node.put(f"/etc/systemd/system/tallyboot-{role}.service.d/override.conf", text)
    node.run("systemctl daemon-reload")


def move(node, role, text):
    """To another master key while the service runs, as docs/keys.md says."""
    conf = f"/etc/tallyboot/{role}/{role}.conf"
    old = node.run(f"sed -n 's/^master.*= *//p' {conf}").output.strip().removeprefix("file:")
    node.run(f"export SOFTHSM2_CONF={HSM}/softhsm2.conf\n"
             f"sed -i '/^master/d; /^\\[keystore\\]/d' {conf}\n"
             f"printf '\\n[keystore]\\n{text}old-master = file:%s\\n' '{old}' >> {conf}\n"
             f"tallyctl keystore init --config {conf} {'--no-recovery' if 'tpm' in text else ''}\n"
             f"systemctl restart tallyboot-{role}\n"
             f"tallyctl keystore rewrap --config {conf}\n"
             f"sed -i '/^old-master/d' {conf}\n"
             f"systemctl reload-or-restart tallyboot-{role}\n"
             f"tallyctl keystore verify --config {conf}")


def enroll(node):
    """The machine is a node, too, with a volume in a file, and another gate than the one that its boot has used."""
    node.run("echo gate-pcr = 13 >> /etc/tallyboot/tallyboot.conf")
    node.put("/root/key", "passphrase", 0o600)
    node.run("tallyctl group set default --gate 13 --accept-first-boot yes\n"
             "truncate -s 32M /root/volume\n"
             "cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /root/volume /root/key")
    node.put("/root/token", json.loads(node.run("tallyctl --json join-token create").output)["token"], 0o600)
    node.run("tallyboot enroll --key-file /root/key --join-token-file /root/token --recovery-key no /root/volume")


def released(t, node):
    said = node.run("tallyboot unlock --test --device /root/volume").output
    t.check("would open" in said, f"both halves came: {said}", node.log)


def healthy(t, node):
    said = node.run("tallyctl health").output
    t.check(said.count(" ok") == len(SERVERS), f"all are ok: {said}", node.log)
    said = node.run("systemctl list-units --all --plain --no-legend --state=failed 'tallyboot-*'").output
    t.check(not said.strip(), f"no unit failed: {said}", node.log)


def run(t):
    node = t.debian()
    node.start()
    node.type_passphrase(seconds=300)
    node.booted()
    set_up(node)
    healthy(t, node)
    node.run("systemctl reload 'tallyboot-*.service'")
    enroll(node)

    t.say("the tenant's master key into the TPM, the verifier's into an HSM")
    drop_in(node, "tenant", SEES_THE_TPM)
    move(node, "tenant", "master = tpm\npcrs = 7\n")
    node.run(f"mkdir -p {HSM}/tokens && printf 'directories.tokendir = {HSM}/tokens\\n' > {HSM}/softhsm2.conf\n"
             f"export SOFTHSM2_CONF={HSM}/softhsm2.conf\n"
             f"softhsm2-util --init-token --free --label hsm --so-pin {SO_PIN} --pin {PIN}")
    node.put("/etc/tallyboot/verifier/pin", PIN, 0o600)
    drop_in(node, "verifier", SEES_THE_HSM)
    move(node, "verifier",
         f"master = pkcs11:token=hsm;object=master\nmodule = {MODULE}\npin = file:/etc/tallyboot/verifier/pin\n")
    healthy(t, node)
    released(t, node)

    t.say("the machine starts anew: the TPM gives the master key once")
    node.run("mv /etc/tallyboot/tallyboot.conf /root/")     # else the running system closes the gate before we can ask
    node.reboot()
    node.type_passphrase(seconds=300)
    node.booted()
    for role in SERVERS:
        node.run(f"until systemctl is-active tallyboot-{role}; do sleep 1; done", seconds=120)
    healthy(t, node)
    t.check(node.pcr(14) != "0" * 64, "the gate of the tenant's master key is closed", node.log)
    node.run("systemctl restart tallyboot-tenant tallyboot-verifier")
    healthy(t, node)
    node.run("mv /root/tallyboot.conf /etc/tallyboot/")
    released(t, node)
