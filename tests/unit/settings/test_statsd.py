"""Where metrics are sent: as the file says, or as clients of statsd are told."""

from pathlib import Path

import pytest

from app.settings import ConfigError, StatsdSettings, datagram_address, load


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    return file


@pytest.mark.parametrize(
    ("environ", "address", "dogstatsd"),
    [
        ({}, "", True),
        ({"STATSD_HOST": "h"}, "h:8125", False),
        ({"STATSD_HOST": "h", "STATSD_PORT": "9"}, "h:9", False),
        ({"STATSD_HOST": "h", "SIGNALBOX__STATSD__DOGSTATSD": "true"}, "h:8125", True),
        ({"STATSD_HOST": "h", "SIGNALBOX__STATSD__ADDRESS": "mine:1"}, "mine:1", True),
        ({"STATSD_PORT": "9", "DD_DOGSTATSD_PORT": "9"}, "", True),
        ({"DD_AGENT_HOST": "10.0.0.1"}, "10.0.0.1:8125", True),
        ({"DD_AGENT_HOST": "fd00::1", "DD_DOGSTATSD_PORT": "9"}, "[fd00::1]:9", True),
        ({"DD_AGENT_HOST": "a", "STATSD_HOST": "h"}, "a:8125", True),
        ({"DD_AGENT_HOST": "a", "DD_DOGSTATSD_URL": "udp://b:7"}, "b:7", True),
        ({"DD_DOGSTATSD_URL": "unix:///run/dsd.socket"}, "unix:///run/dsd.socket", True),
    ],
)
def test_the_names_of_statsd_and_datadog_are_read(
    empty: Path, environ: dict[str, str], address: str, *, dogstatsd: bool
) -> None:
    statsd = load(empty, environ).settings.statsd

    assert (statsd.address, statsd.dogstatsd) == (address, dogstatsd)


def test_what_a_file_says_about_tags_stays(tmp_path: Path) -> None:
    file = tmp_path / "signalbox.yaml"
    file.write_text("statsd: {dogstatsd: true}")

    loaded = load(file, {"STATSD_HOST": "h"})

    assert loaded.settings.statsd == StatsdSettings(address="h:8125")
    assert loaded.notices == []


def test_the_start_says_that_tags_are_left_out(empty: Path) -> None:
    assert any("STATSD_HOST" in each for each in load(empty, {"STATSD_HOST": "h"}).notices)


def test_tags_may_be_written_with_commas(empty: Path) -> None:
    environ = {"SIGNALBOX__STATSD__TAGS": "env:production, team:llm"}

    assert load(empty, environ).settings.statsd.tags == ("env:production", "team:llm")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADDRESS", "agent"),
        ("ADDRESS", "agent:http"),
        ("ADDRESS", ":8125"),
        ("ADDRESS", "agent:0"),
        ("ADDRESS", "http://agent:8125"),
        ("ADDRESS", "agent:8125/path"),
        ("ADDRESS", "me@agent:8125"),
        ("ADDRESS", "unix://relative"),
        ("PREFIX", "a:b"),
        ("TAGS", "env:a b"),
        ("TAGS", "env|a"),
        ("INTERVAL_SECONDS", "0"),
        ("SAMPLE_RATE", "1.5"),
        ("SAMPLE_RATE", "0"),
    ],
)
def test_what_cannot_be_is_named(empty: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(empty, {f"SIGNALBOX__STATSD__{name}": value})

    assert caught.value.path.startswith(f"statsd.{name.lower()}")


def test_an_address_is_a_path_or_host_and_port() -> None:
    assert datagram_address("unix:///run/dsd.socket") == "/run/dsd.socket"
    assert datagram_address("[::1]:8125") == ("::1", 8125)
    assert datagram_address("agent.local:1") == ("agent.local", 1)
