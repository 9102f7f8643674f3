"""How many connections callers have, may have, and were refused."""

import pytest
from structlog.testing import capture_logs

from app.domain.health import CheckStatus
from app.monitoring.connections import Connections
from app.monitoring.health.vitals import Crowd
from tests.support.clock import Clock


def test_each_that_is_refused_is_counted_and_one_a_minute_told() -> None:
    clock = Clock(0.0)
    connections = Connections(clock=clock)

    with capture_logs() as lines:
        for clock.now in (0.0, 1.0, 59.0, 61.0):
            connections.refuse()

    assert connections.refused == 4
    assert [line["refused"] for line in lines] == [1, 4]


@pytest.mark.parametrize(("count", "status"), [(0, "healthy"), (89, "healthy"), (90, "degraded"), (100, "degraded")])
async def test_the_check_is_degraded_before_the_first_is_refused(count: int, status: str) -> None:
    connections = Connections()
    connections.most, connections.open = 100, lambda: count

    check = await Crowd(connections, threshold=90).run()

    assert (check.status, check.value, check.threshold) == (status, count, 90)


async def test_it_is_degraded_for_a_minute_after_one_was_refused() -> None:
    clock = Clock(0.0)
    connections = Connections(clock=clock)
    connections.most, check = 100, Crowd(connections, threshold=90)
    connections.refuse()

    clock.now = 59.0
    assert (await check.run()).status is CheckStatus.DEGRADED
    clock.now = 60.0
    assert (await check.run()).status is CheckStatus.HEALTHY


async def test_without_a_bound_nothing_is_too_many() -> None:
    connections = Connections()
    connections.open = lambda: 1_000_000

    assert (await Crowd(connections, threshold=90).run()).status is CheckStatus.HEALTHY
