"""Which client each provider row gets."""

import ssl
from typing import Any

import pytest
from dependency_injector import providers as di

from app.providers.upstream.httpx import HttpxUpstream
from app.providers.upstream.lean import LeanUpstream
from app.providers.upstream.module import UpstreamModule
from app.settings import ProviderSettings, Secret


def opened(**rows: ProviderSettings) -> dict[str, Any]:
    return UpstreamModule(settings=rows, agent="test").upstreams()


def row(**fields: Any) -> ProviderSettings:
    return ProviderSettings(**{"base_url": "https://far.example/v1"} | fields)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, LeanUpstream),
        ({"upstream": "httpx"}, HttpxUpstream),
        ({"proxy": Secret("http://proxy.example")}, HttpxUpstream),
        ({"http2": True}, HttpxUpstream),
    ],
    ids=["auto", "httpx", "proxy", "http2"],
)
async def test_auto_takes_httpx_where_only_that_can_do_it(fields: dict[str, Any], kind: type) -> None:
    assert isinstance(opened(far=row(**fields))["far"], kind)


async def test_who_speaks_http2_shares_no_context_with_who_does_not() -> None:
    made: dict[str, ssl.SSLContext] = {}

    class Lean:
        def __init__(self, *, provider: str, tls: ssl.SSLContext, **_: object) -> None:
            made[provider] = tls

    class Httpx(Lean):
        def __init__(self, *, provider: str, tls: ssl.SSLContext, http2: bool, proxy: str, **_: object) -> None:
            super().__init__(provider=f"{provider} {http2}", tls=tls)

    rows = {"a": row(), "b": row(), "c": row(http2=True), "d": row(upstream="httpx")}
    UpstreamModule(settings=rows, agent="test", lean=di.Object(Lean), httpx=di.Object(Httpx)).upstreams()

    assert made["a"] is made["b"] is made["d False"]
    assert made["c True"] is not made["a"]
