from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from dependency_injector import containers
from dependency_injector import providers as di
from msgspec.structs import replace

from app.providers.endpoints import root_of
from app.providers.upstream.base import Limits, Upstream
from app.providers.upstream.lean import LeanUpstream
from app.providers.upstream.tls import tls_context
from app.settings import ProviderSettings


class Recipe(NamedTuple):
    """What an upstream is made by: its row, and when the authorities in their file were renewed."""

    row: ProviderSettings
    renewed: int


class Upstreams(dict[str, Upstream]):
    """One per provider row, as long as the row says the same; `recipes` are what each was made by."""

    def __init__(self) -> None:
        super().__init__()
        self.recipes: dict[str, Recipe] = {}

    def gone(self, after: "Upstreams") -> list[Upstream]:
        """Those that `after` has not taken over."""
        return [each for name, each in self.items() if after.get(name) is not each]

    def outdated(self, rows: Mapping[str, ProviderSettings]) -> list[str]:
        """The rows whose authorities are others than those that were read; raises OSError where a file is gone."""
        known = [(name, row, self.recipes[name]) for name, row in rows.items() if name in self.recipes]
        return [name for name, row, recipe in known if _renewed(row) != recipe.renewed]

    async def aclose(self) -> None:
        for upstream in self.values():
            await upstream.aclose()


NONE_BEFORE = Upstreams()


def _opened(
    rows: Mapping[str, ProviderSettings],
    lean: Callable[..., Upstream],
    httpx: Callable[..., Upstream],
    agent: str,
    before: Upstreams,
) -> Upstreams:
    """Those of `before` that would be made just the same stay open, with their connections."""
    contexts = cache(tls_context)
    upstreams = Upstreams()
    for name, row in rows.items():
        if row.kind == "demo":
            continue
        upstreams.recipes[name] = recipe = recipe_of(row)
        if before.recipes.get(name) == recipe:
            upstreams[name] = before[name]
            continue
        # a context says what it speaks, and httpcore tells it: the lean client must never be understood to speak HTTP/2
        tls = contexts(row.ca_file, http2=row.http2) if row.base_url.startswith("https:") else None
        if row.upstream == "httpx" or row.proxy or row.http2:
            kind = partial(httpx, tls=tls, proxy=str(row.proxy), http2=row.http2)
            upstreams[name] = _open(name, row, kind, agent)
        else:
            upstreams[name] = _open(name, row, partial(lean, tls=tls), agent)
    return upstreams


def recipe_of(row: ProviderSettings) -> Recipe:
    """Raises OSError where the file of authorities is gone."""
    return Recipe(essence_of(row), _renewed(row))


def essence_of(row: ProviderSettings) -> ProviderSettings:
    """What of a row decides whom it means, and how they are spoken to."""
    return replace(row, models=(), prefix_only=False, critical=False)


def _renewed(row: ProviderSettings) -> int:
    return Path(row.ca_file).stat().st_mtime_ns if row.ca_file else 0


def _open(name: str, row: ProviderSettings, kind: Callable[..., Upstream], agent: str) -> Upstream:
    headers = {"content-type": "application/json", "user-agent": agent, **row.headers}
    if row.api_key:  # a local server wants none, and an empty bearer is not a legal header
        headers["authorization"] = f"Bearer {row.api_key}"
    times = row.timeouts
    limits = Limits(
        connect=times.connect,
        first_byte=times.first_byte,
        idle=times.idle,
        total=times.total,
        stream_total=times.stream_total,
        connections=row.max_connections,
        waiting=row.max_waiting,
    )
    base_url = root_of(row.base_url) if row.kind == "ollama" else row.base_url.rstrip("/")
    return kind(provider=name, base_url=f"{base_url}/", headers=headers, limits=limits)


def _httpx(**kwargs: Any) -> Upstream:
    from app.providers.upstream.httpx import HttpxUpstream  # noqa: PLC0415 - 4 MB, and 40 ms of the start

    return HttpxUpstream(**kwargs)


class UpstreamModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=dict)
    agent = di.Dependency(instance_of=str)

    before = di.Object(NONE_BEFORE)
    lean = di.Object(LeanUpstream)
    httpx = di.Object(_httpx)
    upstreams = di.Singleton(_opened, settings, lean, httpx, agent, before)
