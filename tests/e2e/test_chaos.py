"""A short run of callers and faults at random; `make chaos` is the long one."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.run.runner import Plan, run
from tests.support.processes import redis_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(redis_server() is None, reason="needs redis-server"),
]


@pytest.mark.parametrize("mix", ["chaos", "soak"])
def test_everything_is_settled_once_whatever_happens(directory: Path, mix: str) -> None:
    plan = Plan(seed=20, seconds=12, callers=12, plays_per_second=50, mix=mix)

    found = asyncio.run(run(directory, plan))

    assert {name: wrongs for name, wrongs in found.items() if wrongs} == {}
