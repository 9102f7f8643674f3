"""`python -m tests.fuzz --seconds 300 [target…]`: every target for so long, as many at once as there are cores."""

import argparse
import importlib
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

ROUND = 3000
GRACE_SECONDS = 600
HOW = """The smallest input that fails: {last}
To see it again: python -m pytest tests/fuzz -k {function} (Hypothesis has kept it in .hypothesis)
To keep it: add its bytes as a line to tests/fuzz/corpus/{target}.txt"""


def targets() -> dict[str, Any]:
    """Every target by its name, which is that of its seeds and of its test."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.fuzz.{file.stem}")
        for each in vars(module).values():
            if hasattr(each, "fuzz_target"):
                found[f"{each.fuzz_target}:{each.__name__.removeprefix('test_')}"] = each
    return found


def work(name: str, seconds: float) -> int:
    """Rounds of one target until the time is over; the last line says how many inputs that were."""
    test = targets()[name]
    inner, count, last = test.hypothesis.inner_test, 0, {}

    def counted(**arguments: Any) -> None:
        nonlocal count, last
        count += 1
        try:
            inner(**arguments)
        except Exception:
            last = arguments
            raise

    test.hypothesis.inner_test = counted
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            test()
    except BaseException:  # noqa: BLE001 - whatever it is, it is what was looked for
        traceback.print_exc()
        print(HOW.format(function=test.__name__, target=test.fuzz_target, last=last), file=sys.stderr)
        print(f"{name}: failed after {count:,} inputs")
        return 1
    print(f"{name}: {count:,} inputs, no failure")
    return 0


def started(name: str, seconds: float) -> int:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--work", name]
    environ = os.environ | {"FUZZ_EXAMPLES": str(ROUND)}
    patience = seconds + GRACE_SECONDS
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=patience, check=False)
    print(done.stdout.strip(), *([done.stderr] if done.returncode else []), sep="\n", flush=True)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--list", action="store_true", help="say which targets there are")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", help="words of their names; none: all")
    asked = parser.parse_args()
    if asked.work:
        return work(asked.work, asked.seconds)
    names = [name for name in targets() if not asked.targets or any(each in name for each in asked.targets)]
    if asked.list or not names:
        print(*names, sep="\n")
        return 0 if names else 2
    with ThreadPoolExecutor(asked.jobs) as pool:
        failed = sum(pool.map(lambda name: started(name, asked.seconds), names))
    print(f"{len(names)} targets, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
