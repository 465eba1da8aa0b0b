#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tenant that has gone bad and lets its payload drip, for as long as it likes: what the halves open is opened all the same, as
soon as it is there, and who asks something of the unlocker is answered. A boot as the initramfs has it, but for device-mapper: a
volume that "needs a passphrase" is one that was tried. A header= in crypttab, for /dev/disk/by-uuid knows no files."""

import contextlib
import os
import subprocess
import sys
import time

for folder in ("lib", "service"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder))

from cases import main, skip
from impostor import Impostor
from test_payload import archive, publish
from unlocking import Unlocking

SECONDS = 240    # at most, on a busy machine
INSIDE = """
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" && mount -t overlay -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" none /etc &&
printf 'root %s none header=%s\\ndata %s none header=%s\\n' "$1" "$1" "$2" "$2" >/etc/crypttab && shift 2 && exec "$@"
"""


class Lab(Unlocking):
    def __enter__(self):
        if subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "-o", "lowerdir=/etc:/usr", "none", "/mnt"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            skip("no mount namespaces with overlays here")
        (self.directory / "over").mkdir()
        self.late = self.directory / "late"
        self.volume("root")
        self.data = self.volume("data", "other")
        self.ready()
        publish(self.fleet, self.node, 1, archive({"etc": None, "etc/motd": b"x" * 200000}))
        return self

    def enroll(self):
        assert self.node.register().status == 201
        self.node.key_ids = self.node.enroll(("volumes", "payload"), join=self.fleet.join_token("default"))
        for key, kind in zip(self.node.key_ids, ("volumes", "payload")):
            self.node.confirm(key, kind=kind)

    def boot(self, **changes):
        self.power_on()
        self.late.unlink(missing_ok=True)
        self.console = self.directory / "console"
        with open(self.console, "w", encoding="ascii") as console:
            return subprocess.Popen(["unshare", "-m", "sh", "-c", INSIDE, str(self.directory / "over"), self.node.volumes[0][0],
                                     str(self.late), *self.command("unlock", **changes)], stdin=subprocess.DEVNULL,
                                    stdout=console, stderr=subprocess.STDOUT)

    def text(self):
        return self.console.read_text(errors="replace")

    def expect(self, done):
        for _ in range(SECONDS * 10):
            if done():
                return
            time.sleep(0.1)
        raise AssertionError(self.text())

    @contextlib.contextmanager
    def dripping(self):
        """A boot whose payload has begun to come, and comes at the least speed that a node takes."""
        def drip(exchange):
            file = exchange.answer.body
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(file))
            for at in range(0, len(file), 1024):
                exchange.raw(file[at:at + 1024])
                if exchange.impostor.ended.wait(0.5):
                    return

        with Impostor(self.fleet.tenant) as tenant:
            tenant.at, tenant.act = "/payload", drip
            process = self.boot(tenant=tenant.url, payload="yes")
            try:
                self.expect(lambda: tenant.asked > 0)
                yield tenant, process
            finally:
                process.terminate()
                process.wait(timeout=SECONDS)


def test_a_late_volume_does_not_wait_for_the_payload(lab):
    with lab.dripping() as (tenant, process):
        assert "root: not opened, a passphrase is needed" in lab.text() and "data:" not in lab.text(), lab.text()
        lab.late.symlink_to(lab.data)
        lab.expect(lambda: "data: not opened, a passphrase is needed" in lab.text())
        assert tenant.asked == 1 and process.poll() is None and "payload" not in lab.text(), lab.text()


def test_a_question_does_not_begin_the_payload_anew(lab):
    """Each volume that opens is told the unlocker; without an end to the payload it would never come."""
    with lab.dripping() as (tenant, process):
        for _ in range(3):
            assert lab.run("opened", "elsewhere").status == 0
        assert lab.run("gate", "close").status == 0
        time.sleep(2)
        assert tenant.asked == 1 and process.poll() is None and (lab.run_dir / "payload").exists(), lab.text()


def test_a_passphrase_ends_a_payload_that_drips(lab):
    with lab.dripping() as (tenant, process):
        assert lab.run("opened", "root").status == 0
        assert process.wait(timeout=SECONDS) == 0, lab.text()
        assert (lab.run_dir / "passphrase").exists() and not (lab.run_dir / "payload").exists(), lab.text()
        assert tenant.asked == 1 and "goes on without the halves" in lab.text(), lab.text()


def test_the_control_of_these_tests(lab):
    """The same payload from an honest tenant is there in the end."""
    process = lab.boot(payload="yes")
    lab.expect((lab.run_dir / "payload-ready").exists)
    process.terminate()
    process.wait(timeout=SECONDS)


if __name__ == "__main__":
    main(Lab)
