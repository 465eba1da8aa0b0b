# SPDX-License-Identifier: LGPL-2.1-or-later
"""The initramfs reaches the host's loopback as 10.0.2.2; without a card, without a TPM, the boot goes on."""
import socket

from vmtest import cpio, images

NEEDS = ["tiny-root", "initramfs"]
UNIT = """[Unit]
DefaultDependencies=no
Before=initrd-switch-root.service
[Service]
Type=oneshot
ExecStart=/usr/bin/bash -c "until exec 3<>/dev/tcp/10.0.2.2/{port}; do sleep 0.2; done; cat <&3 > /dev/console"
"""


def run(t):
    files = {"etc/crypttab": f"root UUID={images.TINY_UUID} /etc/key luks\n", "etc/key": images.passphrase()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = t.tiny(files=files | {
            "etc/systemd/system/call.service": UNIT.format(port=server.getsockname()[1]),
            "etc/systemd/system/initrd.target.wants/call.service": cpio.Symlink("../call.service")})
        node.start()
        server.settimeout(120)
        connection, _ = server.accept()
        t.say(f"connected at {node.seconds():.0f} s")
        with connection:
            connection.sendall(b"hello from the host\n")
        node.expect("hello from the host")
        node.expect(r"^DONE")
        node.off()

    node.network, node.tpm_model = False, None
    node.boot_kernel(files)
    node.start()
    node.expect(r"^PCR none")
    node.off()
