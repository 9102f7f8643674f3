"""How long the certificate is good yet."""

import pytest

from app.domain.health import CheckStatus
from app.monitoring.certificate import Certificate
from app.settings.tls import Validity
from tests.support.clock import Clock

NOW, DAY = 1_795_000_000.0, 86_400.0
OVER = "the certificate ended on 2026-11-18 11:06 UTC: callers refuse it"


@pytest.mark.parametrize(
    ("lasts", "left", "status", "reason"),
    [
        (90, 14.1, CheckStatus.HEALTHY, None),
        (90, 13.9, CheckStatus.DEGRADED, "the certificate ends on 2026-12-02 08:42 UTC"),
        (90, 0, CheckStatus.UNHEALTHY, OVER),
        (6, 2.1, CheckStatus.HEALTHY, None),
        (6, 1.9, CheckStatus.DEGRADED, "the certificate ends on 2026-11-20 08:42 UTC"),
        (6, 0, CheckStatus.UNHEALTHY, OVER),
        (6, 7, CheckStatus.UNHEALTHY, "the certificate is not good before 2026-11-19 11:06 UTC: callers refuse it"),
    ],
)
async def test_it_is_degraded_in_its_last_days_and_unhealthy_after_them(
    lasts: float, left: float, status: CheckStatus, reason: str | None
) -> None:
    certificate = Certificate(clock=Clock(NOW))
    certificate.validity = lambda: Validity(NOW + (left - lasts) * DAY, NOW + left * DAY)

    check = await certificate.run()

    assert (check.status, check.reason) == (status, reason)


async def test_one_whose_end_nobody_can_tell_is_not_blamed_and_says_so() -> None:
    certificate = Certificate(clock=Clock(NOW))

    check = await certificate.run()

    assert (check.status, check.reason) == (CheckStatus.HEALTHY, "its end is not known")
    assert [each.value for each in certificate.readings()] == [0, 0]
