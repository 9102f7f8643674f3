"""Signals that come while the process is still starting."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_SECONDS, ROOT
from tests.support.provider_faults import eventually
from tests.support.starts import PIPES, started

MOMENTS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2]
"""Seconds after our first lines ran; how far the start has come by then is the machine's affair."""
LINE = "signalbox: stopped before it had started\n"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which signals a process catches")


def starting(directory: Path, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    """A gateway whose first lines have run: before them there is nothing of ours that could hear a signal."""
    directory.mkdir(exist_ok=True)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=directory, env=environ, stdin=stdin, **PIPES)
    eventually(lambda: process.poll() is not None or catches(process.pid, signal.SIGHUP), "it listens for signals")
    return process


def catches(pid: int, sig: int) -> bool:
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (sig - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_P_07_a_stop_of_what_has_not_started(tmp_path: Path, sig: signal.Signals) -> None:
    """SIGTERM or SIGINT at several moments of the start, its imports among them, from our first line on.

    Happens: it ends at once. Where the server had taken over it ends as always.

    Seen: exit status 0, not that of a signal; a line `stopped before it had started`, or the log's `stopped`.
    """
    for number, moment in enumerate(MOMENTS):
        with starting(tmp_path / str(number)) as process:
            time.sleep(moment)
            process.send_signal(sig)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)

        assert process.returncode == 0, (moment, out, err)
        early, late = err.endswith(LINE), '"event":"stopped"' in out.replace(" ", "")
        assert early != late, (moment, out, err)


def test_P_07_a_hang_up_of_what_has_not_started(tmp_path: Path) -> None:
    """SIGHUP, as who has changed the configuration sends it, again and again from our first line on.

    Happens: it starts as if there had been none.

    Seen: the banner, and then an address that answers.
    """
    with starting(tmp_path) as process:
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        said = started(process)
        process.terminate()
        ended = process.wait(PATIENCE_SECONDS)

    assert LINE not in said
    assert ended == 0


def test_P_07_a_terminal_that_closes_before_the_start(tmp_path: Path) -> None:
    """A gateway is started on a terminal, which closes at once.

    Happens: it ends, and does not live on unseen.

    Seen: exit status 0; a line `stopped before it had started`.
    """
    ours, its = os.openpty()
    with starting(tmp_path, stdin=its) as process:
        os.close(its)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, err) == (0, LINE)
