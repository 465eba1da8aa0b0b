# SPDX-License-Identifier: LGPL-2.1-or-later
"""Timing whole processes, and the lines of the table."""
import contextlib
import os
import resource
import statistics
import subprocess
import time

from services import BUILD


def children_time():
    """Seconds of processor time of all children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def undisturbed():
    """What is started meanwhile goes before everything else on this machine, where that is allowed."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


class Sample:
    """Times of one command, in ms, its children's included in that of the processor; its peak memory, and how many programs it
    executes, each in a run of its own."""

    def __init__(self, name, command, prepare=None, environment=None, **popen):
        self.name = name
        self.command = command
        self.prepare = prepare
        self.environment = {**os.environ, **(environment or {})}
        self.popen = popen
        self.times, self.processor = [], []

    def once(self):
        if self.prepare:
            self.prepare()
        command = self.command() if callable(self.command) else self.command
        before, start = children_time(), time.perf_counter()
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.popen)
        output = process.stdout.read()
        process.wait()
        spent = time.perf_counter() - start
        process.stdout.close()
        if process.returncode != 0:
            raise RuntimeError(f"{self.name} exited with {process.returncode}: {output.decode(errors='replace')[-300:]}")
        self.times.append(spent * 1000)
        self.processor.append((children_time() - before) * 1000)
        return output

    @property
    def median(self):
        return statistics.median(self.times)

    def spread(self):
        """For a busy machine: what it takes when left alone, and what it has to compute."""
        return f"least {min(self.times):.1f}, processor {statistics.median(self.processor):.1f}"

    def under(self, *wrapper):
        if self.prepare:
            self.prepare()
        command = self.command() if callable(self.command) else self.command
        return subprocess.run([*wrapper, *command], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, **self.popen)

    def memory(self):
        """Peak resident size in MiB."""
        return int(self.under(str(BUILD / "tests/tools/peak-memory")).stdout) / 1024

    def programs(self):
        """Successful execve calls of one run."""
        done = self.under("strace", "-f", "-qq", "-e", "trace=execve", "-e", "status=successful")
        return done.stderr.decode(errors="replace").count("execve(")


def in_turns(samples, rounds):
    for sample in samples:  # once for the caches
        sample.once()
        sample.times.clear()
        sample.processor.clear()
    for _ in range(rounds):
        for sample in samples:
            sample.once()


def title(words):
    print(f"\n{words}", flush=True)


def row(what, value, note=""):
    print(f"  {what:<58} {value:>14}  {note}".rstrip(), flush=True)


def goal(value, limit, unit=""):
    return f"goal {limit}{unit}: {'met' if value <= limit else 'NOT met'}"
