"""A gateway whose configuration is changed while it runs."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.support.processes import GatewayProcess
from tests.support.provider_faults import eventually

RESULTS = ("applied", "partly", "unchanged", "refused")


class Reloading:
    """`gateway_process` with its file; `config` is what it was started with."""

    def __init__(self, gateway: GatewayProcess, directory: Path, config: Mapping[str, Any]) -> None:
        self.gateway = gateway
        self.file = directory / "signalbox.yaml"
        self.config = dict(config)

    def results(self) -> dict[str, float]:
        return {each: self.gateway.metric("llm_config_reloads_total", result=each) for each in RESULTS}

    def write(self, config: Mapping[str, Any] | bytes | None) -> None:
        """None: the file is taken away."""
        if config is None:
            self.file.unlink()
            return
        data = config if isinstance(config, bytes) else msgspec.yaml.encode(dict(config))
        new = self.file.with_name("new")
        new.write_bytes(data)
        new.replace(self.file)

    def take(self, config: Mapping[str, Any] | bytes | None) -> str:
        """Have another configuration read; what became of it."""
        before = self.results()
        self.write(config)
        self.gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.results() != before, "it is read again")
        after = self.results()
        (result,) = [each for each in RESULTS if after[each] > before[each]]
        return result

    def check(self) -> dict[str, Any]:
        """The health of the configuration."""
        found: dict[str, Any] = self.gateway.client.get("/health").json()["checks"]["configuration"]
        return found

    def reason(self) -> str:
        """Why it is degraded; a report may be two seconds old."""
        eventually(lambda: not self.is_healthy(), "health says so")
        return str(self.check()["reason"])

    def is_healthy(self) -> bool:
        return self.check()["status"] == "healthy"

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.gateway.log() if line["event"] == event]


def without_watch(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same, read again on SIGHUP alone."""
    return dict(config) | {"server": {"watch_config": False} | config.get("server", {})}
