"""What happens when: made of the seed alone, before anything is started."""

import random
from typing import NamedTuple

ROWS = ("a", "b")
"""The providers that are harmed; `c` is left in peace."""

PROVIDER_FAULTS = (
    "fault:http?status=500",
    "fault:http?status=503&retry_after=1",
    "fault:http?status=502&body=html",
    "fault:limited?retry_after_ms=50",
    "fault:limited",
    "fault:unauthorized",
    "fault:payment",
    "fault:hang",
    "fault:hang_head",
    "fault:hang_body",
    "fault:hang_mid_stream",
    "fault:latency?ms=400",
    "fault:drip?bytes=64",
    "fault:reset",
    "fault:close",
    "fault:reset_mid_stream",
    "fault:truncate",
    "fault:eof",
    "fault:text?kind=html",
    "fault:text?kind=no_choices",
    "fault:cut_body",
    "fault:two_lengths",
    "fault:extra_answer",
    "fault:error_event",
    "fault:interim",
    "fault:header_lines",
    "fault:garbage",
    "fault:endless_pings",
    "fault:huge_event",
)
TOXICS = (
    "latency=200,jitter=100",
    "latency=100,stream=up",
    "bandwidth=32",
    "slicer=5,delay=1",
    "slow_close=500",
    "timeout=0",
    "timeout=0,probability=0.3",
    "timeout=300,probability=0.5",
    "reset_peer=100,probability=0.5",
    "reset_peer=0,probability=0.3",
    "limit_data=700,probability=0.5",
    "down",
)
KINDS = {"provider": 5, "toxic": 4, "cut": 1, "redis": 4, "redis_toxic": 2, "flood": 2, "reload": 1, "pause": 1}
"""Each with its weight. A new kind needs a method of that name in `nemeses.py`."""
REDIS = ("stop", "restart", "flush", "restart", "kick")
QUIET_SECONDS = 4.0


class Step(NamedTuple):
    """One fault: when it begins, for how many seconds it lasts, and whom it hits."""

    at: float
    kind: str
    seconds: float
    row: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind:<12} {self.row} {self.what} for {self.seconds:.1f} s"


def chaos(seed: int, seconds: float) -> list[Step]:
    """Anything at any time; several may overlap, and the end is quiet."""
    dice = random.Random(f"schedule {seed}")  # noqa: S311 - an order, not a secret
    steps, at = [], 1.0
    while at < seconds - QUIET_SECONDS:
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        lasts = min(dice.uniform(0.5, 6.0), max(0.5, seconds - QUIET_SECONDS - at))
        steps.append(Step(at, kind, lasts, dice.choice(ROWS), _what(kind, dice)))
        at += dice.uniform(0.5, 4.0)
    return steps


def mixed(seed: int, seconds: float) -> list[Step]:
    """A soak's: a twentieth of all attempts fail all the time, Redis is restarted and settings are read again."""
    dice = random.Random(f"schedule {seed}")  # noqa: S311 - an order, not a secret
    steps = [Step(0.0, "share", seconds - QUIET_SECONDS, row, "0.05") for row in ROWS]
    for part in range(1, 5):
        steps.append(Step(seconds * part / 5, "redis", min(2.0, seconds / 20), "a", "restart"))
        steps.append(
            Step(seconds * (part - 0.5) / 5, "reload", min(1.0, seconds / 20), "a", dice.choice(["good", "bad"]))
        )
    return sorted(steps)


def _what(kind: str, dice: random.Random) -> str:
    words = {"toxic": TOXICS, "redis_toxic": TOXICS, "redis": REDIS, "reload": ("good", "bad")}
    if kind == "provider":
        return f"{dice.choice(PROVIDER_FAULTS)} {dice.choice([0.05, 0.3, 1.0])}"
    if kind == "flood":
        return f"{dice.choice(['half', 'silent', 'trickle'])} {dice.randint(20, 200)}"
    return dice.choice(words[kind]) if kind in words else ""
