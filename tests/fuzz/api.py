"""schemathesis against `/openapi.json` of a real gateway: `python -m tests.fuzz.api --seconds 300`.

Every operation, with a key that is held or one nobody holds; its report is what counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, GatewayProcess, gateway_process, provider_process

KEY = "sk-valid-0123456789"
KEYS = {"valid": KEY, "invalid": "sk-invalid-0123456789"}
BAD_LINES = ("unhandled error", "the application failed", "could not be made", "Traceback")
GRACE_SECONDS = 120


@contextmanager
def keyed_gateway(directory: Path) -> Iterator[GatewayProcess]:
    """One key, and a provider that answers whatever it is asked."""
    with provider_process() as provider:
        row = {"base_url": provider.base_url("primary"), "api_key": "sk-provider-secret-0123456789"}
        config = {
            "providers": {"primary": row},
            "keys": {"alice": {"key": KEY}},
            "server": {"wrong_keys_per_minute": 0},
        }
        with gateway_process(directory, config) as gateway:
            yield gateway


def run(gateway: GatewayProcess, key: str, *, seconds: int, directory: Path, arguments: tuple[str, ...] = ()) -> Any:
    """The report of one run, its text beside it."""
    report = directory / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--max-time", str(seconds), "--checks", "all"]
    command += ["--continue-on-failure", "--no-color", "--report", "json", "--report-json-path", str(report)]
    # of names for a path it throws away those that are none, now and then too many for its own taste
    command += ["--suppress-health-check", "filter_too_much"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.schemathesis_hooks"}
    done = subprocess.run(
        [*command, *arguments],
        cwd=directory,
        env=environ | hooks,
        capture_output=True,
        text=True,
        timeout=seconds + GRACE_SECONDS,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    return json.loads(report.read_text()) | {"text": done.stdout, "status": done.returncode}


def bad_lines(gateway: GatewayProcess) -> list[str]:
    """What the gateway's log says of failures that no caller could have caused."""
    return [line for line in gateway.log_text().splitlines() if any(each in line for each in BAD_LINES)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="for each of the two keys")
    asked = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as made:
        for name, key in KEYS.items():
            directory = Path(made) / name
            with keyed_gateway(directory) as gateway:
                report = run(gateway, key, seconds=asked.seconds, directory=directory)
                lines = bad_lines(gateway)
            print(
                f"{name} key: {report['test_cases']['generated']} cases, {len(report['failures'])} failures", flush=True
            )
            if report["status"] or lines:
                failed += 1
                print(report["text"], *lines, sep="\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
