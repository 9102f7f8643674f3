"""Uploads on a connection of HTTP/2: longer than the window they are given, and beside others."""

import asyncio

import pytest
from h2.errors import ErrorCodes

from app.domain import upstream_errors as errors
from app.providers.upstream.httpx import HttpxUpstream
from tests.support.h2_calls import (
    PATIENCE_SECONDS,
    first_event,
    hello,
    silence,
    until_asked,
    waits,
)
from tests.support.h2_origin import H2Origin
from tests.support.waiting import until


async def test_an_upload_goes_on_while_another_stream_is_silent(upstream: HttpxUpstream, provider: H2Origin) -> None:
    provider.script = first_event
    silent = await upstream.open("POST", "chat", b"{}")
    assert await silent.read() == b"one"
    reading = asyncio.create_task(silent.read())
    await asyncio.sleep(0)
    provider.script = hello

    answers = await asyncio.gather(*(upstream.send("POST", "chat", b"x" * 1_000_000) for _ in range(3)))

    assert [answer.body for answer in answers] == [b"hello"] * 3
    assert [len(call.body) for call in provider.calls[1:]] == [1_000_000] * 3
    assert not reading.done()
    reading.cancel()
    silent.close()


@pytest.mark.parametrize("cut", [True, False])
async def test_an_upload_goes_on_though_its_answer_is_there(
    upstream: HttpxUpstream, provider: H2Origin, *, cut: bool
) -> None:
    provider.takes_bodies = False
    provider.script = silence
    others = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(10)]
    await until_asked(provider, 10)
    upload = asyncio.create_task(upstream.send("POST", "chat", b"x" * 1_000_000))
    await until(lambda: len(provider.calls) == 11 and len(provider.calls[10].body) > 50_000)
    call = provider.calls[10]
    call.answer(b"early")
    await asyncio.sleep(0.05)

    if cut:
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        await until(lambda: len(upstream.tasks) == 10)
    else:
        provider.takes_bodies = True
        provider.open[0].h2.increment_flow_control_window(2_000_000)
        provider.open[0].h2.increment_flow_control_window(2_000_000, call.number)
        provider.open[0].flush()
        assert (await asyncio.wait_for(upload, PATIENCE_SECONDS)).body == b"early"

    for each in provider.calls[:10]:
        each.answer(b"late")
    assert [answer.body for answer in await asyncio.gather(*others)] == [b"late"] * 10
    assert provider.connections == 1


async def test_an_upload_that_waits_for_the_provider_can_be_cancelled(
    upstream: HttpxUpstream, provider: H2Origin
) -> None:
    provider.takes_bodies = False
    call = asyncio.create_task(upstream.send("POST", "chat", b"x" * 1_000_000))
    await until(lambda: len(provider.calls) == 1 and len(provider.calls[0].body) > 50_000)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await waits(provider.calls[0].left)
    await until(lambda: not upstream.tasks)
    assert provider.connections == len(provider.open) == 1


async def test_an_upload_that_the_provider_ends_waits_no_longer(upstream: HttpxUpstream, provider: H2Origin) -> None:
    provider.takes_bodies = False
    upload = asyncio.create_task(upstream.send("POST", "chat", b"x" * 1_000_000))
    await until(lambda: len(provider.calls) == 1 and len(provider.calls[0].body) > 50_000)

    provider.calls[0].reset(ErrorCodes.INTERNAL_ERROR)

    with pytest.raises(errors.UpstreamError) as caught:
        await asyncio.wait_for(upload, PATIENCE_SECONDS)
    assert (caught.value.word, caught.value.retry) == ("upstream_error", False)
    assert len(provider.open) == 1
