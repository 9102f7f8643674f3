"""Checks of the operator's own: over real sockets, and from other packages."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import pytest

from app.domain.health import CheckStatus
from app.monitoring.health.base import Indicator
from app.monitoring.health.custom import HttpQuestion, Repeated, TcpQuestion
from app.monitoring.health.history import History
from app.monitoring.health.plugins import PythonCheck, python_checks
from app.monitoring.health.watch import Watch
from app.providers.upstream.lean import LeanUpstream
from app.settings import CheckSettings
from tests.support.metrics import made as made_metrics
from tests.support.processes import free_port

HEALTHY, DEGRADED, UNHEALTHY = CheckStatus.HEALTHY, CheckStatus.DEGRADED, CheckStatus.UNHEALTHY


async def found(indicator: Indicator) -> tuple[CheckStatus, str | None]:
    watch = Watch(indicator, History(made_metrics().health))
    task = watch.refresh()
    assert task is not None
    await task
    return watch.check.status, watch.check.reason


@asynccontextmanager
async def page(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers each request with the next of these, and the last for ever; its address, and the heads."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (head := await reader.read(65536)):
            writer.transport.abort()
            return
        said = answers[min(len(heads), len(answers) - 1)]
        heads.append(head)
        writer.write(said)
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def http(url: str, **fields: Any) -> Repeated:
    row = CheckSettings(url=url, **fields)
    return Repeated("x", row, HttpQuestion(row, LeanUpstream))


def tcp(address: str, **fields: Any) -> Repeated:
    row = CheckSettings(kind="tcp", address=address, **fields)
    return Repeated("x", row, TcpQuestion(row))


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\ncontent-length: 2\r\n\r\nhi".encode()


@pytest.mark.parametrize("line", ["200 OK", "204 No Content", "302 Found"])
async def test_a_page_that_answers_is_fine(line: str) -> None:
    async with page(status(line)) as (address, heads):
        assert await found(http(f"http://{address}/a/b?c=d")) == (HEALTHY, None)

    assert heads[0].startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
    assert b"host: " + address.encode() in heads[0].lower()


@pytest.mark.parametrize("line", ["404 Not Found", "500 Oops"])
async def test_a_page_that_answers_badly_is_not(line: str) -> None:
    async with page(status(line)) as (address, _):
        assert await found(http(f"http://{address}/")) == (UNHEALTHY, f"{address} answered {line[:3]}")


async def test_the_status_that_is_expected_is_the_only_one_that_is_fine() -> None:
    async with page(status("401 Unauthorized")) as (address, _):
        assert await found(http(f"http://{address}/", expect_status=(401, 403))) == (HEALTHY, None)
        assert (await found(http(f"http://{address}/", expect_status=(200,))))[0] is UNHEALTHY


async def test_it_is_asked_again_before_it_counts_as_failed() -> None:
    async with page(status("500 Oops"), status("500 Oops"), status("200 OK")) as (address, heads):
        assert await found(http(f"http://{address}/", retries=2)) == (HEALTHY, None)
        assert len(heads) == 3


async def test_who_never_answers_is_given_up_each_time() -> None:
    async with page(b"") as (address, heads):
        assert await found(http(f"http://{address}/", timeout_seconds=0.05, retries=1)) == (
            UNHEALTHY,
            "no answer within 0.05 s",
        )
        assert len(heads) == 2


async def test_nobody_there_is_said_in_our_words() -> None:
    address = f"127.0.0.1:{free_port()}"

    state, reason = await found(http(f"http://{address}/"))

    assert state is UNHEALTHY
    assert reason is not None
    assert reason.startswith(f"upstream_connect: could not reach {address}: ")


async def test_a_port_is_open_or_not() -> None:
    async with page(b"") as (address, _):
        assert await found(tcp(address)) == (HEALTHY, None)

    assert (await found(tcp(f"127.0.0.1:{free_port()}", retries=1)))[0] is UNHEALTHY


def python(function: Callable[[], Any], **fields: Any) -> PythonCheck:
    return PythonCheck("x", CheckSettings(kind="python", **fields), lambda: function)


async def _well() -> None:
    return None


async def _warns() -> str:
    return "soon"


async def _fails() -> None:
    raise ValueError("broken")


class AnObject:
    async def __call__(self) -> str:
        return "an object"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_well, (HEALTHY, None)),
        (_warns, (DEGRADED, "soon")),
        (_fails, (UNHEALTHY, "broken")),
        (lambda: None, (HEALTHY, None)),
        (lambda: "soon", (DEGRADED, "soon")),
        (lambda: 1 / 0, (UNHEALTHY, "division by zero")),
        (lambda: True, (UNHEALTHY, "returned bool, not a text or None")),
        (AnObject(), (DEGRADED, "an object")),
    ],
)
async def test_what_a_function_says(function: Callable[[], Any], expected: tuple[CheckStatus, str | None]) -> None:
    assert await found(python(function)) == expected


async def test_a_function_has_a_thread_and_a_coroutine_has_not() -> None:
    threads: list[str] = []

    async def here() -> None:
        threads.append(threading.current_thread().name)

    await found(python(lambda: threads.append(threading.current_thread().name)))
    await found(python(here))

    assert threads == ["custom:x", threading.main_thread().name]


async def test_a_function_that_answered_can_be_asked_again_while_its_thread_ends() -> None:
    gate = threading.Event()

    def linger(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is threading.Thread.run.__code__:
            gate.wait(30)

    def answers() -> str:
        sys.setprofile(linger)  # of this thread alone
        return "soon"

    check = python(answers)
    try:
        assert [await found(check), await found(check)] == [(DEGRADED, "soon")] * 2
        assert [each.name for each in threading.enumerate()].count(check.name) == 2
    finally:
        gate.set()


async def test_a_function_that_does_not_come_back_is_not_asked_again_until_it_does() -> None:
    gate, turns = threading.Event(), list[float]()

    def stuck() -> None:
        turns.append(time.monotonic())
        gate.wait(30)

    check = python(stuck, timeout_seconds=0.05)
    first = await found(check)
    second = await found(check)
    after_a_reload = await found(python(stuck, timeout_seconds=0.05))
    gate.set()
    async with asyncio.timeout(10):
        while await found(check) != (HEALTHY, None):  # noqa: ASYNC110 - a thread ends without a word
            await asyncio.sleep(0.01)

    assert first == (UNHEALTHY, "no answer within 0.05 s")
    assert second == after_a_reload == (UNHEALTHY, "has not come back from its last turn")
    assert len(turns) == 2


async def test_what_cannot_be_loaded_is_unhealthy_and_raises_nothing() -> None:
    def load() -> Any:
        raise ImportError("no module named acme")

    check = PythonCheck("x", CheckSettings(kind="python"), load)

    assert await found(check) == (UNHEALTHY, "could not be loaded: ImportError: no module named acme")
    assert (await found(PythonCheck("x", CheckSettings(kind="python"), lambda: 5)))[0] is UNHEALTHY


async def test_a_row_for_a_package_that_is_not_there_says_so() -> None:
    row = CheckSettings(kind="python", critical=True, interval_seconds=7)

    (check,) = python_checks({"nobody-has-this": row, "other": CheckSettings(url="http://x")})

    assert (check.name, check.critical, check.max_age) == ("custom:nobody-has-this", True, 7)
    state, reason = await found(check)
    assert state is UNHEALTHY
    assert reason is not None
    assert "no installed package has an entry point of this name" in reason
