"""The log of a running gateway: complete, one form, and nobody's way to stop it or to forge it."""

import json
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, free_port, gateway_process

pytestmark = pytest.mark.e2e

PATIENCE_SECONDS = 20.0
CALLERS = 8
KILOBYTES_64 = 64 * 1024
UNCACHED = {"cache": {"enabled": False}}
FORGED = '{"event":"forged"}'


def ask_often(gateway: GatewayProcess, times: int) -> list[str]:
    """Request ids of so many calls, eight at a time; a client of httpx is not for several threads."""
    question = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}

    def asked(count: int) -> list[httpx.Response]:
        with httpx.Client(base_url=gateway.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            return [client.post("/v1/chat/completions", json=question) for _ in range(count)]

    with ThreadPoolExecutor(CALLERS) as pool:
        counts = [(times + place) // CALLERS for place in range(CALLERS)]
        answers = [answer for found in pool.map(asked, counts) for answer in found]
    assert {each.status_code for each in answers} == {200}
    return [each.headers["x-request-id"] for each in answers]


def lines_in(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def calls_in(*files: Path) -> list[str]:
    return [line["request_id"] for line in lines_in(*files) if line["event"] == "call"]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_file_that_is_rotated_under_traffic_loses_no_line(directory: Path) -> None:
    logs = directory / "not" / "there" / "yet"
    config = UNCACHED | {"log": {"file_max_bytes": KILOBYTES_64, "file_backups": 1000, "level": "debug"}}
    with gateway_process(directory, config, environ={"LOG_FILE": str(logs / "app.log")}) as gateway:
        asked = ask_often(gateway, 1500)
        assert f"  log        {logs / 'app.log'}\n" in gateway.banner
        assert gateway.stop() == 0
        assert gateway.log_text() == ""

    files = list(logs.iterdir())
    assert len(files) > 5
    assert {file.name for file in files} == {"app.log", *(f"app.log.{number}" for number in range(1, len(files)))}
    assert max(file.stat().st_size for file in files) <= KILOBYTES_64
    assert sorted(calls_in(*files)) == sorted(asked)
    selected = [line["request_id"] for line in lines_in(*files) if line["event"] == "selection"]
    assert sorted(selected) == sorted(asked)
    assert lines_in(logs / "app.log")[-1]["event"].startswith("Finished server process")


def test_only_so_many_files_are_kept_and_none_too_old(directory: Path) -> None:
    old = time.time() - 3 * 86400
    for name in ("app.log.2", "app.log.4", "app.log.5"):
        (directory / name).write_text("old\n")
        os.utime(directory / name, (old, old))
    log = {"file": "app.log", "file_max_bytes": KILOBYTES_64, "file_backups": 3, "file_retention_days": 2}
    with gateway_process(directory, UNCACHED | {"log": log}) as gateway:
        until(lambda: not list(directory.glob("app.log.*")))
        ask_often(gateway, 1300)
        assert gateway.stop() == 0

    assert {file.name for file in directory.glob("app.log*")} == {"app.log", "app.log.1", "app.log.2", "app.log.3"}


def test_a_file_that_logrotate_moves_away_is_made_anew(directory: Path) -> None:
    file, moved = directory / "app.log", directory / "app.log-20200101"
    config = UNCACHED | {"log": {"file": str(file), "file_max_bytes": 0}}
    with gateway_process(directory, config) as gateway:
        before = gateway.chat("demo").headers["x-request-id"]
        until(lambda: before in file.read_text())
        file.rename(moved)
        after = ask_often(gateway, 20)
        until(lambda: file.exists() and len(calls_in(file)) == 20)

    assert calls_in(moved) == [before]
    assert sorted(calls_in(file)) == sorted(after)


def test_two_processes_may_share_a_file(directory: Path) -> None:
    file = directory / "app.log"
    config = UNCACHED | {"log": {"file": str(file), "file_max_bytes": KILOBYTES_64, "file_backups": 1000}}
    with gateway_process(directory / "a", config) as one, gateway_process(directory / "b", config) as two:
        with ThreadPoolExecutor(2) as pool:
            asked = list(chain.from_iterable(pool.map(lambda each: ask_often(each, 500), (one, two))))
        assert (one.stop(), two.stop()) == (0, 0)

    files = list(directory.glob("app.log*"))
    assert len(files) > 3
    assert sorted(calls_in(*files)) == sorted(asked)


def test_a_log_nobody_reads_stops_no_call_and_is_there_later(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    reader = os.open(directory / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with gateway_process(directory, UNCACHED, environ={"LOG_FILE": str(directory / "pipe")}) as gateway:
            asked = ask_often(gateway, 600)  # a pipe holds a third of their lines
            read = b""

            def all_read() -> bool:
                nonlocal read
                try:
                    read += os.read(reader, 1 << 20)
                except BlockingIOError:
                    return False
                return read.count(b'"call"') == len(asked)

            until(all_read)
    finally:
        os.close(reader)

    lines = [json.loads(line) for line in read.splitlines()]
    assert sorted(line["request_id"] for line in lines if line["event"] == "call") == sorted(asked)


def hostile(provider: ProviderProcess, model: str, directory: Path, *, style: str) -> str:
    """All that is written at level debug while callers and providers try to write lines of their own."""
    bad = f"\r\n{FORGED}\r\n\x1b[2J\x9b\u2028"
    rows = {name: {"base_url": provider.base_url(f"{model}-{name}"), "api_key": PROVIDER_KEY} for name in ("a", "b")}
    rows["gone"] = {"base_url": f"http://127.0.0.1:{free_port()}/v1"}
    routes = {"both": [f"a:{model}", f"b:{model}"]}
    config = {"providers": rows, "routes": routes, "keys": {"me": {"key": "k-caller-secret"}}}
    provider.script(f"models-of-{model}-a", answer({"error": {"message": bad}}, status="500 No"))
    provider.script(model, answer({"error": {"message": bad + PROVIDER_KEY}}, status="500 No"))
    environ = {"LOG_FORMAT": style, "DEBUG": "true"}
    with gateway_process(directory, config, environ=environ) as gateway:
        gateway.client.headers["authorization"] = "Bearer k-caller-secret"
        for name in ("both", f"a/{model}", f"gone/{model}", f"a/größe-東京-🙂-{model}", "a/" + "x" * 250, f"b/{bad}"):
            gateway.chat(name)
        gateway.chat("both", headers={"x-request-id": f"{FORGED}\t\x1b"})
        gateway.client.get("/v1/%0d%0a" + FORGED)
        gateway.client.get("/v1/models/%1b%5b2J%0a" + FORGED)
        gateway.chat("both", headers={"authorization": f"Bearer {FORGED}"})
        assert gateway.stop() == 0
        text = gateway.log_text()
    assert PROVIDER_KEY not in text
    assert "k-caller-secret" not in text
    return text


def test_at_level_debug_each_line_is_json_whatever_others_say(
    provider: ProviderProcess, model: str, directory: Path
) -> None:
    text = hostile(provider, model, directory, style="json")

    assert text.endswith("\n")
    written = text.removesuffix("\n").split("\n")
    assert [line for line in written if not line.isprintable()] == []
    lines = [json.loads(line) for line in written]
    assert all({"time", "level", "event"} <= set(line) for line in lines)
    assert {line["event"] for line in lines} >= {"call", "refused", "selection", "models not listed"}
    assert "forged" not in {line["event"] for line in lines}
    assert lines[0]["event"] == "configuration loaded"
    assert {name: lines[0][name] for name in ("providers", "routes", "keys")} == {
        "providers": 3,
        "routes": 1,
        "keys": 1,
    }
    assert {line["logger"] for line in lines if line["event"].startswith("Started server")} == {"uvicorn.error"}


def test_for_people_each_line_begins_with_its_time_whatever_others_say(
    provider: ProviderProcess, model: str, directory: Path
) -> None:
    text = hostile(provider, model, directory, style="console")

    written = text.removesuffix("\n").split("\n")
    assert [line for line in written if not line.isprintable()] == []
    assert [line for line in written if not re.match(r"\d\d:\d\d:\d\d |    ", line)] == []
    assert any("selection" in line and "candidates=" in line for line in written)


def test_a_choice_is_explained_at_level_debug(provider: ProviderProcess, model: str, directory: Path) -> None:
    rows = {name: {"base_url": provider.base_url(name)} for name in ("a", "b")}
    config = {
        "providers": rows,
        "routes": {"fast": [f"a:{model}", "b:other"]},
        "retry": {"backoff_seconds": 0.001, "max_retries": 1},
    }
    provider.script(model, answer({}, status="503 No"))
    with gateway_process(directory, config, arguments=["--log-level", "DEBUG"]) as gateway:
        request_id = gateway.chat("fast").headers["x-request-id"]
        gateway.stop()
        lines = [line for line in gateway.log() if line.get("request_id") == request_id]

    selections = [line for line in lines if line["event"] == "selection"]
    assert [(line["reason"], line["chosen"], line.get("failed")) for line in selections] == [
        ("route", f"a:{model}", None),
        ("retry", f"a:{model}", "upstream_error"),
        ("fallback", "b:other", "upstream_error"),
    ]
    assert selections[0]["candidates"] == [f"a:{model}", "b:other"]
    assert selections[0]["active"] == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("INFO", {"configuration loaded", "call", "refused", "stopped"}),
        ("Warn", set()),
        ("CRITICAL", set()),
    ],
)
def test_a_level_holds_for_every_line(directory: Path, level: str, events: set[str]) -> None:
    with gateway_process(directory, environ={"LOG_LEVEL": level, "DEBUG": "1"}) as gateway:
        assert "DEBUG does not count" in gateway.banner
        gateway.chat("demo")
        gateway.client.get("/nowhere")
        gateway.stop()
        lines = [line for line in gateway.log() if line["event"] != "configuration"]

    assert {line["event"] for line in lines} == events
