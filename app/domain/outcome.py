"""How a call ended; the one record that metrics and the log both read."""

from msgspec import Struct

from app.domain.errors import Failure
from app.domain.llm import CacheStatus, Operation
from app.domain.usage import NO_USAGE, TokenUsage


class Outcome(Struct, frozen=True, gc=False):
    """Durations are seconds. `error` is None for a call that ended well.

    `provider` is who answered, or who failed last; `place` is who had the call when it ended. Of a stream that had
    begun `seconds_to_first_chunk` is set, and what its caller was sent is counted: events, their bytes, and the longest
    wait between two of them.
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
    chunks: int = 0
    chunk_bytes: int = 0
    largest_gap: float = 0.0
    trace_id: str = ""
    public_model: str = "unknown"
    """The model's name for labels, of which there are few: a route's, or one that a provider lists."""
    sampled: bool = False
    """Whether somebody keeps the trace."""
