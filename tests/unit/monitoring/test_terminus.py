"""The report as LLM Service shapes it."""

import pytest

from app.domain.errors import OF_CALLERS, OF_NO_PROVIDER, Failure
from app.domain.health import Check, CheckStatus
from app.monitoring.health.terminus import terminus
from tests.support.checks import asked, service
from tests.support.metrics import outcome

HOT = Check(status=CheckStatus.DEGRADED, reason="hot")


async def test_all_is_well() -> None:
    made, metrics = service(asked("provider:a"), redis=asked("redis"))
    for _ in range(3):
        metrics.calls.settled(outcome(seconds=0.25))
    metrics.providers.moved("", "a", "m")

    body = terminus(await made.report(), metrics)

    details = body["details"]
    assert body == {"status": "ok", "info": details, "error": {}, "details": details}
    assert details["redis"].keys() == {"status", "details"}
    assert details["redis"]["status"] == "up"
    assert details["redis"]["details"]["connection"] == "connected"
    assert details["redis"]["details"]["latency"] >= 0
    assert details["providers"]["status"] == "up"
    assert details["providers"]["details"]["a"].keys() == {"status", "latency"}
    assert details["system"] == {
        "status": "up",
        "details": {"errorRate": 0, "activeRequests": 1, "averageLatency": 250},
    }


@pytest.mark.parametrize(("failed", "status"), [(4, "up"), (5, "degraded")])
async def test_the_system_is_degraded_from_one_in_twenty(failed: int, status: str) -> None:
    made, metrics = service(asked("provider:a"))
    for number in range(100):
        metrics.calls.settled(outcome(error=Failure.UPSTREAM_ERROR if number < failed else ""))

    system = terminus(await made.report(), metrics)["details"]["system"]

    assert (system["status"], system["details"]["errorRate"]) == (status, failed / 100)


@pytest.mark.parametrize("word", sorted(OF_CALLERS | OF_NO_PROVIDER))
async def test_what_callers_do_does_not_degrade_the_system(word: Failure) -> None:
    made, metrics = service(asked("provider:a"))
    metrics.calls.settled(outcome(error=word), outcome(), outcome(error=word), outcome())

    system = terminus(await made.report(), metrics)["details"]["system"]

    assert (system["status"], system["details"]["errorRate"]) == ("up", 0)


async def test_what_makes_it_an_error_stands_there() -> None:
    made, metrics = service(
        asked("provider:a", down=True),
        redis=asked("redis", down=True),
        others=[asked("custom:x", HOT), asked("cpu_usage", HOT)],
    )

    body = terminus(await made.report(), metrics)

    assert body["status"] == "error"
    assert body["error"].keys() == {"providers"}
    assert body["error"]["providers"]["details"]["a"] == {"status": "down", "latency": None, "message": "down"}
    assert body["info"].keys() == {"redis", "system", "custom:x"}
    assert body["info"]["redis"]["status"] == "down"
    assert body["info"]["redis"]["details"] == {"connection": "disconnected", "latency": None, "message": "down"}
    assert body["info"]["custom:x"] == {"status": "degraded", "details": {"message": "hot"}}
    assert body["details"].keys() == {"redis", "providers", "system", "custom:x"}


async def test_a_provider_whose_loss_is_tolerated_is_no_error() -> None:
    made, metrics = service(asked("provider:a"), asked("provider:b", down=True), fail_on="all")

    body = terminus(await made.report(), metrics)

    assert (body["status"], body["error"]) == ("ok", {})
    assert body["info"]["providers"]["status"] == "degraded"
