"""A thread that writes: nobody waits for it, and what it cannot write is counted."""

import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.monitoring.lines import LinesLostError, WholeLines
from app.monitoring.writer import MOST_WAITING, LineWriter

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 20.0


class Room(io.RawIOBase):
    """A disk with so much room, and more when somebody makes some."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = bytearray()

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override] # narrower than the library's
        taken = bytes(data[: self.room])
        if not taken:
            raise OSError(28, "No space left on device")
        self.room -= len(taken)
        self.held += taken
        return len(taken)


class Stuck(io.RawIOBase):
    """Nobody reads, until `go_on`."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.held = bytearray()

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override] # narrower than the library's
        assert self.go_on.wait(PATIENCE_SECONDS)
        self.held += data
        return len(data)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("room", range(13))
def test_a_disk_without_room_holds_whole_lines_and_the_loss_is_exact(room: int) -> None:
    disk = Room(room)
    lines = WholeLines(disk)

    lost = 0
    for batch in (b"one\ntwo\n", b"six\n"):
        try:
            lines.write(batch)
        except LinesLostError as error:
            lost += error.lines
    disk.room = 1000
    lines.write(b"ten\n")

    written = bytes(disk.held).splitlines()
    assert set(written) <= {b"one", b"two", b"six", b"ten"}
    assert len(written) + lost == 4


def test_a_line_that_cannot_be_finished_waits_however_often_it_is_tried() -> None:
    disk = Room(2)
    lines = WholeLines(disk)

    lost = []
    for batch in (b"one\n", b"two\n", b"six\nten\n"):
        with pytest.raises(LinesLostError, match="No space left") as caught:
            lines.write(batch)
        lost.append(caught.value.lines)
    disk.room = 3
    with pytest.raises(LinesLostError):
        lines.write(b"two\n")
    disk.room = 100
    lines.write(b"end\n")

    assert lost == [0, 1, 2]
    assert disk.held == b"one\ntwo\nend\n"


def test_a_file_that_is_busy_is_asked_again() -> None:
    class Busy(io.BytesIO):
        refusals = 2

        def write(self, data: "bytes | memoryview") -> int | None:  # type: ignore[override] # as raw files do
            self.refusals -= 1
            return super().write(data) if self.refusals < 0 else None

    file = Busy()

    WholeLines(file).write(b"one\n")

    assert file.getvalue() == b"one\n"


def test_a_reader_who_does_not_read_stops_nothing_and_costs_lines() -> None:
    file = Stuck()
    writer = LineWriter(WholeLines(file))
    line = b"x" * 99_999 + b"\n"

    given = 2 * MOST_WAITING // len(line)
    for _ in range(given):
        writer.write(line)
    held_back = writer.lost
    file.go_on.set()
    writer.close()

    assert 0 < held_back < given
    assert file.held.count(b"\n") == given - held_back
    assert len(file.held) <= MOST_WAITING + 2 * len(line)


def test_what_is_lost_is_said_once_and_told_when_lines_are_written_again(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    disk = Room(0)
    writer = LineWriter(WholeLines(disk))

    for number in range(5):
        writer.write(b"%d\n" % number)
    until(lambda: writer.lost == 5)
    disk.room = 1000
    writer.write(b"again\n")
    writer.close()

    assert capsys.readouterr().err == "signalbox: log lines are lost: No space left on device\n"
    (told,) = [record for record in caplog.records if record.name == "signalbox.log"]
    assert (told.levelno, told.__dict__["lines"]) == (logging.WARNING, 5)
    assert disk.held == b"again\n"


def test_a_sink_that_breaks_in_another_way_does_not_end_the_thread() -> None:
    class Odd:
        """Fails once as nobody expects."""

        def __init__(self) -> None:
            self.held: list[bytes] = []
            self.closed = 0

        def write(self, lines: bytes) -> None:
            if lines.startswith(b"bad"):
                raise RuntimeError("odd")
            self.held.append(lines)

        def close(self) -> None:
            self.closed += 1

    sink = Odd()
    writer = LineWriter(sink)

    writer.write(b"bad\nbad\n")
    writer.write(b"good\n")
    writer.close()

    assert (sink.held, writer.lost, sink.closed) == ([b"good\n"], 2, 1)


def test_what_comes_after_the_end_is_written_too_and_behind_the_rest() -> None:
    file = Stuck()
    writer = LineWriter(WholeLines(file))

    writer.write(b"first\n")
    closing = threading.Thread(target=writer.close)
    closing.start()
    writer.write(b"second\n")
    file.go_on.set()
    closing.join(PATIENCE_SECONDS)
    writer.write(b"third\n")
    writer.close()
    writer.close()

    until(lambda: file.held.count(b"\n") == 3)
    assert file.held == b"first\nsecond\nthird\n"


def test_threads_that_write_at_once_mix_no_lines() -> None:
    file = io.BytesIO()
    writer = LineWriter(WholeLines(file))

    def write(name: bytes) -> None:
        for number in range(500):
            writer.write(b"%b-%d\n" % (name * 50, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    writer.close()

    written = file.getvalue().splitlines()
    assert sorted(written) == sorted(b"%b-%d" % (n * 50, i) for n in (b"a", b"b", b"c", b"d") for i in range(500))


def test_a_disk_that_is_really_full_holds_whole_lines(tmp_path: Path) -> None:
    script = """if True:
        import io, resource, sys
        from app.monitoring.lines import WholeLines
        from app.monitoring.writer import LineWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # as a quota would
        writer = LineWriter(WholeLines(io.FileIO(sys.argv[1], "ab")))
        for number in range(300):
            writer.write(b"%06d\\n" % number)
        writer.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.write(b"again!\\n")
        writer.close()
        print(writer.lost)
    """

    file = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    lines = file.read_text().splitlines()
    assert [line for line in lines if len(line) != 6] == []
    assert lines[-1] == "again!"
    assert len(lines) + int(done.stdout) == 301
    assert "log lines are lost: File too large" in done.stderr
