from collections.abc import AsyncIterator

import pytest

from tests.support.h2_origin import TranslatedOrigin
from tests.support.origin import Origin
from tests.support.upstreams import KINDS, origin_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of upstream client; a test that is about some kinds only names them."""
    return request.param


@pytest.fixture
async def provider(kind: str) -> AsyncIterator[Origin | TranslatedOrigin]:
    async with origin_of(kind) as made:
        yield made
