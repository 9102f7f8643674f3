from collections.abc import AsyncIterator

import pytest

from app.providers.upstream.httpx import HttpxUpstream
from tests.support.h2_calls import hello, upstream_to
from tests.support.h2_origin import H2Origin, h2_origin
from tests.support.upstreams import server_context


@pytest.fixture
async def provider() -> AsyncIterator[H2Origin]:
    async with h2_origin(server_context()) as made:
        made.script = hello
        yield made


@pytest.fixture
async def upstream(provider: H2Origin) -> AsyncIterator[HttpxUpstream]:
    made = upstream_to(provider.url)
    yield made
    await made.aclose()
