# SPDX-License-Identifier: LGPL-2.1-or-later
"""The product's side on the host: registrar, tenant and verifier on loopback ports, and the operator's command.

All that depends on how the product is called, and where `tallyctl init` puts its files, is in the upper half."""
import http.client
import json
import random
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from . import BUILD, Failure, images, process
from .tpm import CA_CERTIFICATES

# What a guest calls the host's loopback, and what the host calls it: both are in the services' certificates.
FROM_GUEST, FROM_HOST = "10.0.2.2", "127.0.0.1"
SERVICES = ("registrar", "tenant", "verifier")    # in the order of their ports
PARTIES = ("tenant", "verifier")


def program(name):
    return BUILD / name


def init_arguments(directory, port, roots):
    """How `tallyctl` makes a lab: CA, certificates, configurations of services and nodes, an operator."""
    return ["init", "--lab", "--dir", directory, "--port", port, "--node-host", FROM_GUEST, "--ek-roots", roots]


def service_arguments(name, directory):
    return [program(f"tallyboot-{name}"), "--config", directory / name / f"{name}.conf"]


def control_arguments(directory, words):
    return [program("tallyctl"), "--config", directory / "operator" / "tallyctl.conf", *words]


def node_directory(directory):
    """What a node has in /etc/tallyboot."""
    return directory / "node"


class Lab:
    """The services of one scenario, in the run directory's lab/; their logs are lab/NAME.log."""

    def __init__(self, name="lab"):
        self.directory, self._processes = Path(name).resolve(), {}
        missing = [name for name in ("tallyctl", *(f"tallyboot-{s}" for s in SERVICES)) if not program(name).exists()]
        if missing:
            raise Failure(f"not built: {' '.join(missing)} (run make)")
        first = self._free_ports()
        self.ports = {name: first + i for i, name in enumerate(SERVICES)}
        roots = Path("ek-roots")
        roots.mkdir()
        for file in CA_CERTIFICATES:
            shutil.copy(file, roots)
        process.command(program("tallyctl"), *init_arguments(self.directory, first, roots.resolve()))

    @staticmethod
    def _free_ports():
        """The first of three ports, one after the other, that nobody has now. Below those that the kernel gives to clients."""
        for _ in range(1000):
            first = random.randrange(20000, 32000)
            try:
                with socket.create_server((FROM_HOST, first)), socket.create_server((FROM_HOST, first + 1)), \
                     socket.create_server((FROM_HOST, first + 2)):
                    return first
            except OSError:
                continue
        raise Failure("no three free ports")

    def log(self, name):
        return self.directory / f"{name}.log"

    def start(self, *names):
        """Start these services (default: all) and wait until each listens."""
        for name in names or SERVICES:
            with open(self.log(name), "a") as log:
                self._processes[name] = process.spawn(service_arguments(name, self.directory), stdin=subprocess.DEVNULL,
                                                      stdout=log, stderr=log)
        for name in names or SERVICES:
            process.wait_until(lambda n=name: self.listens(n), f"{name} listens", process=self._processes[name],
                               log=self.log(name))

    def stop(self, *names):
        """Stop these services (default: all) as systemd would."""
        for name in names or SERVICES:
            if name in self._processes:
                process.stop(self._processes.pop(name))

    def kill(self, *names):
        """The power of these services (default: all) fails."""
        for name in names or SERVICES:
            if name in self._processes:
                self._processes[name].kill()
                self._processes.pop(name).wait()

    def listens(self, name):
        with socket.socket() as s:
            return s.connect_ex((FROM_HOST, self.ports[name])) == 0

    def ctl(self, *words, status=0):
        """Run tallyctl; returns its JSON (None if it prints nothing). `status` is the exit status it has to have."""
        said = self.text("--json", *words, status=status)
        return json.loads(said) if said.strip() else None

    def text(self, *words, status=0):
        """The same, as a person reads it."""
        command = [str(word) for word in control_arguments(self.directory, words)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60 * process.PATIENCE, check=False)
        log = self.log("tallyctl")
        with open(log, "a") as file:
            print(f"+ {' '.join(command)}\n{done.stdout}{done.stderr}= {done.returncode}", file=file)
        if done.returncode != status:
            why = (done.stderr.strip().split("\n") or [""])[-1]
            raise Failure(f"tallyctl {' '.join(map(str, words))}: status {done.returncode}: {why}", log)
        return done.stdout

    def call(self, server, method, path, body=None):
        """One request to one server, with the operator's certificate: what tallyctl would do at all of them. Returns its JSON."""
        operator = self.directory / "operator"
        context = ssl.create_default_context(cafile=operator / "ca.pem")
        context.load_cert_chain(operator / "operator.pem", operator / "operator.key")
        connection = http.client.HTTPSConnection(FROM_HOST, self.ports[server], context=context, timeout=30 * process.PATIENCE)
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status >= 300:
            raise Failure(f"{method} {path} at the {server}: {answer.status} {text}", self.log(server))
        return json.loads(text) if text else None

    def logged(self, name, regex):
        """Whether a service's log has it, for process.wait_until and checks."""
        return re.search(regex, self.log(name).read_text(errors="replace"), re.MULTILINE)

    def node_files(self, **settings):
        """{path: content} of what a node has in /etc/tallyboot: for an initramfs, or for install().
        settings: more of its configuration, as prompt_after=3."""
        more = "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items()).encode()
        return {f"etc/tallyboot/{file.name}": (file.read_bytes() + (more if file.name == "tallyboot.conf" else b""), 0o644)
                for file in sorted(node_directory(self.directory).iterdir())}

    def install(self, machine):
        """Give a booted machine its /etc/tallyboot, as an operator copies it there."""
        for path, (content, mode) in self.node_files().items():
            machine.put(f"/{path}", content, mode)

    def node_command(self, *words, tpm=None, token=None, status=0, **settings):
        """Run the node's program on the host, with a machine's TPM (tpm.powered_on_by_host()) or token (softhsm.Token); returns
        what it printed. settings: more of its configuration; `status` is the exit status it has to have."""
        config = self.directory / "host.conf"
        text = (node_directory(self.directory) / "tallyboot.conf").read_text().replace(FROM_GUEST, FROM_HOST)
        text = text.replace("/etc/tallyboot", str(node_directory(self.directory)))
        settings = token.on_host(settings) if token else {"tpm": tpm} | settings
        config.write_text(text + "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items()))
        command = [str(program("tallyboot")), *map(str, words), "--config", str(config), "--run-dir", str(self.directory / "run")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=token.environment if token else None, timeout=120 * process.PATIENCE, check=False)
        log = self.log("tallyboot")
        with open(log, "a") as file:
            print(f"+ {' '.join(command)}\n{done.stdout}= {done.returncode}", file=file)
        if done.returncode != status:
            raise Failure(f"tallyboot {' '.join(map(str, words))}: status {done.returncode}: {done.stdout.strip()[-200:]}", log)
        return done.stdout

    def accept_first_boots(self):
        """What a node boots first becomes its group's policy with nobody looking: saves the scenarios a minute each."""
        self.ctl("group", "set", "default", "--accept-first-boot", "yes")

    def accept_tokens(self, **more):
        """The policy of the group says that a token is evidence enough. more: of its [release], as token_interval=0."""
        policy, settings = Path("token.policy"), {"token_evidence": "yes"} | more
        policy.write_text("[release]\n" + "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in settings.items()))
        self.ctl("policy", "set", "default", policy)

    def enroll(self, machine, *volumes, payload=False):
        """Enroll a machine that is off, from the host, by its TPM: volumes are (disk, name, role), role root or other.
        Its approval is given ahead. Returns the node's id."""
        with machine.tpm.powered_on_by_host() as tpm:
            return self._enroll(volumes, payload, tpm=tpm)

    def enroll_by_token(self, token, *volumes, **settings):
        """The same of a machine without a TPM, by its token; settings: more of its configuration."""
        return self._enroll(volumes, False, token=token, **settings)

    def _enroll(self, volumes, payload, **how):
        file, more = Path("join-token"), ["--payload"] if payload else []
        file.write_text(self.ctl("join-token", "create", "--group", "default")["token"] + "\n")
        for disk, name, role in volumes or [(None, None, None)]:
            words = [f"--{role}", "--name", name, "--key-file", images.SCRIPTS / "passphrase", disk] if disk else []
            said = self.node_command("enroll", "--recovery-key", "no", "--join-token-file", file, *more, *words, **how)
            more = []
        return re.search(r"Node ([a-z2-7]{52})", said)[1]

    def events(self, server, event=None, **which):
        """What a server's audit log has of a node or an incident (node=ID, incident=ID): its records, the detail read as JSON."""
        words = [word for name, value in which.items() for word in (f"--{name}", value)]
        records = self.ctl("log", "--limit", "1000", *words)[server]["records"]
        for record in records:
            if isinstance(record["detail"], str) and record["detail"]:
                record["detail"] = json.loads(record["detail"])
        return [record for record in records if event in (None, record["event"])]
