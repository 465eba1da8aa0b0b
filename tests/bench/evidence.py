# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proven boot on the server's side: processor time of one core, beside OpenSSL's for the signature alone, in the same run."""
import subprocess

from services import BUILD
from table import goal, row, title, undisturbed


def measure(rounds):
    """{step: (median, least)} in microseconds."""
    done = subprocess.run([BUILD / "tests/tools/bench-evidence", str(rounds)], stdout=subprocess.PIPE, text=True, check=True)
    return {name: (float(median), float(least)) for name, median, least in (line.split() for line in done.stdout.splitlines())}


def line(name, step, note=""):
    row(name, f"{step[0] / 1000:.3f} ms, {1e6 / step[0]:,.0f} a second", note or f"least {step[1] / 1000:.3f}")


def run(rounds):
    with undisturbed():
        steps = measure(max(rounds * 3, 30))
    title("Evidence verified, one core")
    line("quote and value sets", steps["sets"])
    line("quote, policy, event log of 50 KB", steps["log"], goal(steps["log"][0] / 1000, 0.45, " ms"))
    line("IMA list of 10,000 lines, each allowed by digest", steps["list"], goal(steps["list"][0] / 1000, 15, " ms"))
    line("OpenSSL: P-256 verify with a key that is there", steps["openssl"])
    line("the request's JSON", steps["json"])
    row("quote and value sets / OpenSSL", f"{steps['sets'][0] / steps['openssl'][0]:.2f}")
