"""The kinds of upstream client there are, and a provider for each of them to speak to."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial

import trustme

from app.providers.upstream.base import Upstream
from app.providers.upstream.httpx import HttpxUpstream
from app.providers.upstream.lean import LeanUpstream
from tests.support.h2_origin import TranslatedOrigin, h2_origin
from tests.support.origin import Origin, origin

HTTP11: dict[str, Callable[..., Upstream]] = {"lean": LeanUpstream, "httpx": HttpxUpstream}
"""For tests that are about what HTTP/1.1 has on the wire and HTTP/2 has not."""
H2 = "httpx-h2"
KINDS = [*HTTP11, H2]


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def upstream_of(kind: str) -> Callable[..., Upstream]:
    if kind == H2:
        return partial(HttpxUpstream, http2=True, tls=client_context())
    return HTTP11[kind]


@asynccontextmanager
async def origin_of(kind: str) -> AsyncIterator[Origin | TranslatedOrigin]:
    """Its scripts are those of `tests.support.origin`, whatever the kind speaks."""
    if kind == H2:
        translated = TranslatedOrigin()
        async with h2_origin(server_context(), translated):
            yield translated
    else:
        async with origin() as made:
            yield made
