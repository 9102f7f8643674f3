"""How long the certificate is good yet."""

import pytest

from app.domain.health import CheckStatus
from app.monitoring.certificate import DAY_SECONDS, SOON_DAYS, Certificate
from tests.support.clock import Clock

NOW = 1_795_000_000.0
OVER, SOON = "the certificate ended on 2026-11-18: callers refuse it", "the certificate ends on 2026-12-02"


@pytest.mark.parametrize(
    ("days", "status", "reason"),
    [
        (SOON_DAYS + 0.1, CheckStatus.HEALTHY, None),
        (SOON_DAYS - 0.1, CheckStatus.DEGRADED, SOON),
        (0, CheckStatus.UNHEALTHY, OVER),
    ],
)
async def test_it_is_degraded_in_its_last_days_and_unhealthy_after_them(
    days: float, status: CheckStatus, reason: str | None
) -> None:
    certificate = Certificate(clock=Clock(NOW))
    certificate.ends = lambda: NOW + days * DAY_SECONDS

    check = await certificate.run()

    assert (check.status, check.reason) == (status, reason)


async def test_without_one_there_is_nothing_to_tell() -> None:
    certificate = Certificate(clock=Clock(NOW))

    assert (await certificate.run()).status is CheckStatus.HEALTHY
    assert [each.value for each in certificate.readings()] == [0]
