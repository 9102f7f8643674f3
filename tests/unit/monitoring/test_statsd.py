"""What a real socket receives adds up, whenever the emitter is stopped and whoever is not there."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from app.domain.llm import CacheStatus
from app.monitoring.statsd.emitter import DURATION, FIRST_CHUNK, MOST_WAITING, StatsdEmitter
from app.monitoring.statsd.link import BACK_AFTER_SECONDS, RETRY_SECONDS, UDP_BYTES, UNIX_BYTES, Link, StatsdMetrics
from app.monitoring.tally import Reading, Tally
from app.settings import StatsdSettings
from tests.support.clock import Clock
from tests.support.metrics import outcome
from tests.support.processes import free_port
from tests.support.statsd import Agent


class Emitting:
    def __init__(self, address: str, **settings: Any) -> None:
        self.tally = Tally()
        self.counts = StatsdMetrics(self.tally)
        self.emitter = StatsdEmitter(StatsdSettings(address=address, **settings), self.tally, self.counts)


@pytest.fixture(params=["udp", "unix"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Agent(tmp_path / "s" if request.param == "unix" else None) as listening:
        yield listening


async def test_counters_are_sent_as_what_came_to_them_and_gauges_as_they_are(agent: Agent) -> None:
    it = Emitting(agent.address, tags=("env:test",))
    calls, up = it.tally.counter("calls", "Calls", "provider"), it.tally.gauge("up", "Up").of()
    waits = it.tally.histogram("wait_seconds", "Waits", bounds=(1,)).of()
    it.tally.add_source(lambda: [Reading("keys_total", "Keys", calls.of("one").value * 2, "counter")])
    it.tally.add_source(lambda: [Reading("lag", "Lag", float("nan")), Reading("keys", "Keys", 7, labels=(("a", "b"),))])

    for number in range(3):
        calls.of("one").value += 2
        calls.of("never").value += 0
        up.value = number
        waits.observe(number / 4)
        await it.emitter.flush()
    await it.emitter.aclose()
    agent.drained()

    env = ("env", "test")
    sums, gauges = agent.counters(), agent.gauges()
    assert sums["signalbox.calls_total", (env, ("provider", "one"))] == 6
    assert sums["signalbox.keys_total", (env,)] == 12
    assert sums["signalbox.wait_seconds_count", (env,)] == 3
    assert sums["signalbox.wait_seconds_sum", (env,)] == 0.75
    assert gauges["signalbox.up", (env,)] == 2
    assert gauges["signalbox.keys", (("a", "b"), env)] == 7
    assert not {("signalbox.lag", (env,)), ("signalbox.calls_total", (env, ("provider", "never")))} & {*gauges, *sums}
    assert len([each for each in agent.lines() if each.name == "signalbox.calls_total"]) == 3


async def test_a_counter_that_fell_has_begun_again(agent: Agent) -> None:
    it = Emitting(agent.address)
    calls = it.tally.counter("calls", "Calls").of()

    for value in (5, 3):
        calls.value = value
        await it.emitter.flush()
    await it.emitter.aclose()
    agent.drained()

    assert agent.counters()["signalbox.calls_total", ()] == 8


async def test_times_of_calls_are_sent_one_by_one(agent: Agent) -> None:
    it = Emitting(agent.address)
    it.emitter.settled(outcome(seconds=0.25))
    it.emitter.settled(outcome(seconds=1.5, seconds_to_first_chunk=0.125))
    it.emitter.settled(outcome(seconds=0.5, seconds_to_first_chunk=0.001, cache=CacheStatus.HIT))
    await it.emitter.aclose()
    agent.drained()

    assert agent.timings(f"signalbox.{DURATION}") == [0.25, 1.5, 0.5]
    assert agent.timings(f"signalbox.{FIRST_CHUNK}") == [0.125]
    assert {each.tags for each in agent.lines() if each.kind == "d"} == {(("provider", "one"),)}


async def test_of_a_sample_the_receiver_knows_the_rate(agent: Agent) -> None:
    it = Emitting(agent.address, sample_rate=0.25)
    for _ in range(4000):
        it.emitter.settled(outcome(seconds=1))
    await it.emitter.aclose()
    agent.drained()

    times = [each for each in agent.lines() if each.kind == "d"]
    assert 500 < sum(len(each.values) for each in times) < 1500
    assert {each.rate for each in times} == {0.25}


async def test_no_datagram_is_larger_than_it_may_be_and_none_is_wasted(agent: Agent) -> None:
    it = Emitting(agent.address)
    calls = it.tally.counter("calls", "Calls", "provider", "model")
    for number in range(1500):
        calls.of("ü" * 128, f"{number:0128}").value += number
        it.emitter.settled(outcome(seconds=number))
    await it.emitter.aclose()
    agent.drained()

    limit = UNIX_BYTES if agent.address.startswith("unix") else UDP_BYTES
    sizes = [len(each) for each in agent.datagrams]
    assert max(sizes) <= limit
    assert sum(sizes) > 0.6 * limit * len(sizes)
    assert agent.total("signalbox.calls_total") == sum(range(1500))
    assert it.counts.sent.value == len(sizes)
    assert it.counts.dropped.value == 0


@pytest.mark.parametrize(("more", "comes"), [(-1, 1), (0, 1), (1, 0)])
async def test_a_line_may_fill_a_datagram_to_the_last_byte(more: int, comes: int) -> None:
    long = "x" * (UDP_BYTES - len("signalbox.keys_total:1|c|#a:") + more)
    with Agent() as agent:
        it = Emitting(agent.address)
        it.tally.add_source(lambda: [Reading("keys_total", "Keys", 1, "counter", (("a", long),))])
        await it.emitter.aclose()
        agent.drained()

    assert agent.total("signalbox.keys_total") == comes
    assert all(0 < len(each) <= UDP_BYTES for each in agent.datagrams)


async def test_a_line_too_long_for_any_datagram_is_dropped_and_the_others_come() -> None:
    with Agent() as agent:
        it = Emitting(agent.address)
        calls = it.tally.counter("calls", "Calls", *"abcdef")
        calls.of(*["ü" * 128] * 6).value += 1
        calls.of(*"123456").value += 1
        await it.emitter.aclose()
        agent.drained()

    assert agent.total("signalbox.calls_total") == 1
    assert it.counts.dropped.value == 1


async def test_whenever_it_is_stopped_nothing_is_lost_and_nothing_comes_twice(agent: Agent) -> None:
    it = Emitting(agent.address, interval_seconds=0.1)
    calls = it.tally.counter("calls", "Calls", "number")
    expected = 0
    for turn in range(40):
        for number in range(400):
            calls.of(str(number)).value += 1
            it.emitter.settled(outcome(seconds=1))
            expected += 1
        flushing = asyncio.create_task(it.emitter.flush())
        await asyncio.sleep(turn / 4000)
        flushing.cancel()
        await asyncio.wait([flushing])
    await it.emitter.aclose()
    agent.drained()

    assert agent.total("signalbox.calls_total") == expected
    assert sum(agent.timings(f"signalbox.{DURATION}")) == expected


async def test_while_it_runs_it_sends_by_itself(agent: Agent) -> None:
    it = Emitting(agent.address, interval_seconds=0.1)
    it.tally.gauge("up", "Up").of().value = 1
    running = asyncio.create_task(it.emitter.run())
    await asyncio.to_thread(agent.until, "signalbox.up")
    running.cancel()
    await asyncio.wait([running])
    await it.emitter.aclose()

    assert running.cancelled()


async def test_without_an_address_it_does_nothing() -> None:
    it = Emitting("")

    assert not it.emitter.on
    assert await it.emitter.run() is None
    assert await it.emitter.aclose() is None


async def test_more_times_than_there_is_room_for_are_counted() -> None:
    it = Emitting("127.0.0.1:9")
    for _ in range(MOST_WAITING + 5):
        it.emitter.settled(outcome())

    assert it.counts.timings_dropped.value == 5


@pytest.fixture
def logged() -> Any:
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.configure(**before)


async def test_an_absent_agent_is_one_line_in_the_log_and_found_when_it_comes(tmp_path: Path, logged: Any) -> None:
    clock, counts = Clock(), StatsdMetrics(Tally())
    link = Link(f"unix://{tmp_path / 's'}", counts, clock=clock)
    for _ in range(10):
        await link.send(b"lost:1|c")
        clock.now += RETRY_SECONDS / 2

    with Agent(tmp_path / "s") as agent:
        clock.now += RETRY_SECONDS
        await link.send(b"found:1|c")
        clock.now += BACK_AFTER_SECONDS
        await link.send(b"found:1|c")
        await link.send(b"found:1|c")
        agent.drained()
    link.close()

    assert (counts.dropped.value, counts.sent.value) == (10, 3)
    assert agent.counters() == {("found", ()): 3}
    assert [(each["log_level"], each["event"]) for each in logged] == [
        ("warning", "statsd cannot be reached; metrics are counted all the same"),
        ("info", "statsd is there again"),
    ]


async def test_nobody_listening_on_udp_costs_datagrams_only() -> None:
    counts = StatsdMetrics(Tally())
    link = Link(f"127.0.0.1:{free_port()}", counts)
    for _ in range(5):
        await link.send(b"lost:1|c")
    link.close()

    assert counts.sent.value == 1
    assert counts.dropped.value == 4


async def test_an_agent_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "s"))
        it = Emitting(f"unix://{tmp_path / 's'}")
        gauges = it.tally.gauge("gauge", "Gauge", "number")
        for number in range(2000):
            gauges.of(f"{number:0128}")
        for _ in range(10):
            await asyncio.wait_for(it.emitter.flush(), 20)
        await it.emitter.aclose()

    assert it.counts.dropped.value > 0
