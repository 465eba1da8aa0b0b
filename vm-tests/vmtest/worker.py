# SPDX-License-Identifier: LGPL-2.1-or-later
"""worker.py FILE [--narrate]: run one scenario in the current directory. Exit status: 0, 1, or 77 for skipped.

The file `result` has the line that says what went wrong."""
import importlib.util
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from vmtest import Failure, Skip, disk, scenario  # noqa: E402


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    path = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = scenario.Scenario(path.stem, narrate="--narrate" in sys.argv[2:])
    status, result = 1, "interrupted"
    try:
        load(path).run(run)
        status, result = 0, "ok"
    except Skip as skip:
        status, result = 77, str(skip)
    except Failure as failure:
        result = f"{failure}, {failure.log or Path.cwd()}"
        Path("traceback.log").write_text(traceback.format_exc())
    except Exception as error:    # a mistake in the scenario: where, and what
        Path("traceback.log").write_text(traceback.format_exc())
        result = f"{type(error).__name__}: {error}, {Path('traceback.log').resolve()}"
    finally:
        run.stop()
        Path("result").write_text(result + "\n")
    if status == 0:
        disk.remove_all(".")
    return status


if __name__ == "__main__":
    sys.exit(main())
