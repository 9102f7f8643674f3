"""What the log is told by its own names and by those of others."""

from pathlib import Path
from typing import Any

import pytest

from app.settings import ConfigError, Loaded, LogSettings, effective, load, style_of


def from_file(tmp_path: Path, text: str, environ: dict[str, str]) -> Loaded:
    file = tmp_path / "signalbox.yaml"
    file.write_text(text)
    return load(file, environ)


@pytest.mark.parametrize(
    ("text", "environ", "level", "origin"),
    [
        ("", {}, "info", "default"),
        ("", {"LOG_LEVEL": "INFO"}, "info", "environment LOG_LEVEL"),
        ("", {"LOG_LEVEL": "WARN"}, "warning", "environment LOG_LEVEL"),
        ("", {"LOG_LEVEL": " Fatal "}, "critical", "environment LOG_LEVEL"),
        ("log: {level: CRITICAL}", {}, "critical", "signalbox.yaml"),
        ("", {"SIGNALBOX__LOG__LEVEL": "Warn"}, "warning", "environment SIGNALBOX__LOG__LEVEL"),
        ("", {"DEBUG": "true"}, "debug", "environment DEBUG"),
        ("", {"DEBUG": "1"}, "debug", "environment DEBUG"),
        ("log: {level: error}", {"DEBUG": "TRUE"}, "debug", "environment DEBUG"),
        ("", {"DEBUG": "false"}, "info", "default"),
        ("", {"DEBUG": "express:*"}, "info", "default"),
        ("", {"DEBUG": "true", "LOG_LEVEL": "error"}, "error", "environment LOG_LEVEL"),
        ("", {"DEBUG": "yes", "SIGNALBOX__LOG__LEVEL": "info"}, "info", "environment SIGNALBOX__LOG__LEVEL"),
    ],
)
def test_the_level_and_who_set_it(tmp_path: Path, text: str, environ: dict[str, str], level: str, origin: str) -> None:
    loaded = from_file(tmp_path, text, environ)

    (row,) = [row for row in effective(loaded) if row[0] == "log.level"]
    assert row[1] == level
    assert row[2].endswith(origin)


def test_a_debug_that_does_not_count_is_told(tmp_path: Path) -> None:
    both = from_file(tmp_path, "", {"DEBUG": "true", "LOG_LEVEL": "error"})

    assert both.notices == ["DEBUG does not count: the level is from environment LOG_LEVEL"]
    assert from_file(tmp_path, "", {"DEBUG": "true"}).notices == []
    assert from_file(tmp_path, "", {"DEBUG": "off", "LOG_LEVEL": "error"}).notices == []


def test_the_file_has_a_name_others_use(tmp_path: Path) -> None:
    environ = {"LOG_FILE": "/var/log/app.log", "LOG_FORMAT": "JSON", "SIGNALBOX__LOG__FILE_BACKUPS": "3"}

    log = from_file(tmp_path, "log: {file_max_bytes: 65536, file_retention_days: 0.5}", environ).settings.log

    assert log == LogSettings(
        file="/var/log/app.log", format="json", file_backups=3, file_max_bytes=65536, file_retention_days=0.5
    )


@pytest.mark.parametrize(
    ("log", "path"),
    [
        ("{level: loud}", "log.level"),
        ("{format: xml}", "log.format"),
        ("{file_max_bytes: 50}", "log.file_max_bytes"),
        ("{file_max_bytes: -1}", "log.file_max_bytes"),
        ("{file_backups: 1001}", "log.file_backups"),
        ("{file_retention_days: -1}", "log.file_retention_days"),
        ("{file_max_megabytes: 1}", "log.file_max_megabytes"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, log: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, f"log: {log}", {})

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fields", "on_a_terminal", "elsewhere"),
    [
        ({}, "console", "json"),
        ({"file": "log"}, "json", "json"),
        ({"file": "log", "format": "console"}, "console", "console"),
        ({"format": "json"}, "json", "json"),
    ],
)
def test_people_are_written_for_on_a_terminal_only(fields: dict[str, Any], on_a_terminal: str, elsewhere: str) -> None:
    log = LogSettings(**fields)

    assert style_of(log, terminal=True) == on_a_terminal
    assert style_of(log, terminal=False) == elsewhere
