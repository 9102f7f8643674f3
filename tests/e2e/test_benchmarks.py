"""The benchmarks run: every load, without errors, into a table. How fast is never asserted."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.generator import compiler
from benchmarks.lives import LIFE, WORKERS
from benchmarks.loads import LOADS
from benchmarks.results import Results
from tests.support.processes import ROOT, redis_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="mock and load generator speak epoll"),
    pytest.mark.skipif(compiler() is None, reason="no C compiler"),
]
BRIEF = ["--seconds", "0.2", "--rounds", "1", "--requests", "100"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_every_load_runs_without_errors_and_is_in_the_table(tmp_path: Path) -> None:
    done = bench(*BRIEF, "--scratch", str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    results = msgspec.json.decode((tmp_path / "own.json").read_bytes(), type=Results)
    assert [note for note in results.notes if note.error] == []
    (figures,) = results.rounds
    expected = {f"{load} signalbox" for load in (LIFE, WORKERS, *(each.name for each in LOADS))}
    expected |= {f"{each.name} direct" for each in LOADS if not each.hits}
    expected |= {"hit-1k signalbox-redis"} if redis_server() else set()
    expected |= {f"{load} signalbox-uncounted" for load in ("json-1k", "stream-paced")}
    assert expected - {where for where, each in figures.items() if each} == set()
    for load in LOADS:
        assert f"### {load.title}" in done.stdout
    assert "| JSON 1 KB, CPU for a request | **" in done.stdout


def test_nothing_it_started_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "benchmarks", "--scratch", str(tmp_path), "--loads", "json-1k"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("round"):
                break
        started = children(process.pid)
        process.terminate()
        process.stderr.read()

    assert started
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    assert process.returncode == 128 + 15


def test_an_unknown_load_is_named() -> None:
    done = bench("--loads", "json-2k")

    assert done.returncode == 1
    assert "no such load: json-2k" in done.stderr


def children(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
