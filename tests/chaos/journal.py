"""What a provider received and sent, in the order it happened; nothing in it ever changes."""

import json
import time
from pathlib import Path
from typing import Any, TextIO

from tests.chaos.line import Asked, Line

MOST_AT_ONCE = 20_000


class Journal:
    """Two entries for each question: `received` when it is there, `sent` when its answer is over, `of` that one.

    `ending` is `complete` (the connection is kept), `closed`, `reset`, `deserted` (the other side hung up) or `failed`.
    `usage` are the tokens told, where the answer was told to its end. `bytes` 0 on a `turn` above 1 is what a client
    may ask once more.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self.open = 0
        self._file: TextIO | None = file.open("a", encoding="utf-8") if file else None

    def received(self, asked: Asked, line: Line) -> int:
        self.open += 1
        return self._add(
            kind="received",
            call=asked.call,
            row=asked.row,
            model=asked.model,
            fault=asked.spec.name,
            operation=asked.operation,
            stream=asked.stream,
            line=line.number,
            turn=line.turn,
        )

    def sent(self, number: int, asked: Asked, line: Line, ending: str) -> None:
        self.open -= 1
        self._add(
            kind="sent",
            of=number,
            call=asked.call,
            row=asked.row,
            fault=asked.spec.name,
            bytes=line.sent,
            events=line.events,
            turn=line.turn,
            usage=line.usage,
            ending=ending,
        )

    def since(self, number: int) -> dict[str, Any]:
        """Entries from that one on, not too many at once; `open` are answers that are not over."""
        return {"entries": self.entries[number : number + MOST_AT_ONCE], "open": self.open}

    def _add(self, **fields: Any) -> int:
        entry = {"number": len(self.entries), "at": time.time()} | fields
        self.entries.append(entry)
        if self._file:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        return len(self.entries) - 1
