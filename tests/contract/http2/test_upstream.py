"""What HTTP/2 has and HTTP/1.1 has not: many calls on one connection, each of which may end by itself."""

import asyncio
import random

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from app.domain import upstream_errors as errors
from app.providers.upstream.base import Limits, Upstream
from tests.support.h2_calls import (
    PATIENCE_SECONDS,
    first_event,
    hello,
    silence,
    until_asked,
    upstream_to,
    waits,
)
from tests.support.h2_origin import Call, H2Origin
from tests.support.origin import origin, says
from tests.support.upstreams import server_context
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_one_connection_carries_many_calls(upstream: Upstream, provider: H2Origin) -> None:
    answers = await asyncio.gather(*(upstream.send("POST", "chat", b"{}") for _ in range(60)))

    assert [answer.body for answer in answers] == [b"hello"] * 60
    assert provider.connections == 1
    assert {call.path for call in provider.calls} == {"/v1/chat"}


async def test_events_arrive_one_by_one(upstream: Upstream, provider: H2Origin) -> None:
    seen = asyncio.Event()

    async def script(call: Call) -> None:
        await first_event(call)
        await seen.wait()
        seen.clear()
        call.data(b"two")
        await seen.wait()
        call.end()

    provider.script = script
    exchange = await upstream.open("POST", "chat", b"{}")

    for expected in (b"one", b"two"):
        assert await exchange.read() == expected
        seen.set()
    assert await exchange.read() == b""
    exchange.close()


async def test_one_call_ends_and_the_others_on_its_connection_go_on(upstream: Upstream, provider: H2Origin) -> None:
    provider.script = first_event
    exchanges = [await upstream.open("POST", "chat", b"{}") for _ in range(5)]
    for each in exchanges:
        assert await each.read() == b"one"
    reading = asyncio.create_task(exchanges[0].read())
    others = [asyncio.create_task(each.read()) for each in exchanges[2:]]
    await asyncio.sleep(0)

    exchanges[1].close()
    reading.cancel()
    await asyncio.wait([reading])
    exchanges[0].close()

    for call in provider.calls[:2]:
        await waits(call.left)
        assert call.reset_by_client == ErrorCodes.CANCEL
    for call in provider.calls[2:]:
        call.data(b"two")
        call.end()
    assert await asyncio.gather(*others) == [b"two"] * 3
    assert [await each.read() for each in exchanges[2:]] == [b""] * 3
    assert provider.connections == 1


async def test_what_comes_for_one_waits_for_no_other(upstream: Upstream, provider: H2Origin) -> None:
    provider.script = silence
    silent = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(20)]
    await until_asked(provider, 20)
    provider.script = hello
    upload = b"x" * 1_000_000

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"
        assert (await upstream.send("POST", "chat", upload)).body == b"hello"
        provider.script = first_event
        exchange = await upstream.open("POST", "chat", b"{}")
        assert await exchange.read() == b"one"
        provider.calls[3].answer(b"late")
        assert (await silent[3]).body == b"late"
        provider.calls[-1].data(b"two")
        assert await exchange.read() == b"two"
        exchange.close()

    await waits(provider.calls[-1].left)
    assert len(provider.calls[-2].body) == 1_000_000
    assert provider.connections == 1
    for call in [*provider.calls[:3], *provider.calls[4:20]]:
        call.answer(b"late")
    await asyncio.gather(*silent)


async def test_a_call_that_is_cancelled_before_its_answer_ends_alone(upstream: Upstream, provider: H2Origin) -> None:
    provider.script = silence
    calls = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(3)]
    await until_asked(provider, 3)

    calls[0].cancel()

    await waits(provider.calls[0].left)
    for call in provider.calls[1:]:
        call.answer(b"late")
    assert [answer.body for answer in await asyncio.gather(*calls[1:])] == [b"late"] * 2
    assert provider.connections == 1


async def test_random_cancels_leave_no_stream_open_and_no_place_taken(provider: H2Origin) -> None:
    loop = asyncio.get_running_loop()
    chance = random.Random(3)  # noqa: S311 - moments, not secrets
    provider.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 8}

    async def slow(call: Call) -> None:
        await asyncio.sleep(0.002)
        call.head()
        for _ in range(5):
            call.data(b"x" * 1000)
            await asyncio.sleep(0.002)
        call.end()

    provider.script = slow
    upstream = upstream_to(provider.url, Limits(connections=8, queue=20, keep_idle=20))
    await ask(upstream)
    cancelled = 0
    while cancelled < 500:
        calls = [asyncio.create_task(ask(upstream)) for _ in range(20)]
        for call in calls:
            loop.call_later(chance.random() * 0.05, call.cancel)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        cancelled += sum(isinstance(each, asyncio.CancelledError) for each in ended)

    await asyncio.gather(*(ask(upstream) for _ in range(8)))
    assert provider.connections == 1
    assert provider.open[0].calls == {}
    await upstream.aclose()


async def ask(upstream: Upstream) -> None:
    exchange = await upstream.open("POST", "chat", b"{}")
    try:
        while await exchange.read():
            pass
    finally:
        exchange.close()


async def test_what_a_left_stream_had_sent_takes_no_room_from_the_others(
    upstream: Upstream, provider: H2Origin
) -> None:
    async def flood(call: Call) -> None:
        call.head()
        call.data(b"x" * 3_000_000)
        if len(provider.calls) > 8:
            call.end()

    provider.script = flood
    for _ in range(8):  # half as much again as a connection's window
        exchange = await upstream.open("POST", "chat", b"{}")
        await exchange.read()
        await asyncio.sleep(0.05)
        exchange.close()
        await waits(provider.calls[-1].left)

    assert len((await upstream.send("POST", "chat", b"{}")).body) == 3_000_000
    assert provider.connections == 1


@pytest.mark.parametrize("limit", [2, 0], ids=["low", "not named"])
async def test_a_servers_limit_of_streams_is_kept(provider: H2Origin, limit: int) -> None:
    provider.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: limit} if limit else {}
    provider.script = silence
    upstream = upstream_to(provider.url)
    calls = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(6)]

    await until_asked(provider, 6)

    assert provider.connections == (3 if limit else 1)
    for call in provider.calls:
        call.answer(b"hello")
    assert [answer.body for answer in await asyncio.gather(*calls)] == [b"hello"] * 6
    await upstream.aclose()


async def test_a_limit_that_is_lowered_stops_nobody(upstream: Upstream, provider: H2Origin) -> None:
    provider.script = first_event
    exchanges = [await upstream.open("POST", "chat", b"{}") for _ in range(3)]
    connection = provider.open[0]

    connection.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    connection.flush()

    for each, call in zip(exchanges, list(provider.calls), strict=True):
        call.end()
        assert [await each.read(), await each.read()] == [b"one", b""]
        each.close()
    provider.script = hello
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


async def test_http11_is_spoken_to_a_server_that_speaks_no_other() -> None:
    context = server_context()
    context.set_alpn_protocols(["http/1.1"])
    async with origin(context) as provider:
        provider.script = says(OK)
        upstream = upstream_to(provider.url)
        answers = await asyncio.gather(*(upstream.send("POST", "chat", b"{}") for _ in range(3)))
        assert [answer.body for answer in answers] == [b"hello"] * 3

        provider.script = says(b"")
        call = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
        await asyncio.sleep(0.1)
        call.cancel()
        await waits(provider.left)  # by its rules: the connection is gone
        await upstream.aclose()


async def test_a_server_that_cannot_be_reached_is_tried_once_for_all_who_wait(provider: H2Origin) -> None:
    upstream = upstream_to("https://127.0.0.1:1/")

    failed = await asyncio.gather(*(upstream.send("POST", "chat", b"{}") for _ in range(5)), return_exceptions=True)
    await upstream.aclose()

    assert {type(each) for each in failed} == {errors.UpstreamConnectError}


async def test_connections_that_were_not_needed_are_closed(provider: H2Origin) -> None:
    provider.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    upstream = upstream_to(provider.url, Limits(keep_idle=0.05))
    await asyncio.gather(*(upstream.send("POST", "chat", b"{}") for _ in range(4)))

    await until(lambda: not provider.open)
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"
    await upstream.aclose()
