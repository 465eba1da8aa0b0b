# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine's TPM is used by the host while the machine is off, and is the same one, a boot later, in the machine."""
import re

from vmtest import images, process

NEEDS = ["tiny-root", "initramfs"]


def reset_count(tcti):
    return int(re.search(r"reset_count: (\d+)", process.command("tpm2_readclock", "-T", tcti).decode())[1])


def run(t):
    node = t.tiny(files={"etc/crypttab": f"root UUID={images.TINY_UUID} /etc/key luks\n", "etc/key": images.passphrase()})
    with node.tpm.powered_on_by_host() as tcti:
        first = reset_count(tcti)
        t.check(len(process.command("tpm2_getekcertificate", "-T", tcti)) > 500, "an EK certificate in the TPM")
        process.command("tpm2_pcrevent", "-T", tcti, "15", "/dev/null")
        t.check(b"0x00000000000" not in process.command("tpm2_pcrread", "-T", tcti, "sha256:15"), "PCR 15 is extended")
    node.start()
    node.expect(r"^PCR 15 0{64}$")
    node.off()
    with node.tpm.powered_on_by_host() as tcti:
        t.check(reset_count(tcti) == first + 2, "one boot by the machine, one by the host")
