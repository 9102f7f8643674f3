"""A log file kept within bounds: rotated when it is full, opened again when somebody moved it away."""

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from app.monitoring.lines import LinesLostError, WholeLines

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be moved anyway
    fcntl = None  # type: ignore[assignment] # a module or nothing

TIDY_SECONDS = 3600.0
RETRY_SECONDS = 60.0
DAY_SECONDS = 86400.0
MODE = 0o640
DEVICES = ("/dev/", "/proc/")

logger = logging.getLogger("signalbox.log")


class LogFile:
    """`app.log` is written, `app.log.1` was full last, `app.log.2` before it, as the standard library names them.

    With `max_bytes` 0 it is somebody else's to rotate and to remove; so is whatever is no ordinary file. Processes may
    share one. Raises OSError when it cannot be opened; a directory that is not there is made.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        backups: int,
        retention_days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        real = path.resolve()  # of a link its target is rotated; /dev/stdout may be a link to a file of others
        self._path = path.absolute() if _is_device(path.absolute()) or _is_device(real) else real
        self._max_bytes = max_bytes
        self._backups = backups
        self._retention = retention_days * DAY_SECONDS
        self._clock = clock
        self._rotates = False
        self._size = 0
        self._tidy_from = self._retry_from = 0.0
        self._file: FileIO | None = None
        self._lines: WholeLines
        self._open()

    def write(self, lines: bytes) -> None:
        self._look()
        while lines:
            end = self._fitting(lines)
            if end == 0:
                if self._rotate():
                    continue
                end = len(lines)
            now, lines = lines[:end], lines[end:]
            try:
                self._lines.write(now)
            except LinesLostError as error:
                raise LinesLostError(error.lines + lines.count(b"\n"), f"{self._path}: {error}") from None
            self._size += end
        if self._is_due(self._tidy_from, TIDY_SECONDS):
            self._tidy()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        if not self._path.parent.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(self._path, "ab", opener=_opened)
        self.close()
        status = os.fstat(file.fileno())
        self._rotates = self._max_bytes > 0 and stat.S_ISREG(status.st_mode) and not _is_device(self._path)
        self._file, self._lines, self._size = file, WholeLines(file), status.st_size

    def _look(self) -> None:
        """Another may have moved it away, emptied it, or written to it."""
        if self._file is not None:
            if self._is_in_place():
                return
            with suppress(LinesLostError):  # else its line is the last of a file that was moved, and half
                self._lines.write(b"")
        try:
            self._open()
        except OSError as error:
            if self._file is None:
                raise
            self._complain("the log file was moved away and cannot be made anew", error)

    def _is_in_place(self) -> bool:
        assert self._file is not None
        here = os.fstat(self._file.fileno())
        self._size = here.st_size
        try:
            return os.path.samestat(self._path.stat(), here)
        except OSError:
            return False

    def _fitting(self, lines: bytes) -> int:
        """The end of what may still be written into this file: all, some whole lines, or 0."""
        room = self._max_bytes - self._size
        if not self._rotates or len(lines) <= room or self._lines.owed:
            return len(lines)
        if end := lines.rfind(b"\n", 0, max(room, 0)) + 1:
            return end
        return 0 if self._size else lines.find(b"\n") + 1

    def _rotate(self) -> bool:
        """Begin a new file; where that fails the old one grows on, for losing lines would be worse."""
        assert self._file is not None
        if not self._is_due(self._retry_from, RETRY_SECONDS):
            return False
        try:
            with _alone(self._file):
                if self._is_in_place():
                    self._shift()
                self._open()
        except BlockingIOError:
            return False
        except OSError as error:
            self._complain("the log file cannot be rotated and grows on", error)
            return False
        self._tidy()
        return True

    def _shift(self) -> None:
        """The file itself goes last: whoever sees it gone may begin the next one."""
        for number in range(self._backups - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        if self._backups:
            self._path.replace(self._numbered(1))
        else:
            self._path.unlink()

    def _tidy(self) -> None:
        """Remove full files beyond their number or their age; of the former only those that follow ours."""
        self._tidy_from = self._clock() + TIDY_SECONDS
        if not self._rotates:
            return
        number = self._backups + 1
        with suppress(OSError):
            while True:
                self._numbered(number).unlink()
                number += 1
        oldest = self._clock() - self._retention
        for number in range(1, self._backups + 1) if self._retention else ():
            with suppress(OSError):
                if self._numbered(number).stat().st_mtime < oldest:
                    self._numbered(number).unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _is_due(self, at: float, wait: float) -> bool:
        """Also where the clock was put back since: then `at` is further away than was ever waited."""
        return not at - wait <= self._clock() < at

    def _complain(self, what: str, error: OSError) -> None:
        if self._is_due(self._retry_from, RETRY_SECONDS):
            self._retry_from = self._clock() + RETRY_SECONDS
            logger.warning(what, extra={"file": str(self._path), "error": error.strerror or str(error)})


@contextmanager
def _alone(file: FileIO) -> Iterator[None]:
    """Of those who share a file one rotates it; raises BlockingIOError for the others, who go on without waiting."""
    locked = _locked(file)
    try:
        yield
    finally:
        if locked and not file.closed:
            fcntl.flock(file, fcntl.LOCK_UN)


def _locked(file: FileIO) -> bool:
    """False where the file system has no locks: nobody else is likely to be there."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_device(path: Path) -> bool:
    return str(path).startswith(DEVICES)


def _opened(path: str, flags: int) -> int:
    """Without waiting for a named pipe to be read; it raises OSError instead."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), MODE)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.set_blocking(descriptor, True)
    return descriptor
