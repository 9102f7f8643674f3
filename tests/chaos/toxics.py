"""What a proxy does to what passes: toxiproxy's kinds, with its words.

Numbers are milliseconds and bytes. `stream` is the direction: `up` towards the server, `down` back to the client.
"""

import random
from dataclasses import dataclass, field
from typing import Literal

KINDS = {
    "latency": ("latency", "jitter"),
    "bandwidth": ("rate",),
    "slow_close": ("delay",),
    "timeout": ("timeout",),
    "reset_peer": ("timeout",),
    "slicer": ("average_size", "delay"),
    "limit_data": ("bytes",),
    "down": (),
}
"""Each with its parameters; `rate` is KB a second. `timeout` 0: nothing passes until it is taken away."""

DEFAULTS = {"average_size": 64.0, "rate": 64.0, "bytes": 1024.0, "latency": 100.0, "delay": 1.0}

Direction = Literal["up", "down"]


@dataclass(eq=False)
class Toxic:
    """One of them; it hits a connection with `probability`, decided once for each."""

    kind: str
    stream: Direction = "down"
    probability: float = 1.0
    values: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such toxic: {self.kind}; there are {', '.join(KINDS)}")
        if unknown := set(self.values) - set(KINDS[self.kind]):
            raise ValueError(f"{self.kind} has no {', '.join(sorted(unknown))}")

    def value(self, name: str) -> float:
        return self.values.get(name, DEFAULTS.get(name, 0.0))

    def seconds(self, name: str) -> float:
        return self.value(name) / 1000

    def wait(self, dice: random.Random) -> float:
        """Of latency: seconds for this piece."""
        jitter = self.seconds("jitter")
        return max(0.0, self.seconds("latency") + dice.uniform(-jitter, jitter))


def toxic(written: str) -> Toxic:
    """From `latency=200,jitter=50,stream=up,probability=0.5`, or `timeout` alone; the kind stands first."""
    first, *rest = written.split(",")
    kind, sign, value = first.partition("=")
    named = dict(each.split("=", 1) for each in rest)
    direction = named.pop("stream", "down")
    probability = float(named.pop("probability", 1))
    parameters = KINDS.get(kind, ())
    if sign and parameters:
        named[parameters[0]] = value
    if direction not in {"up", "down"}:
        raise ValueError(f"no such direction: {direction}")
    values = {name: float(each) for name, each in named.items()}
    return Toxic(kind, "up" if direction == "up" else "down", probability, values)
