"""What we hold ourselves to, and how far we are from it."""

from collections.abc import Callable

import msgspec

from benchmarks.lives import LIFE, WORKERS
from benchmarks.results import Results

OURS = "signalbox"
IN_REDIS = "signalbox-redis"
UNCOUNTED = "signalbox-uncounted"


class Target(msgspec.Struct, frozen=True):
    """A figure with what it must and what it may one day reach."""

    title: str
    must: float
    stretch: float
    figure: Callable[[Results], float | None]
    of: tuple[tuple[str, str], ...]
    """The loads and gateways it is made of: an error in one of them makes it worthless."""
    unit: str = ""
    more: bool = False
    """Whether more is better."""

    @property
    def sign(self) -> str:
        return "≥" if self.more else "≤"

    def verdict(self, value: float, goal: float) -> str:
        """Met or missed, and by what part of the goal."""
        part = (value / goal - 1 if self.more else 1 - value / goal) * 100
        return f"met by {part:.0f} %" if part >= 0 else f"missed by {-part:.0f} %"


def times(load: str, peer: str, title: str, goals: tuple[float, float], ours: str = OURS) -> Target:
    """Requests a second against a peer's."""
    return Target(
        title=title,
        must=goals[0],
        stretch=goals[1],
        figure=lambda results: results.ratio(load, "rps", ours, peer),
        of=((load, ours), (load, peer)),
        unit="x",
        more=True,
    )


def added(load: str, field: str, title: str, goals: tuple[float, float], milliseconds: bool = False) -> Target:  # noqa: FBT001, FBT002 - said by name
    """What Signalbox adds to the direct way."""
    scale = 1000 if milliseconds else 1

    def figure(results: Results) -> float | None:
        value = results.difference(load, field, OURS, "direct")
        return None if value is None else value / scale

    unit = " ms" if milliseconds else " µs"
    return Target(title, *goals, figure=figure, of=((load, OURS), (load, "direct")), unit=unit)


def plain(load: str, field: str, title: str, goals: tuple[float, float], unit: str) -> Target:
    """Signalbox's own figure."""
    return Target(
        title, *goals, figure=lambda results: results.median(load, OURS, field), of=((load, OURS),), unit=unit
    )


def _second_worker(results: Results) -> float | None:
    one, two = (results.median(WORKERS, OURS, field) for field in ("one", "two"))
    return two / one if one and two else None


TARGETS = (
    times("json-1k", "litellm", "JSON 1 KB, requests/s against LiteLLM", (80, 150)),
    times("json-1k", "portkey", "JSON 1 KB, requests/s against Portkey", (10, 20)),
    times("json-1k", "tensorzero", "JSON 1 KB, requests/s against TensorZero", (1.3, 2)),
    times("json-1k", "sglang-router", "JSON 1 KB, requests/s against sglang-router", (0.75, 1.1)),
    times("json-1k", "nginx", "JSON 1 KB, requests/s against nginx", (0.22, 0.35)),
    plain("json-1k", "cpu", "JSON 1 KB, CPU for a request", (60, 42), " µs"),
    times("json-1k", UNCOUNTED, "JSON 1 KB, requests/s against ours without metrics", (0.95, 0.98)),
    times("json-10k", "sglang-router", "JSON 10 KB, requests/s against sglang-router", (0.75, 1.1)),
    times("json-100k", "sglang-router", "JSON 100 KB, requests/s against sglang-router", (0.75, 1.1)),
    added("rate-1000", "p50", "1,000 requests/s, added to the median", (150, 100)),
    added("rate-1000", "p99", "1,000 requests/s, added to the 99th percentile", (400, 200)),
    added("think-50", "p50", "50 ms upstream, added to the median", (1, 0.4), milliseconds=True),
    times("hit-1k", "litellm-redis", "hit in Redis, requests/s against LiteLLM with Redis", (50, 90), IN_REDIS),
    times("hit-1k", "litellm-redis", "hit in the process, requests/s against LiteLLM with Redis", (100, 140)),
    plain("stream-paced", "cpu_event", "500 paced streams, CPU for an event", (28, 20), " µs"),
    added("stream-rate", "first50", "300 new streams/s, added to the first event", (0.6, 0.35), milliseconds=True),
    added("stream-burst", "first50", "500 streams at once, added to the first event", (40, 15), milliseconds=True),
    plain(LIFE, "idle", "memory at rest", (70, 45), " MiB"),
    plain(LIFE, "streamed", "memory after 500 streams", (90, 55), " MiB"),
    plain(LIFE, "slope", "memory for 1,000 requests more", (1, 0.1), " kB"),
    plain(LIFE, "cold", "cold start to the first answer", (0.6, 0.3), " s"),
    Target(
        "CPU for a request with a second worker, against one", 1.1, 1.03, _second_worker, ((WORKERS, OURS),), unit="x"
    ),
)
