"""One line per settled call, handed on in large pieces.

Lines of our own, because structlog takes 10 µs a line and this takes half of one.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from app.domain.outcome import Outcome
from app.domain.visible import visible
from app.monitoring.writer import LineWriter

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
LINES_AT_ONCE = 32
LEVEL = "info"

_encode = msgspec.json.Encoder().encode_into


class Journal:
    """Prompts, answers and keys never come here: an `Outcome` has none."""

    def __init__(
        self,
        writer: LineWriter,
        *,
        style: Literal["json", "console"],
        refusals: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._write = self._as_json if style == "json" else self._for_people
        self.refusals = refusals
        self._clock = clock
        self._buffer = bytearray()
        self._ended: list[tuple[float, Outcome]] = []
        self._flush_due: asyncio.TimerHandle | None = None

    def record(self, outcome: Outcome) -> None:
        self._ended.append((self._clock(), outcome))
        if len(self._ended) >= LINES_AT_ONCE:
            self._write_ended()
        self._flush_soon()

    def refused(  # noqa: PLR0913 - the fields of a line
        self, *, request_id: str, route: str, status_code: int, word: str, client: str = "", trace_id: str = ""
    ) -> None:
        """What never became a call: a wrong key, an unreadable body, an unknown path; a hundred a second of a word.

        `client` is the address the connection comes from, of the last proxy where there is one.
        """
        if not self.refusals or (held := self._writer.sparing.takes(word)) is None:
            return
        self._write_ended()
        self._write(
            _Refusal(self._clock(), LEVEL, "refused", word, request_id, route, status_code, client, trace_id, held)
        )
        self._flush_soon()

    def flush(self) -> None:
        """Hand on what has gathered."""
        self._flush_due = None
        self._write_ended()
        if self._buffer:
            self._writer.write(bytes(self._buffer))
            self._buffer.clear()

    async def aclose(self) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
        self.flush()
        await asyncio.to_thread(self._writer.close)

    def _write_ended(self) -> None:
        """Lines are made by the dozen: the second one finds everything at hand, and costs half of the first."""
        ended, self._ended = self._ended, []
        for time_, outcome in ended:
            self._write(_line(time_, outcome))

    def _flush_soon(self) -> None:
        if len(self._buffer) > FLUSH_BYTES:
            self.flush()
        elif self._flush_due is None:
            self._flush_due = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def _as_json(self, line: "_Line | _Refusal") -> None:
        _encode(line, self._buffer, -1)
        self._buffer += b"\n"

    def _for_people(self, line: "_Line | _Refusal") -> None:
        clock = datetime.fromtimestamp(line.time, UTC).strftime("%H:%M:%S")
        if isinstance(line, _Refusal):
            text = f"{clock} {line.status:<22} {line.code} {line.route}  {line.request_id}"
            text += f"  {line.client}" if line.client else ""
            text += f"  {line.left_out} left out before it" if line.left_out else ""
        else:
            used = line.prompt_tokens or line.completion_tokens
            parts = [
                f"{clock} {line.status:<22} {line.ms:>9.1f} ms",
                f"{line.provider} {line.model} {line.cache}",
                f"{line.prompt_tokens}+{line.completion_tokens} tokens" if used else "",
                line.attempts if "," in line.attempts or line.status != "ok" else "",
                line.key,
                line.request_id,
            ]
            text = "  ".join(part for part in parts if part)
        self._buffer += visible(text).encode() + b"\n"


def _line(time_: float, outcome: Outcome) -> "_Line":
    first = outcome.seconds_to_first_chunk
    return _Line(
        time_, LEVEL, "call", outcome.error or "ok", outcome.request_id, outcome.caller, outcome.operation,
        outcome.model, outcome.provider, outcome.stream, outcome.cache, outcome.attempts, outcome.usage.prompt_tokens,
        outcome.usage.completion_tokens, round(outcome.seconds * 1000, 3), round(outcome.seconds_upstream * 1000, 3),
        None if first is None else round(first * 1000, 3), outcome.trace_id,
    )  # fmt: skip # by place: names would cost a microsecond


class _Line(msgspec.Struct, gc=False, omit_defaults=True):
    time: float
    level: str
    event: str
    status: str
    request_id: str
    key: str
    operation: str
    model: str
    provider: str
    stream: bool
    cache: str
    attempts: str
    prompt_tokens: int
    completion_tokens: int
    ms: float
    upstream_ms: float
    first_ms: float | None
    trace_id: str = ""


class _Refusal(msgspec.Struct, gc=False, omit_defaults=True):
    time: float
    level: str
    event: str
    status: str
    request_id: str
    route: str
    code: int
    client: str = ""
    trace_id: str = ""
    left_out: int = 0
