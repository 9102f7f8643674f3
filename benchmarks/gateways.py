"""How a gateway is installed and started, and Signalbox in its configurations."""

import subprocess
import sys
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

import msgspec

from benchmarks.endpoint import Plan
from benchmarks.loads import Load
from benchmarks.processes import free_port

ROOT = Path(__file__).parents[1]
MODELS = ("mock-gpt", "mock-slow", "mock-think")
KEY = "sk-bench-3f9d2c7a1b8e4f60a5d9c2e7b1f04836"
INSTALL_SECONDS = 900.0


class Place(msgspec.Struct, frozen=True):
    """What a gateway is given: directories, and the ports of those it speaks to."""

    scratch: Path
    """Where peers are installed; kept from run to run."""
    directory: Path
    """For configuration and logs of this run."""
    mock: int
    redis: int
    """0 where there is no Redis."""

    @property
    def mock_url(self) -> str:
        return f"http://127.0.0.1:{self.mock}/v1"


class UnavailableError(Exception):
    """A gateway cannot take part; the message says why."""


class Gateway(ABC):
    """One way of being asked; `title`, `version` and `on` go into the report."""

    name: str
    title: str
    on: str
    forwards = True
    """Takes the loads whose answers come from upstream."""
    caches = False
    """Takes the loads whose answers come from a cache."""
    lives = True
    """Its start and its memory are worth knowing."""

    def install(self, scratch: Path) -> None:
        """Makes it ready to start, once; raises UnavailableError."""
        return

    @abstractmethod
    def version(self, scratch: Path) -> str: ...

    @abstractmethod
    def plan(self, place: Place) -> Plan: ...

    def takes(self, load: Load) -> bool:
        return self.caches if load.hits else self.forwards


class Direct(Gateway):
    """Nobody in between: what mock, load generator and kernel cost by themselves."""

    name = "direct"
    title = "direct"
    on = "the load generator asks the mock"

    def version(self, scratch: Path) -> str:
        return ""

    def plan(self, place: Place) -> Plan:
        return Plan([], port=place.mock)


class Signalbox(Gateway):
    """Ours with everything on; answers are kept in memory."""

    name = "signalbox"
    title = "Signalbox"
    on = "key check, cache in memory, sharing of identical calls, metrics, a JSON log line for every call, retries"
    caches = True

    def version(self, scratch: Path) -> str:
        said = subprocess.run(
            [sys.executable, "-m", "app", "version"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return said.stdout.split("(")[0].removeprefix("signalbox").strip()

    def plan(self, place: Place) -> Plan:
        port = free_port()
        file = place.directory / f"{self.name}.yaml"
        file.write_bytes(msgspec.yaml.encode(self.configuration(place)))
        return Plan(
            [sys.executable, "-m", "app", "serve", "--port", str(port), "--config", str(file)],
            port=port,
            headers={"authorization": f"Bearer {KEY}"},
            environ={"PYTHONPATH": str(ROOT)},
            hit_header="x-signalbox-cache",
            hit_word="hit",
        )

    def configuration(self, place: Place) -> dict[str, object]:
        return {
            "log": {"format": "json", "level": "info", "calls": True},
            "cache": self.cache(place),
            "keys": {"bench": {"key": KEY}},
            "providers": {"mock": {"base_url": place.mock_url, "api_key": "sk-upstream", "max_connections": 2048}},
            "routes": {model: [f"mock:{model}"] for model in MODELS},
        }

    def cache(self, place: Place) -> dict[str, object]:
        return {"backend": "memory"}


class SignalboxUncounted(Signalbox):
    """Everything but metrics, to see what they cost."""

    name = "signalbox-uncounted"
    title = "Signalbox, no metrics"
    on = "as above, without metrics"
    caches = lives = False

    def configuration(self, place: Place) -> dict[str, object]:
        return super().configuration(place) | {"metrics": {"enabled": False}}

    def takes(self, load: Load) -> bool:
        return load.name in {"json-1k", "stream-paced"}


class SignalboxRedis(Signalbox):
    """Answers are kept in Redis alone."""

    name = "signalbox-redis"
    title = "Signalbox, Redis"
    on = "as above, every answer from Redis"
    forwards = False

    def cache(self, place: Place) -> dict[str, object]:
        if not place.redis:
            raise UnavailableError("no redis-server on this machine")
        cache: dict[str, object] = {"backend": "redis", "url": f"redis://127.0.0.1:{place.redis}/0"}
        # On a busy machine a lookup may be slow; it is hits that are measured, not how a gateway gives up on them.
        cache["timeout_seconds"] = 1
        return cache | {"l1_seconds": 0} if has_l1() else cache


class SignalboxL1(SignalboxRedis):
    """Answers are kept in Redis, and those seen lately in the process too."""

    name = "signalbox-l1"
    title = "Signalbox, Redis and L1"
    on = "as above, Redis behind a short-lived copy in the process"

    def install(self, scratch: Path) -> None:
        if not has_l1():
            raise UnavailableError("this Signalbox has no setting `cache.l1_seconds`")

    def cache(self, place: Place) -> dict[str, object]:
        cache = super().cache(place)
        return {name: value for name, value in cache.items() if name != "l1_seconds"}


@cache
def has_l1() -> bool:
    """Whether there is a setting for the copy in front of Redis."""
    said = subprocess.run([sys.executable, "-m", "app", "schema"], cwd=ROOT, capture_output=True, check=True)
    return b'"l1_seconds"' in said.stdout


def installed(command: list[str], directory: Path) -> str:
    """What the command prints; raises UnavailableError with its last words where it fails."""
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"`{Path(command[0]).name}` did not run: {type(error).__name__}") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no output"]
        raise UnavailableError(f"`{Path(command[0]).name}` failed: {words[-1][:200]}")
    return done.stdout + done.stderr
