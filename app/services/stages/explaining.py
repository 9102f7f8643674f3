"""Says at level debug who was chosen for a call, among whom, and why."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from app.domain.errors import NoTargetError
from app.domain.upstream_errors import UpstreamError
from app.monitoring.metrics import ProviderMetrics
from app.providers.registry import Target
from app.services.stages.base import Call

NAME = "signalbox.selection"

logger = structlog.get_logger(NAME)


class Skipped(NamedTuple):
    """A target that is not asked for so many seconds more."""

    target: Target
    seconds: float


class Explainer:
    """One line for each attempt: the first says why its target leads the list, the others what made them needed."""

    def __init__(self, metrics: ProviderMetrics) -> None:
        self._metrics = metrics

    def chose(
        self,
        call: Call,
        target: Target,
        among: Sequence[Target],
        failed: UpstreamError | None,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """`failed` is what the target before ended with; `active` are the calls each provider has now.

        Those skipped have open breakers.
        """
        logger.debug(
            "selection",
            request_id=call.request_id,
            model=call.request.model,
            reason="fallback" if failed or skipped else target.reason,
            chosen=_written(target),
            candidates=[_written(each) for each in among],
            active={each.provider.name: self._metrics.active(each.provider.name) for each in among},
            **_left_out(skipped),
            **_why(failed),
        )

    def nobody(self, call: Call, skipped: Sequence[Skipped]) -> None:
        """There was none that could be asked."""
        logger.debug(
            "selection",
            request_id=call.request_id,
            model=call.request.model,
            reason=NoTargetError.word,
            **_left_out(skipped),
        )

    def again(self, call: Call, target: Target, wait: float, failed: UpstreamError) -> None:
        """The same target is asked once more in `wait` seconds."""
        logger.debug(
            "selection",
            request_id=call.request_id,
            model=call.request.model,
            reason="retry",
            chosen=_written(target),
            wait_seconds=round(wait, 3),
            **_why(failed),
        )


def explainer(metrics: ProviderMetrics) -> Explainer | None:
    """None where nobody would read it; asked once, so that a call pays nothing."""
    return Explainer(metrics) if logging.getLogger(NAME).isEnabledFor(logging.DEBUG) else None


def _left_out(skipped: Sequence[Skipped]) -> dict[str, dict[str, float]]:
    """Seconds until each may be asked again."""
    return {"skipped": {_written(each.target): round(each.seconds, 1) for each in skipped}} if skipped else {}


def _why(failed: UpstreamError | None) -> dict[str, str]:
    """What it was in our words; a provider's own might quote the question."""
    if failed is None:
        return {}
    why = {"failed": str(failed.word), "detail": failed.detail}
    return {name: text for name, text in why.items() if text}


def _written(target: Target) -> str:
    return f"{target.provider.name}:{target.model}"
