"""Gateways with a cache, as tests of the cache want them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process


@contextmanager
def gateway_on(provider: ProviderProcess, directory: Path, **cache: Any) -> Iterator[GatewayProcess]:
    """`keys` and `server` are sections, and everything else is of the section `cache`.

    A lookup may take a second: a busy machine is no fault.
    """
    keys, server = cache.pop("keys", {}), cache.pop("server", {})
    cache = {"timeout_seconds": 1.0} | cache
    config = {"providers": {"primary": {"base_url": provider.base_url("primary")}}, "cache": cache, "keys": keys}
    config["server"] = server
    if keys:
        config["metrics"] = {"public": True}
    with gateway_process(directory, config) as process:
        yield process


def ask_twice(gateway: GatewayProcess, model: str, **fields: Any) -> list[str]:
    return [gateway.chat(f"primary/{model}", **fields).headers["x-signalbox-cache"] for _ in range(2)]


def warnings_of(gateway: GatewayProcess, event: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log() if line.get("event") == event]
