"""Where lines end: something that is open already, each line of it whole or missing."""

import time
from typing import Protocol

BUSY_SECONDS = 0.01


class LinesLostError(Exception):
    """So many `lines` could not be written, and why."""

    def __init__(self, lines: int, why: str) -> None:
        super().__init__(why)
        self.lines = lines


class Sink(Protocol):
    """Asked by one thread at a time."""

    def write(self, lines: bytes, /) -> None:
        """Write whole lines; raises LinesLostError."""
        ...

    def close(self) -> None:
        """Let go of what is open; what is written later opens it again."""
        ...


class RawFile(Protocol):
    """A file without a buffer: what it says is written is written."""

    def write(self, data: memoryview, /) -> int | None:
        """How much was taken; None: nothing, for now."""
        ...


class WholeLines:
    """A line that was cut short by a disk without room is finished before the next one begins."""

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self.owed = b""
        """The rest of the line that was begun."""

    def write(self, lines: bytes) -> None:
        data = self.owed + lines
        done = 0
        view = memoryview(data)
        try:
            while done < len(data):
                written = self._file.write(view[done:])
                if written is None:  # somebody made it non-blocking, and nobody reads
                    time.sleep(BUSY_SECONDS)
                else:
                    done += written
        except (OSError, ValueError) as error:  # ValueError: it was closed
            begun = data[done - 1 : done] != b"\n" if done else bool(self.owed)
            end = data.find(b"\n", done) + 1 if begun else done
            self.owed = data[done:end]
            raise LinesLostError(data.count(b"\n", end), getattr(error, "strerror", None) or str(error)) from None
        self.owed = b""

    def close(self) -> None:
        """It was open before, and stays so."""
