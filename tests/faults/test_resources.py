"""What the process lives on runs out, or moves: descriptors, disk, the clock."""

import email.utils
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    stream,
)
from tests.support.provider_faults import DONE, GATE, HANG, eventually

FIRST, LAST = event("first"), event("last", "stop")
SPARE = 20
HOUR, DAY = 3600, 86400


@contextmanager
def crowd(gateway: GatewayProcess, count: int) -> Iterator[list[socket.socket]]:
    """So many connections on which nothing is said."""
    with ExitStack() as stack:
        address = ("127.0.0.1", gateway.port)
        yield [stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(count)]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux changes the limits of another process")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("client", ["lean", "httpx"])
def test_P_19_no_descriptors_left(
    directory: Path, provider: ProviderProcess, model: str, client: str, host: str
) -> None:
    """The process comes to its limit of open files below the bound of callers' connections (here the limit is lowered
    while it runs), by a hundred silent connections, while a stream runs.

    Happens: what is too much is closed unanswered; the stream and calls on kept connections go on, and a call that
    would need another connection to its provider is 503 `overloaded`. The process does not spin. As soon as the
    silent ones have left it accepts again.

    Seen: `process_open_fds` beside `process_max_fds` with the alert `FileDescriptorsHigh`, the health check
    `descriptors_usage` degraded; no provider counts as down for it.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    row = {"models": ["m"], "upstream": client}
    rows = {name: row | {"base_url": provider.base_url(name).replace("127.0.0.1", host)} for name in ("one", "two")}
    config = {"providers": rows, "server": {"header_seconds": 600}, "health": {"probe": False}}
    with gateway_process(directory, config) as gateway:
        process = psutil.Process(gateway.process.pid)
        question = {"model": f"one/{model}", "messages": [], "stream": True}
        with (
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=PATIENCE_SECONDS) as caller,
            caller.stream("POST", "/v1/chat/completions", json=question) as running,
        ):
            pieces = running.iter_raw()
            said = next(pieces)
            gateway.client.get("/health")
            most = process.num_fds() + SPARE
            resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (most, most))
            with crowd(gateway, 100) as silent:
                eventually(lambda: process.num_fds() == most, "all are used up")
                busy = process.cpu_times()
                time.sleep(1)
                spent = sum(process.cpu_times()[:2]) - sum(busy[:2])
                refused = gateway.chat("two/other")
                eventually(lambda: descriptors(gateway)["status"] == "degraded", "health says so")
                providers = gateway.client.get("/health").json()["providers"]
                turned_away = sum(is_closed(each) for each in silent)
            provider.open(model)
            said += b"".join(pieces)
        eventually(lambda: process.num_fds() < most - SPARE / 2, "they have left")
        fresh = httpx.get(f"{gateway.url}/health/live", trust_env=False)
        again = gateway.chat("two/other")

    assert said == FIRST + LAST + DONE
    assert turned_away >= 100 - SPARE
    assert spent < 0.5
    assert (refused.status_code, refused.headers["x-signalbox-error"]) == (503, "overloaded")
    assert providers == {"one": True, "two": True}
    assert (fresh.status_code, again.status_code) == (200, 200)


FILES = 128
CALLERS = FILES - FILES // 4


def test_P_19_more_connections_than_callers_may_have(directory: Path, provider: ProviderProcess, model: str) -> None:
    """Silent connections take all that callers may have, three quarters of `ulimit -n`, and more come.

    Happens: those are closed unanswered, whatever they would ask; calls on kept connections reach their provider. As
    soon as the silent ones have left it accepts again.

    Seen: one line `connections are turned away` a minute, `http_connections_refused_total`, `http_connections` beside
    `http_connections_max` with the alerts `ConnectionsHigh` and `ConnectionsRefused`, the health check `connections`
    degraded, as it is before the first is turned away.
    """
    config = {"providers": {"one": {"base_url": provider.base_url("one")}}, "server": {"header_seconds": 600}}
    with gateway_process(directory, config, files=FILES) as gateway:
        assert gateway.metric("http_connections_max") == CALLERS
        assert gateway.metric("http_connections_refused_total") == 0
        kept = int(gateway.metric("http_connections"))
        with crowd(gateway, CALLERS - kept) as silent:
            eventually(lambda: gateway.metric("http_connections") == CALLERS, "all have been taken")
            eventually(lambda: crowded(gateway)["status"] == "degraded", "health says so")
            full = crowded(gateway)["reason"]
            with crowd(gateway, 5) as surplus:
                eventually(lambda: all(is_closed(each) for each in surplus), "they are turned away")
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{gateway.url}/health", trust_env=False)
            refused = gateway.metric("http_connections_refused_total")
            eventually(lambda: "turned away" in crowded(gateway)["reason"], "health says so")
            answer = gateway.chat(f"one/{model}")
            assert not any(is_closed(each) for each in silent)
        eventually(lambda: gateway.metric("http_connections") <= kept, "they have left")
        fresh = httpx.get(f"{gateway.url}/health/live", trust_env=False)
        lines = [line for line in gateway.log() if "turned away" in line["event"]]

    assert full == f"100% of the {CALLERS} there may be are open; the threshold is 90%"
    assert refused == 6
    assert (answer.status_code, fresh.status_code) == (200, 200)
    assert [(line["level"], line["most"], line["refused"]) for line in lines] == [("warning", CALLERS, 1)]


def crowded(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get("/health").json()["checks"]["connections"]
    return found


def descriptors(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get("/health").json()["checks"]["descriptors_usage"]
    return found


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_P_18_a_disk_that_is_full(directory: Path, provider: ProviderProcess, model: str) -> None:
    """The log's disk is full from the start.

    Happens: lines are lost, calls are not, and the stop is an ordinary one.

    Seen: `llm_log_lines_dropped_total` with an alert, and once a minute a line on standard error.
    """
    rows = {"one": {"base_url": provider.base_url("one")}}
    with gateway_process(directory, {"providers": rows}, environ={"LOG_FILE": "/dev/full"}) as gateway:
        statuses = {gateway.chat(f"one/{model}", seed=number).status_code for number in range(100)}
        eventually(lambda: gateway.metric("llm_log_lines_dropped_total") > 100, "the lost are counted")
        assert gateway.stop() == 0

    assert statuses == {200}
    said = [line for line in (directory / "err").read_text().splitlines() if line.startswith("signalbox:")]
    assert said == ["signalbox: log lines are lost: /dev/full: No space left on device"]


def libfaketime() -> str:
    """The library that makes a process believe another time; empty where it is not installed."""
    if shutil.which("faketime") is None:
        return ""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""


@pytest.mark.parametrize(("jump", "seconds"), [("-2h", -2 * HOUR), ("+3d", 3 * DAY)])
def test_P_20_a_clock_that_jumps(
    directory: Path, provider: ProviderProcess, model: str, jump: str, seconds: int
) -> None:
    """The clock of the machine is put back by two hours, or forward by three days, while a stream runs.

    Happens: deadlines, waits and ages go by another clock, so none comes early or never: the stream runs on, a silent
    provider is given up as configured, idle connections stay. An answer in the cache is served or asked anew.

    Seen: `date` and the log have the new time; `/health` has the same `uptime` and no check has turned.
    """
    library = libfaketime()
    if not library:
        pytest.skip("libfaketime is not installed")
    offset = directory / "offset"
    offset.write_text("+0")
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    provider.script(f"{model}-silent", [HANG])
    environ = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    environ |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
    row = {"base_url": provider.base_url("one"), "timeouts": {"first_byte": 1.0}}
    config = {"providers": {"one": row}, "retry": {"max_retries": 0}}
    with gateway_process(directory, config, environ=environ) as gateway:
        stored = gateway.chat("one/stored")
        question = {"model": f"one/{model}", "messages": [], "stream": True}
        with gateway.client.stream("POST", "/v1/chat/completions", json=question) as running:
            pieces = running.iter_raw()
            said = next(pieces)
            uptime = gateway.client.get("/health").json()["uptime"]
            offset.with_name("new").write_text(jump)
            offset.with_name("new").replace(offset)
            eventually(lambda: abs(clock_of(gateway) - time.time() - seconds) < HOUR / 2, "it believes the new time")
            silent = gateway.chat(f"one/{model}-silent")
            again = gateway.chat("one/stored")
            report = gateway.client.get("/health?details").json()
            provider.open(model)
            said += b"".join(pieces)
        (line,) = gateway.log_of(again.headers["x-request-id"])
        assert gateway.stop() == 0

    assert said == FIRST + LAST + DONE
    assert (silent.status_code, silent.headers["x-signalbox-error"]) == (504, "upstream_timeout")
    assert stored.json() == again.json()
    assert again.headers["x-signalbox-cache"] in {"hit", "miss"}
    assert int(again.headers.get("age", 0)) >= 0
    assert uptime <= report["uptime"] < uptime + PATIENCE_SECONDS * 3
    assert not report["history"]
    assert abs(line["time"] - time.time() - seconds) < HOUR / 2


def clock_of(gateway: GatewayProcess) -> float:
    """Seconds since the epoch, as the gateway tells it."""
    date = gateway.client.get("/health/live").headers["date"]
    return email.utils.parsedate_to_datetime(date).timestamp()
