"""What a scrape costs a busy gateway, and how long it keeps the event loop from everything else.

Run it as `make scrape`. The gateway runs here with the metrics of 10 providers and 500 models in it; a second process
asks it all the time on 16 connections, and scrapes it twenty times a second, plain, compressed, or not at all.
Figures are for comparing within one run.
"""

import asyncio
import http.client
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import uvicorn
import uvloop

from app.container import Container
from app.domain.llm import CacheStatus, Operation
from app.domain.outcome import Outcome
from app.domain.usage import TokenUsage
from app.front import Front
from app.main import create_server
from app.monitoring.metrics import Metrics
from app.settings import CacheSettings, LogSettings, ProviderSettings, Settings

PROVIDERS, MODELS = 10, 50
SECONDS = 6.0
CONNECTIONS = 16
EVERY_SECONDS = 0.05
TICK_SECONDS = 0.001
ROUNDS = 5
SETTINGS = Settings(
    log=LogSettings(calls=False),
    cache=CacheSettings(enabled=False),
    providers={f"provider-{number}": ProviderSettings(kind="demo") for number in range(PROVIDERS)},
    routes={"busy": ("provider-0:demo",)},
)
ENCODINGS = {"none": None, "plain": "identity", "gzip": "gzip"}
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
QUESTION = b'{"model":"busy","messages":[{"role":"user","content":"Hello"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n"


def fill(metrics: Metrics) -> None:
    """As if every provider had served every one of its models, in both ways."""
    for provider in map("provider-{}".format, range(PROVIDERS)):
        metrics.providers.attempted(provider, 0.1)
        for number in range(MODELS):
            model = f"model-{number}"
            metrics.providers.moved("", provider, model)
            metrics.providers.moved(provider, "", model)
            for first in (None, 0.2):
                metrics.calls.settled(
                    Outcome(
                        "id", "caller", Operation.CHAT, model, first is not None, number / 10, provider=provider,
                        cache=CacheStatus.MISS, usage=TokenUsage(25, 200), seconds_to_first_chunk=first,
                        public_model=model,
                    )
                )  # fmt: skip # by place: names would be a screen


async def stalls(found: list[float]) -> None:
    """Processor time between a task's turns that wants one every millisecond: others' use of the core is no stall."""
    while True:
        begun = time.thread_time()
        await asyncio.sleep(TICK_SECONDS)
        found.append(max(time.thread_time() - begun - TICK_SECONDS, 0.0))


async def measure(port: int, metrics: Metrics, name: str) -> None:
    late: list[float] = []
    spent, count = metrics._scrapes.sum, sum(metrics._scrapes.counts)
    watching = asyncio.create_task(stalls(late))
    command = [sys.executable, "-m", "scripts.scrape", str(port), name]
    load = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await load.communicate()
    watching.cancel()
    spent, count = metrics._scrapes.sum - spent, sum(metrics._scrapes.counts) - count
    late.sort()
    made = spent / count if count else 0
    lateness = f"{late[-len(late) // 1000] * 1000:.2f} ms at p99.9, {late[-1] * 1000:.2f} at most"
    print(f"{name:<6} {said.decode().strip()}; making one {made * 1000:.2f} ms; the loop is kept {lateness}")


async def cost(metrics: Metrics, *, gzip: bool) -> float:
    """Processor time of a scrape, in seconds: the best of some."""
    spent = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        await metrics.scrape("", gzip=gzip)
        spent.append(time.thread_time() - begun)
    return min(spent)


async def longest_step(port: int, encoding: str) -> float:
    """Seconds of processor time between two turns of an event loop that has nothing to do but a scrape."""
    found: list[float] = []

    async def turn() -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0)
            found.append(time.thread_time() - begun)

    turning = asyncio.create_task(turn())
    await asyncio.to_thread(scrape, port, time.perf_counter() + 1, encoding, [])
    turning.cancel()
    return max(found)


async def main() -> None:
    container = Container(settings=SETTINGS)
    app = create_server(container)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=partial(Front), lifespan="on", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    metrics = container.monitoring.metrics()
    fill(metrics)
    body, _ = metrics.render("")
    samples = sum(not line.startswith(b"#") for line in body.splitlines())
    port = listener.getsockname()[1]
    print(f"{samples} samples, {len(body)} bytes")
    for name, gzip in (("plain", False), ("gzip", True)):
        spent, longest = await cost(metrics, gzip=gzip), await longest_step(port, ENCODINGS[name] or "")
        print(f"{name:<6} {spent * 1000:.2f} ms of processor time in steps of {longest * 1000:.2f} ms at most")
    for name in ENCODINGS:
        await measure(port, metrics, name)
    server.should_exit = True
    await serving


def ask(port: int, until: float, took: list[float]) -> None:
    """One connection's questions, one after the other."""
    request = HEAD % len(QUESTION) + QUESTION
    with socket.create_connection(("127.0.0.1", port)) as wire, wire.makefile("rb") as answers:
        while (begun := time.perf_counter()) < until:
            wire.sendall(request)
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            answers.read(length)
            took.append(time.perf_counter() - begun)


def scrape(port: int, until: float, encoding: str, took: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while (begun := time.perf_counter()) < until:
        connection.request("GET", "/metrics", headers={"accept": ACCEPT, "accept-encoding": encoding})
        connection.getresponse().read()
        took.append(time.perf_counter() - begun)
        time.sleep(EVERY_SECONDS)


def drive(port: int, name: str) -> None:
    """The other process: prints what it saw."""
    until, calls, scrapes = time.perf_counter() + SECONDS, [], []
    threads = [threading.Thread(target=ask, args=(port, until, calls)) for _ in range(CONNECTIONS)]
    if (encoding := ENCODINGS[name]) is not None:
        threads.append(threading.Thread(target=scrape, args=(port, until, encoding, scrapes)))
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print(f"{len(calls) / SECONDS:6.0f} calls/s{told(calls)}; {len(scrapes):3} scrapes{told(scrapes)}")


def told(took: Sequence[float]) -> str:
    return f", median {statistics.median(took) * 1000:.2f} ms" if took else ""


if __name__ == "__main__":
    if arguments := sys.argv[1:]:
        drive(int(arguments[0]), arguments[1])
    else:
        uvloop.run(main())
