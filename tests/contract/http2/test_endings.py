"""How an HTTP/2 provider may end a stream or a connection, in the words of every other failure."""

import asyncio
import time
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from app.domain import upstream_errors as errors
from app.providers.upstream.base import Upstream
from tests.support.h2_calls import first_event, hello, silence, until_asked
from tests.support.h2_origin import Call, H2Origin
from tests.support.waiting import until


async def test_a_stream_reset_in_mid_answer_is_truncation_and_hurts_no_other(
    upstream: Upstream, provider: H2Origin
) -> None:
    provider.script = first_event
    broken, whole = [await upstream.open("POST", "chat", b"{}") for _ in range(2)]
    provider.calls[0].reset(ErrorCodes.INTERNAL_ERROR)

    assert await broken.read() == b"one"
    with pytest.raises(errors.UpstreamTruncatedError):
        await broken.read()
    broken.close()

    provider.calls[1].end()
    assert [await whole.read(), await whole.read()] == [b"one", b""]
    assert provider.connections == 1


async def test_a_stream_reset_before_its_answer_is_not_said_to_be_safe_to_repeat(
    upstream: Upstream, provider: H2Origin
) -> None:
    async def script(call: Call) -> None:
        call.reset(ErrorCodes.INTERNAL_ERROR)

    provider.script = script

    with pytest.raises(errors.UpstreamError) as caught:
        await upstream.send("POST", "chat", b"{}")

    assert (caught.value.word, caught.value.retry) == ("upstream_error", False)
    assert len(provider.calls) == 1


async def test_a_refused_stream_is_asked_again_once_and_then_was_never_reached(
    upstream: Upstream, provider: H2Origin
) -> None:
    async def refuse(call: Call) -> None:
        call.reset(ErrorCodes.REFUSED_STREAM)

    async def refuse_one(call: Call) -> None:
        await (refuse if len(provider.calls) == 1 else hello)(call)

    provider.script = refuse_one
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"

    provider.script = refuse
    with pytest.raises(errors.UpstreamConnectError) as caught:
        await upstream.send("POST", "chat", b"{}")
    assert caught.value.retry
    assert len(provider.calls) == 4


async def test_a_server_that_leaves_ends_what_it_began_and_is_asked_anew_elsewhere(
    upstream: Upstream, provider: H2Origin
) -> None:
    provider.script = first_event
    began = await upstream.open("POST", "chat", b"{}")
    provider.script = silence
    ignored = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await until_asked(provider, 2)
    provider.script = hello

    provider.open[0].goaway(last=1)

    assert (await ignored).body == b"hello"
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"
    assert provider.connections == 2
    provider.calls[0].data(b"two")
    provider.calls[0].end()
    assert [await began.read(), await began.read(), await began.read()] == [b"one", b"two", b""]
    began.close(done=True)
    await until(lambda: len(provider.open) == 1)


async def test_a_server_that_left_while_nobody_asked_costs_nobody_a_call(
    upstream: Upstream, provider: H2Origin
) -> None:
    await upstream.send("POST", "chat", b"{}")
    provider.open[0].goaway(last=1)
    provider.open[0].writer.close()
    await asyncio.sleep(0.05)

    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


async def test_a_kept_connection_that_died_is_replaced_once(upstream: Upstream, provider: H2Origin) -> None:
    await upstream.send("POST", "chat", b"{}")
    provider.open[0].writer.transport.abort()
    await asyncio.sleep(0.05)

    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"
    assert provider.connections == 2


async def test_a_connection_lost_ends_every_call_on_it_and_repeats_none(upstream: Upstream, provider: H2Origin) -> None:
    provider.script = first_event
    streams = [await upstream.open("POST", "chat", b"{}") for _ in range(2)]
    provider.script = silence
    waiting = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await until_asked(provider, 3)
    provider.calls[0].data(b"two")
    assert await streams[0].read() == b"one"
    assert await streams[0].read() == b"two"

    provider.open[0].writer.transport.abort()

    with pytest.raises(errors.UpstreamTruncatedError):
        await streams[0].read()
    assert await streams[1].read() == b"one"
    with pytest.raises(errors.UpstreamTruncatedError):
        await streams[1].read()
    with pytest.raises(errors.UpstreamError) as caught:
        await waiting
    assert (caught.value.word, caught.value.retry) == ("upstream_error", False)
    assert len(provider.calls) == 3
    for each in streams:
        each.close()
    provider.script = hello
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


@pytest.mark.parametrize(
    "frame",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x04\x00\x00\x00\x00\x00\x63oops",
        b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff",
        b"\x00\x00\x05\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x03\x04\x00\x00\x00\x00\x00abc",
    ],
    ids=["of HTTP/1.1", "of no stream", "of no header", "of no size", "of half a setting"],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_what_is_not_http2_is_malformed_and_keeps_nobody_waiting(
    upstream: Upstream, provider: H2Origin, frame: bytes, *, begun: bool
) -> None:
    provider.script = first_event if begun else silence
    calls = [asyncio.create_task(upstream.open("POST", "chat", b"{}")) for _ in range(2)]
    await until_asked(provider, 2)
    if begun:
        exchanges = await asyncio.gather(*calls)
        assert [await each.read() for each in exchanges] == [b"one"] * 2
        calls = [asyncio.create_task(each.read()) for each in exchanges]
    await asyncio.sleep(0.01)

    provider.open[0].raw(frame)

    async with asyncio.timeout(5):
        failed = await asyncio.gather(*calls, return_exceptions=True)
    assert errors.UpstreamMalformedError in {type(each) for each in failed}
    assert all(isinstance(each, errors.UpstreamError) for each in failed)
    provider.script = hello
    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


async def test_a_call_that_cannot_be_ended_takes_the_connection_along(upstream: Upstream, provider: H2Origin) -> None:
    provider.settings[SettingCodes.INITIAL_WINDOW_SIZE] = 2**24
    await upstream.send("POST", "chat", b"{}")
    stuck = provider.open[0]
    stuck.h2.increment_flow_control_window(2**24)
    stuck.flush()
    await upstream.send("POST", "chat", b"{}")
    stuck.writer.transport.pause_reading()
    upload = asyncio.create_task(upstream.send("POST", "chat", b"x" * 16_000_000))
    await until_stuck(stuck.writer)

    upload.cancel()

    async with asyncio.timeout(10):
        assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"
    assert provider.connections == 2
    stuck.writer.transport.resume_reading()


async def until_stuck(writer: asyncio.StreamWriter) -> None:
    """Until nothing has moved for a second: all buffers on the way to the provider are full, the sender's too."""
    seen, since = (0, 0), time.monotonic()
    while not all(seen) or time.monotonic() - since < 1:
        await asyncio.sleep(0.1)
        if (waiting := unread(writer)) != seen:
            seen, since = waiting, time.monotonic()


def unread(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Bytes in the kernel: what the sender is not rid of yet, and what the provider has not read."""
    ports = [f":{writer.get_extra_info(name)[1]:04X}" for name in ("peername", "sockname")]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    queues = {row[1][-5:]: row[4].split(":") for row in rows if {row[1][-5:], row[2][-5:]} == set(ports)}
    sent, received = (queues[port] for port in ports)
    return int(sent[0], 16), int(received[1], 16)
