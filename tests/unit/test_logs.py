"""Whoever logs in the process: one line, one form. As processes, because it is about what holds for a whole one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import asyncio, gc, io, logging, sys, threading, warnings
import structlog
from app import logs
from app.monitoring.lines import WholeLines
from app.monitoring.writer import LineWriter
from app.settings import LogSettings
logs.configure(
    LogSettings(level="{level}", format="{style}"),
    writer=LineWriter(WholeLines(io.FileIO(1, "wb"))),
    clean=lambda line: line.replace("sk-of-ours", "***"),
)
"""


def process(script: str, *, level: str = "info", style: str = "json") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", BEGIN.format(level=level, style=style) + script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def lines_of(script: str, level: str = "info") -> list[dict[str, Any]]:
    done = process(script, level=level)
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "script",
    [
        "structlog.get_logger('x').warning('said', number=5)",
        "logging.getLogger('x').warning('said', extra={'number': 5})",
        "logging.getLogger('x').warning('%s', 'said', extra={'number': 5})",
    ],
)
def test_a_line_is_the_same_whoever_writes_it(script: str) -> None:
    (line,) = lines_of(script)

    assert line.pop("time") > 1e9
    assert list(line.items()) == [("level", "warning"), ("event", "said"), ("logger", "x"), ("number", 5)]


@pytest.mark.parametrize(
    ("script", "event", "exception"),
    [
        ("raise ValueError('no\\nway')", "the process ends: nobody caught an exception", "ValueError: no\nway"),
        (
            "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
            "a thread ended: nobody caught an exception",
            "ZeroDivisionError: division by zero",
        ),
        (
            "class Odd:\n    def __del__(self):\n        raise KeyError('odd')\nOdd()",
            "an exception could not be raised",
            "KeyError: 'odd'",
        ),
        (
            "async def fail():\n    raise OSError('lost')\n"
            "async def main():\n"
            "    task = asyncio.create_task(fail()); await asyncio.sleep(0); del task; gc.collect()\n"
            "asyncio.run(main())",
            "Task exception was never retrieved",
            "OSError: lost",
        ),
    ],
    ids=["process", "thread", "finalizer", "task"],
)
def test_what_nobody_caught_is_one_line(script: str, event: str, exception: str) -> None:
    (line,) = lines_of(script)

    assert line["event"].startswith(event)
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith(exception)
    assert line["level"] in {"error", "critical"}


def test_an_end_by_an_exception_is_said_on_standard_error_too() -> None:
    done = process("raise ValueError('no\\nway')")

    assert done.returncode == 1
    assert done.stderr == "signalbox: ValueError: no\\nway (the log has more)\n"


def test_ctrl_c_ends_as_it_always_did() -> None:
    done = process("raise KeyboardInterrupt")

    assert done.stdout == ""
    assert done.stderr.endswith("KeyboardInterrupt\n")


def test_warnings_are_lines() -> None:
    (line,) = lines_of("warnings.warn('old ways', UserWarning)")

    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: old ways" in line["event"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_arguments_that_do_not_fit_cost_no_traceback(style: str) -> None:
    done = process("logging.getLogger('x').error('%d', 'text')", style=style)

    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "a line could not be made" in done.stdout
    assert "%d" in done.stdout


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["ours debug", "ours info", "library info", "uvicorn info", "library error", "httpx error"]),
        ("info", ["ours info", "library info", "library error", "httpx error"]),
        ("warning", ["library error", "httpx error"]),
        ("critical", []),
    ],
)
def test_levels_and_that_no_library_says_what_it_says_when_debugged(level: str, said: list[str]) -> None:
    script = """
logging.getLogger("signalbox.x").debug("ours debug")
logging.getLogger("app.x").info("ours info")
logging.getLogger("hpack.hpack").debug("Adding (b'authorization', b'Bearer secret') to the header table")
logging.getLogger("httpcore").info("httpcore info")
logging.getLogger("library").info("library info")
logging.getLogger("uvicorn.error").info("uvicorn info")
logging.getLogger("library").error("library error")
logging.getLogger("httpx").error("httpx error")
"""

    assert [line["event"] for line in lines_of(script, level)] == said


def test_for_people_nothing_local_is_shown_of_an_exception_and_nothing_is_obeyed() -> None:
    script = """
def fail(key):
    raise ValueError("no\\r\\n00:00:00 [info     ] forged \\x1b[2J")
try:
    fail("sk-" + "secret")
except ValueError:
    structlog.get_logger("x").exception("failed\\n00:00:00", model="\\x1b[31m")
"""
    done = process(script, style="console")

    first, *below = done.stdout.splitlines()
    assert first.endswith(r"[error    ] failed\n00:00:00               [x] model=\x1b[31m")
    assert below[-1] == r"    00:00:00 [info     ] forged \x1b[2J"
    assert all(line.startswith("    ") for line in below)
    assert "sk-secret" not in done.stdout
    assert "\x1b" not in done.stdout


def test_the_last_words_of_a_process_are_waited_for() -> None:
    done = process("for number in range(20_000): logging.getLogger('x').info('%d', number)")

    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == [str(n) for n in range(20_000)]


def test_what_fails_all_the_time_has_a_hundred_lines_a_second_and_none_of_our_secrets() -> None:
    script = """
import time
time.sleep(1 - time.monotonic() % 1)
for number in range(500):
    structlog.get_logger("x").error("failed", number=number, key="sk-of-ours")
    logging.getLogger("x").warning("%d is odd", number)
try:
    raise ValueError("http://me:sk-of-ours@host")
except ValueError:
    logging.getLogger("x").exception("other")
time.sleep(1.05 - time.monotonic() % 1)
structlog.get_logger("x").error("failed", number=-1)
logging.getLogger("x").warning("%d is odd", -1)
"""
    lines = lines_of(script)

    of_one, of_other = ([line for line in lines if end in line["event"]] for end in ("failed", "odd"))
    for found in (of_one, of_other):
        assert 100 < len(found) < 500
        assert len(found) + sum(line.get("left_out", 0) for line in found) == 501
    assert [line for line in lines if "sk-of-ours" in str(line)] == []
    assert any("http://me:***@host" in line.get("exception", "") for line in lines)
