"""How a call ended; the one record that metrics and the log both read."""

from msgspec import Struct

from app.domain.errors import Failure
from app.domain.llm import CacheStatus, Operation
from app.domain.usage import NO_USAGE, TokenUsage


class Outcome(Struct, frozen=True, gc=False):
    """Durations are seconds. `error` is None for a call that ended well.

    `provider` is who answered, or who failed last; `place` is who had the call when it ended.
    """

    request_id: str
    caller: str
    operation: Operation
    model: str
    stream: bool
    seconds: float
    error: Failure | None = None
    provider: str = "none"
    place: str = "none"
    cache: CacheStatus = CacheStatus.BYPASS
    usage: TokenUsage = NO_USAGE
    attempts: str = ""
    seconds_upstream: float = 0.0
    seconds_to_first_chunk: float | None = None
