"""What is done about providers that fail."""

from typing import Annotated

from msgspec import Meta

from app.settings.types import Percent, Seconds, Section


class RetrySettings(Section, frozen=True):
    """The same target again, `max_retries` times per call; waits are jittered, and at most `max_wait_seconds`.

    All calls together may retry a provider as often as `budget_percent` of what it is asked for, and
    `budget_per_second` times a second besides.
    """

    max_retries: Annotated[int, Meta(ge=0, le=2)] = 2
    backoff_seconds: Seconds = 0.2
    max_wait_seconds: Seconds = 5
    budget_percent: Annotated[float, Meta(ge=0, le=100)] = 20
    budget_per_second: Annotated[float, Meta(ge=0, le=1e6)] = 2


class BreakerSettings(Section, frozen=True):
    """When a provider, or a model of it, is left alone: after so many `failures` in a row, or when more than
    `error_percent` of at least 20 calls within `window_seconds` fail. 0 failures: never.

    It is tried again after `open_seconds`, each further time after twice as long, up to `max_open_seconds`; one that
    refuses our key after `max_open_seconds`.
    """

    failures: Annotated[int, Meta(ge=0, le=1000)] = 5
    error_percent: Percent = 50
    window_seconds: Seconds = 30
    open_seconds: Seconds = 10
    max_open_seconds: Seconds = 60
