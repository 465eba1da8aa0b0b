# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a file's test functions: test_*, or those named on the command line (a part of the name will do). Prints TAP: a line for
each.
"""

import inspect
import os
import sys
import time
import traceback


class Skip(Exception):
    pass


def skip(why):
    raise Skip(why)


def expect(answer, status, problem=None):
    """An HTTP answer is what it has to be."""
    if answer.status != status or answer.problem != problem:
        raise AssertionError(f"expected {status} {problem or ''}, got {answer!r}")
    return answer


def refused(problem, call, *arguments, **keywords):
    """call raises Refused with that problem; returns the exception."""
    from node import Refused
    try:
        call(*arguments, **keywords)
    except Refused as error:
        if error.problem == problem:
            return error
        raise AssertionError(f"expected {problem}, got {error}") from error
    raise AssertionError(f"expected {problem}, but it was answered")


def main(setup=None):
    """setup: a context manager whose value goes to the cases that take an argument."""
    module = sys.modules["__main__"]
    cases = [(name, function) for name, function in vars(module).items() if name.startswith("test_")
             and inspect.isfunction(function)]
    if sys.argv[1:]:
        cases = [case for case in cases if any(word in case[0] for word in sys.argv[1:])]
    failed = skipped = 0
    context = value = broken = None
    print(f"1..{len(cases)}", flush=True)
    if setup and cases:
        try:
            context = setup()
            value = context.__enter__()
        except Exception as error:  # each case then says so
            broken = error
            print(f"# the set-up failed: {error}", flush=True)
    for number, (name, function) in enumerate(cases, 1):
        begin = time.monotonic()
        result, why = "ok", ""
        try:
            if broken:
                raise broken
            function(value) if inspect.signature(function).parameters else function()
        except Skip as error:
            skipped += 1
            why = f" # SKIP {error}"
        except Exception as error:
            failed += 1
            result, why = "not ok", f" # {type(error).__name__}: {error}".replace("\n", " ")[:600]
            traceback.print_exc()
        timed = f" ({time.monotonic() - begin:.1f} s)" if os.environ.get("TIMES") else ""
        print(f"{result} {number} - {name}{timed}{why}", flush=True)
    if context and not broken:
        context.__exit__(None, None, None)
    print(f"# {len(cases) - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    if cases and skipped == len(cases):
        sys.exit(77)
    sys.exit(1 if failed or not cases else 0)
