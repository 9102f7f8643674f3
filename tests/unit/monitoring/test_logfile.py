"""A file that stays within its bounds, and loses no line when it is rotated, moved or in the way."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.monitoring.lines import LinesLostError
from app.monitoring.logfile import DAY_SECONDS, RETRY_SECONDS, TIDY_SECONDS, LogFile
from tests.support.clock import Clock

LINE = b"123456789\n"

Make = Callable[..., LogFile]


@pytest.fixture
def clock() -> Clock:
    return Clock(1e9)


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    made: list[LogFile] = []

    def make(path: Path | None = None, **settings: Any) -> LogFile:
        usual = {"max_bytes": 30, "backups": 3, "retention_days": 0.0, "clock": clock}
        made.append(LogFile(path or tmp_path / "log", **usual | settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def held(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(directory.iterdir()) if each.is_file()}


def test_a_full_file_is_kept_under_a_number_and_the_oldest_goes(make: Make, tmp_path: Path) -> None:
    file = make(backups=2)

    for number in range(10):
        file.write(b"line %04d\n" % number)

    assert held(tmp_path) == {
        "log": b"line 0009\n",
        "log.1": b"line 0006\nline 0007\nline 0008\n",
        "log.2": b"line 0003\nline 0004\nline 0005\n",
    }


def test_a_piece_of_many_lines_is_shared_out_among_files(make: Make, tmp_path: Path) -> None:
    lines = [b"line %04d\n" % number for number in range(11)]
    file = make(backups=9)

    file.write(b"".join(lines))

    files = held(tmp_path)
    assert {len(each) for each in files.values()} == {30, 20}
    assert b"".join(files[name] for name in ("log.3", "log.2", "log.1", "log")) == b"".join(lines)


def test_a_line_longer_than_a_file_may_be_has_one_to_itself(make: Make, tmp_path: Path) -> None:
    file = make()

    file.write(LINE + b"x" * 100 + b"\n" + LINE)

    assert held(tmp_path) == {"log": LINE, "log.1": b"x" * 100 + b"\n", "log.2": LINE}


def test_without_backups_the_full_file_is_dropped(make: Make, tmp_path: Path) -> None:
    file = make(backups=0)

    file.write(LINE * 4)

    assert held(tmp_path) == {"log": LINE}


def test_what_was_there_counts_and_is_written_behind(make: Make, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE * 2)
    file = make()

    file.write(LINE * 2)

    assert held(tmp_path) == {"log": LINE, "log.1": LINE * 3}


def test_zero_bytes_is_for_those_who_rotate_themselves(make: Make, tmp_path: Path) -> None:
    theirs = {f"log.{number}": b"theirs" for number in range(1, 9)}
    for name, text in theirs.items():
        (tmp_path / name).write_bytes(text)
        os.utime(tmp_path / name, (1, 1))
    file = make(max_bytes=0, retention_days=1.0)

    file.write(LINE * 100)

    assert held(tmp_path) == theirs | {"log": LINE * 100}


def test_old_files_and_those_beyond_the_number_are_removed_and_others_stay(
    make: Make, tmp_path: Path, clock: Clock
) -> None:
    for name, days in {"log.1": 1, "log.2": 9, "log.4": 1, "log.5": 1, "log.2024": 99, "log.x": 99, "lo": 99}.items():
        (tmp_path / name).write_bytes(b"")
        written = clock.now - days * DAY_SECONDS
        os.utime(tmp_path / name, (written, written))
    file = make(retention_days=7.0)

    file.write(LINE)

    assert set(held(tmp_path)) == {"log", "log.1", "log.2024", "log.x", "lo"}


def test_age_is_looked_at_though_nothing_is_rotated(make: Make, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "log.1").write_bytes(b"")
    os.utime(tmp_path / "log.1", (clock.now, clock.now))
    file = make(retention_days=1.0)

    file.write(LINE)
    assert "log.1" in held(tmp_path)
    clock.now += DAY_SECONDS + TIDY_SECONDS
    file.write(LINE)

    assert set(held(tmp_path)) == {"log"}


def test_a_file_that_was_moved_away_is_made_anew(make: Make, tmp_path: Path) -> None:
    file = make(max_bytes=0)

    file.write(b"before\n")
    (tmp_path / "log").rename(tmp_path / "moved")
    file.write(b"after\n")
    (tmp_path / "log").unlink()
    file.write(b"again\n")

    assert held(tmp_path) == {"log": b"again\n", "moved": b"before\n"}


def test_so_is_its_directory(make: Make, tmp_path: Path) -> None:
    file = make(tmp_path / "deep" / "er" / "log")

    file.write(b"before\n")
    (tmp_path / "deep").rename(tmp_path / "moved")
    file.write(b"after\n")

    assert (tmp_path / "deep" / "er" / "log").read_bytes() == b"after\n"
    assert (tmp_path / "moved" / "er" / "log").read_bytes() == b"before\n"


def test_a_file_that_was_emptied_is_written_from_its_start(make: Make, tmp_path: Path) -> None:
    file = make()

    file.write(LINE * 3)
    os.truncate(tmp_path / "log", 0)
    file.write(LINE)

    assert held(tmp_path) == {"log": LINE}


def test_where_it_cannot_be_made_anew_the_old_one_is_written(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = make()

    file.write(LINE)
    (tmp_path / "log").rename(tmp_path / "moved")
    (tmp_path / "log").mkdir()
    file.write(LINE)
    file.write(LINE)
    (tmp_path / "log").rmdir()
    file.write(LINE)

    assert held(tmp_path) == {"log": LINE, "moved": LINE * 3}
    assert [record.message for record in caplog.records] == ["the log file was moved away and cannot be made anew"]


def test_where_it_cannot_be_rotated_it_grows_and_is_tried_again_later(
    make: Make, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.1").mkdir()
    file = make(backups=1)

    for _ in range(50):
        file.write(LINE)
    assert held(tmp_path) == {"log": LINE * 50}
    assert [record.message for record in caplog.records] == ["the log file cannot be rotated and grows on"]
    (tmp_path / "log.1").rmdir()
    clock.now += RETRY_SECONDS
    file.write(LINE)

    assert held(tmp_path) == {"log": LINE, "log.1": LINE * 50}


def test_processes_that_share_a_file_lose_nothing(make: Make, tmp_path: Path) -> None:
    files = [make(max_bytes=500, backups=1000) for _ in range(3)]

    def write(file: LogFile, name: int) -> None:
        for number in range(400):
            file.write(b"%d-%06d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(file, name)) for name, file in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    lines = b"".join(held(tmp_path).values()).splitlines()
    assert sorted(lines) == sorted(b"%d-%06d" % (name, number) for name in range(3) for number in range(400))


def test_of_a_link_the_target_is_rotated(make: Make, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "log").symlink_to(tmp_path / "real" / "log")
    file = make()

    file.write(LINE * 4)

    assert (tmp_path / "log").is_symlink()
    assert held(tmp_path / "real") == {"log": LINE, "log.1": LINE * 3}


def test_what_is_no_ordinary_file_is_only_written(make: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    file = make(tmp_path / "pipe")

    file.write(LINE * 10)

    assert os.read(reader, 1000) == LINE * 10
    os.close(reader)
    with pytest.raises(LinesLostError, match="Broken pipe") as caught:
        file.write(LINE * 2)
    assert caught.value.lines == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pipe"]


def test_a_pipe_nobody_reads_does_not_hold_up_the_start(make: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="No such device or address"):
        make(tmp_path / "pipe")


def test_a_full_device_loses_each_line_and_says_where(make: Make) -> None:
    file = make(Path("/dev/full"))

    with pytest.raises(LinesLostError, match="/dev/full: No space left on device") as caught:
        file.write(LINE * 7)

    assert caught.value.lines == 7


def test_a_directory_is_no_file(make: Make, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        make(tmp_path)


def test_only_its_owner_writes_it_and_nobody_else_reads_it(make: Make, tmp_path: Path) -> None:
    make().write(LINE)

    assert (tmp_path / "log").stat().st_mode & 0o137 == 0


def test_what_was_closed_is_opened_again(make: Make, tmp_path: Path) -> None:
    file = make()

    file.write(LINE)
    file.close()
    file.write(LINE)

    assert held(tmp_path) == {"log": LINE * 2}
