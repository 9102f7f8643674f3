from collections.abc import Callable, Mapping

from dependency_injector import containers
from dependency_injector import providers as di

from app.providers.upstream.base import Limits, Upstream
from app.providers.upstream.httpx import HttpxUpstream
from app.settings import ProviderSettings


class Upstreams(dict[str, Upstream]):
    """One per provider row, for the life of the process."""

    async def aclose(self) -> None:
        for upstream in self.values():
            await upstream.aclose()


def _opened(rows: Mapping[str, ProviderSettings], kind: Callable[..., Upstream], agent: str) -> Upstreams:
    return Upstreams({name: _open(name, row, kind, agent) for name, row in rows.items() if row.kind != "demo"})


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
    )
    return kind(provider=name, base_url=row.base_url.rstrip("/") + "/", headers=headers, limits=limits)


class UpstreamModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=dict)
    agent = di.Dependency(instance_of=str)

    kind = di.Object(HttpxUpstream)
    upstreams = di.Singleton(_opened, settings, kind, agent)
