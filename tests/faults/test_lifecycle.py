"""Stopping: what runs, what is new, what hangs, and by which status the process ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    PATIENCE_SECONDS,
    ROOT,
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    redis_process,
    redis_server,
    send,
    stream,
)
from tests.support.provider_faults import DONE, GATE, HANG, ask_and_wait, eventually, last_error
from tests.support.raw import Wire, head
from tests.support.starts import PIPES, started

CLEAN, CALLS_WERE_CUT = 0, 3
FIRST = event("whole")
LAST = event("end", "stop")
BUSY_MACHINE_SECONDS = 5.0
NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.02}


# who may read everything, since a developer's Python often lies in a home, and write nothing


@contextmanager
def gateway_draining(directory: Path, provider: ProviderProcess, seconds: float) -> Iterator[GatewayProcess]:
    rows = {"primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY}}
    with gateway_process(directory, {"providers": rows, "server": {"drain_seconds": seconds}}) as process:
        yield process


def test_P_07_a_stop_that_load_balancers_are_to_notice_first(
    directory: Path, provider: ProviderProcess, model: str
) -> None:
    """SIGTERM with `server.drain_delay_seconds`.

    Happens: calls are still taken during the delay.

    Seen: `/health/ready` is 503 at once; exit status 0.
    """
    rows = {"primary": {"base_url": provider.base_url("primary")}}
    server = {"drain_seconds": 5, "drain_delay_seconds": 3}
    with gateway_process(directory, {"providers": rows, "server": server}) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: draining(gateway), "not ready any more")

        response = gateway.chat(f"primary/{model}")

        assert response.status_code == 200
        assert gateway.process.wait(PATIENCE_SECONDS) == 0


def draining(gateway: GatewayProcess) -> bool:
    """Asked on a connection of its own: one that was kept may be closed at this very moment."""
    return httpx.get(f"{gateway.url}/health/ready", trust_env=False).status_code == 503


def test_P_07_a_stop_while_a_stream_runs(directory: Path, provider: ProviderProcess, model: str) -> None:
    """SIGTERM while a stream runs and another connection is kept idle; then a new call, then the stream's end.

    Happens: the stream ends as it would have; the new call is refused with 503 `shutting_down`, and the idle connection
    is closed at once.

    Seen: `/health/ready` 503, `/health/live` 200, `retry-after` and `connection: close` on refusals; the log has the
    stream as `ok`; exit status 0.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    question = {"model": f"primary/{model}", "messages": [], "stream": True}

    with gateway_draining(directory, provider, seconds=60) as gateway, Wire(gateway.port) as idle:
        idle.send(head(gateway.port, method="GET", path="/health/live"))
        assert idle.answer().status_code == 200
        with gateway.client.stream("POST", "/v1/chat/completions", json=question) as running:
            pieces = running.iter_raw()
            said = next(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            assert idle.is_closed()
            eventually(lambda: draining(gateway), "not ready any more")
            new = httpx.post(f"{gateway.url}/v1/chat/completions", json=question | {"stream": False}, trust_env=False)
            live = httpx.get(f"{gateway.url}/health/live", trust_env=False)
            provider.open(model)
            said += b"".join(pieces)
        ended = gateway.process.wait(PATIENCE_SECONDS)

    assert said == FIRST + LAST + DONE
    assert (new.status_code, new.headers["x-signalbox-error"]) == (503, "shutting_down")
    assert (new.json()["error"]["type"], new.json()["error"]["code"]) == ("overloaded_error", "shutting_down")
    assert int(new.headers["retry-after"]) > 0
    assert new.headers["connection"] == "close"
    assert live.status_code == 200
    assert ended == 0
    assert len(provider.seen(model)["requests"]) == 1
    (line,) = gateway.log_of(running.headers["x-request-id"])
    assert line["status"] == "ok"


@pytest.mark.parametrize("callers", [1, 3])
def test_P_07_a_stream_that_does_not_end_in_time(
    directory: Path, provider: ProviderProcess, model: str, callers: int
) -> None:
    """SIGTERM while one or several callers share a stream that never ends.

    Happens: after `server.drain_seconds` it is cut, and the provider hung up on.

    Seen: the stream's last event is the error `cancelled_by_shutdown`, which the log has too; exit status 3.
    """
    provider.script(model, stream(FIRST, NEVER))

    with gateway_draining(directory, provider, seconds=0.5) as gateway, ThreadPoolExecutor() as threads:
        asked = [threads.submit(gateway.chat, f"primary/{model}", stream=True) for _ in range(callers)]
        eventually(lambda: active(gateway) == callers, "all have asked")
        gateway.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
        ended = gateway.process.wait(PATIENCE_SECONDS)

    for each in answers:
        assert each.content.startswith(FIRST)
        error = last_error(each)
        assert (error["type"], error["code"]) == ("overloaded_error", "cancelled_by_shutdown")
        (line,) = gateway.log_of(each.headers["x-request-id"])
        assert line["status"] == "cancelled_by_shutdown"
    assert ended == CALLS_WERE_CUT
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")


@pytest.mark.parametrize("callers", [1, 3])
def test_P_07_a_provider_that_never_answers(
    directory: Path, provider: ProviderProcess, model: str, callers: int
) -> None:
    """SIGTERM while one or several callers wait for a provider that never answers.

    Happens: after `server.drain_seconds` they are told.

    Seen: 503 `cancelled_by_shutdown`; exit status 3.
    """
    provider.script(model, [HANG])

    with gateway_draining(directory, provider, seconds=0.5) as gateway, ThreadPoolExecutor() as threads:
        asked = [threads.submit(gateway.chat, f"primary/{model}") for _ in range(callers)]
        eventually(lambda: active(gateway) == callers, "all have asked")
        gateway.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
        ended = gateway.process.wait(PATIENCE_SECONDS)

    for each in answers:
        assert (each.status_code, each.headers["x-signalbox-error"]) == (503, "cancelled_by_shutdown")
        assert each.json()["error"]["code"] == "cancelled_by_shutdown"
        assert each.headers["retry-after"] == "5"
    attempts = [each.headers.get("x-signalbox-attempts") for each in answers]
    assert set(attempts) - {None} == {"primary:cancelled_by_shutdown"}  # who shares an answer has made none
    assert ended == CALLS_WERE_CUT


def active(gateway: GatewayProcess) -> float:
    return sum(gateway.metric("llm_active_requests", provider=name) for name in ("none", "primary"))


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_P_07_a_second_signal(directory: Path, provider: ProviderProcess, model: str, again: signal.Signals) -> None:
    """SIGTERM, and while a stream is waited for SIGTERM or SIGINT once more.

    Happens: what runs is cut at once, and still told and settled.

    Seen: the error event and the log line say `cancelled_by_shutdown`; exit status 3.
    """
    provider.script(model, stream(FIRST, HANG))

    with gateway_draining(directory, provider, seconds=600) as gateway, ThreadPoolExecutor() as threads:
        asked = threads.submit(gateway.chat, f"primary/{model}", stream=True)
        eventually(lambda: active(gateway) == 1, "it runs")
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: draining(gateway), "it drains")
        gateway.process.send_signal(again)
        ended = gateway.process.wait(PATIENCE_SECONDS)
        response = asked.result()

    assert ended == CALLS_WERE_CUT
    assert last_error(response)["code"] == "cancelled_by_shutdown"
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert line["status"] == "cancelled_by_shutdown"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_P_07_an_idle_gateway(directory: Path, provider: ProviderProcess, sig: signal.Signals) -> None:
    """SIGTERM or SIGINT while nothing runs.

    Happens: it ends at once, however long a drain may take.

    Seen: exit status 0, not that of a signal.
    """
    with gateway_draining(directory, provider, seconds=600) as gateway:
        assert gateway.stop(sig) == CLEAN


@pytest.mark.skipif(redis_server() is None, reason="redis-server is not installed")
def test_P_07_a_stop_while_everything_around_it_hangs(directory: Path, provider: ProviderProcess, model: str) -> None:
    """SIGTERM while a provider does not answer, a caller reads nothing, Redis and the collector of traces hang, and the
    disk of the log is full.

    Happens: none of them delays the end beyond `server.drain_seconds` and 5 s.

    Seen: exit status 3; standard error says that lines are lost.
    """
    flood = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST) * 2000, FIRST * 2000))["send"], "every": 0.001}
    provider.script(model, stream(FIRST, flood))
    provider.script(f"{model}-silent", [HANG])
    with (
        redis_process(directory) as (redis, url),
        socket.create_server(("127.0.0.1", 0)) as collector,
        ThreadPoolExecutor() as threads,
    ):
        config = {
            "providers": {"primary": {"base_url": provider.base_url("primary")}},
            "server": {"drain_seconds": 1},
            "log": {"file": "/dev/full"},
            "cache": {"url": url},
            "telemetry": {"endpoint": f"http://127.0.0.1:{collector.getsockname()[1]}", "timeout_seconds": 60},
        }
        with gateway_process(directory, config) as gateway:
            for number in range(20):
                gateway.chat("primary/well", seed=number)
            reading_nothing = ask_and_wait(gateway, {"model": f"primary/{model}", "stream": True}, "deaf")
            silent = threads.submit(gateway.chat, f"primary/{model}-silent")
            eventually(lambda: active(gateway) == 2, "both run")
            redis.send_signal(signal.SIGSTOP)
            gateway.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            ended = gateway.process.wait(PATIENCE_SECONDS)
            took = time.monotonic() - begun
            silent.exception()
            reading_nothing.close()

    assert ended == CALLS_WERE_CUT
    assert took < 1 + 5 + BUSY_MACHINE_SECONDS
    assert "log lines are lost" in (directory / "err").read_text()


@pytest.mark.slow
def test_P_07_a_stop_that_hangs_itself(directory: Path) -> None:
    """SIGTERM to a process whose event loop is blocked for good as soon as it has drained.

    Happens: a thread that waits for nobody ends the process 4.5 s after the drain.

    Seen: a last line in the log, `the stop hangs`; exit status 3.
    """
    code = (
        "import time, sys; from app.life import Life\n"
        "async def end(self): time.sleep(60)\n"
        "Life.end = end\n"
        "from app.cli import main; main(['serve', '--port', '0'])"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=directory, env=environ, **PIPES) as process:
        said = started(process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == CALLS_WERE_CUT, said
    assert "the stop hangs" in out


@pytest.mark.skipif(redis_server() is None, reason="redis-server is not installed")
def test_P_07_answers_on_their_way_to_the_cache(directory: Path, provider: ProviderProcess, model: str) -> None:
    """SIGTERM right after 50 calls whose answers are to be stored in Redis.

    Happens: all of them are stored before the end.

    Seen: another process finds every one of them: `x-signalbox-cache: hit`.
    """
    rows = {"primary": {"base_url": provider.base_url("primary")}}
    with redis_process(directory) as (_, url):
        config = {"providers": rows, "cache": {"url": url, "timeout_seconds": PATIENCE_SECONDS}}
        with gateway_process(directory / "one", config) as gateway:
            for number in range(50):
                gateway.chat(f"primary/{model}", seed=number)
            assert gateway.stop() == CLEAN
        with gateway_process(directory / "two", config) as gateway:
            found = {gateway.chat(f"primary/{model}", seed=n).headers["x-signalbox-cache"] for n in range(50)}

    assert found == {"hit"}
