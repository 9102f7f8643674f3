"""What tests of HTTP/2 upstreams share: an upstream of short patience, scripts of a provider, and waiting."""

import asyncio

from app.providers.upstream.base import Limits
from app.providers.upstream.httpx import HttpxUpstream
from tests.support.h2_origin import Call, H2Origin
from tests.support.upstreams import client_context
from tests.support.waiting import until

LIMITS = Limits(connect=5, queue=5, first_byte=10, idle=10, keep_idle=5)
PATIENCE_SECONDS = 5


def upstream_to(url: str, limits: Limits = LIMITS) -> HttpxUpstream:
    return HttpxUpstream(provider="p", base_url=url, headers={}, limits=limits, tls=client_context(), http2=True)


async def hello(call: Call) -> None:
    call.answer(b"hello")


async def silence(call: Call) -> None:
    pass


async def first_event(call: Call) -> None:
    call.head()
    call.data(b"one")


async def waits(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE_SECONDS)


async def until_asked(provider: H2Origin, calls: int) -> None:
    await until(lambda: sum(call.asked for call in provider.calls) >= calls)
