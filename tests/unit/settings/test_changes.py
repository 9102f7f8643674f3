"""What a running process can take of another configuration."""

from typing import Any

import msgspec
import pytest

from app.settings import ConfigError, Settings
from app.settings.changes import AT_ONCE, changed, digest_of, taken


def settings(**sections: Any) -> Settings:
    return msgspec.convert(sections, Settings, strict=False, dec_hook=lambda kind, value: kind(value))


ONE = {"one": {"base_url": "http://one"}}


def test_what_can_change_at_once_is_taken_and_the_rest_is_named() -> None:
    running = settings(server={"port": 40000}, log={"level": "info"}, providers=ONE)
    started = settings(server={"port": 0}, log={"level": "info"}, providers=ONE)
    wanted = settings(
        server={"port": 80, "drain_seconds": 5},
        log={"level": "debug", "file": "x.log"},
        statsd={"address": "localhost:8125"},
        retry={"max_retries": 0},
        providers={"two": {"base_url": "http://two"}},
    )

    found, waiting = taken(running, started, wanted)

    assert waiting == ["log.file", "server.port", "statsd.address"]
    assert (found.server.port, found.server.drain_seconds) == (40000, 5)
    assert (found.log.level, found.log.file, found.statsd.address) == ("debug", "", "")
    assert found.retry.max_retries == 0
    assert list(found.providers) == ["two"]


def test_a_port_that_was_free_is_no_change() -> None:
    running, started = settings(server={"port": 40000}), settings(server={"port": 0})

    assert taken(running, started, started) == (running, [])


def test_what_can_change_at_once_are_settings_there_are() -> None:
    for section, names in AT_ONCE.items():
        assert names <= {each.name for each in msgspec.structs.fields(getattr(Settings(), section))}


@pytest.mark.parametrize(("url", "waiting"), [("", []), ("redis://localhost", ["cache.enabled"])])
def test_a_cache_is_turned_on_where_it_is_the_right_one(url: str, waiting: list[str]) -> None:
    off, on = ({"enabled": enabled, "url": url} for enabled in (False, True))

    assert taken(settings(cache=off), settings(cache=off), settings(cache=on))[1] == waiting
    assert taken(settings(cache=on), settings(cache=on), settings(cache=off))[1] == []


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ({"keys": {"me": {"key": "k"}}}, {}),
        ({"server": {"host": "0.0.0.0"}, "keys": {"me": {"key": "k"}}}, {"server": {"host": "0.0.0.0"}}),  # noqa: S104 - not bound
        (
            {"metrics": {"port": 1, "host": "0.0.0.0", "public": True}},  # noqa: S104 - not bound
            {"metrics": {"port": 1, "host": "0.0.0.0"}},  # noqa: S104 - not bound
        ),
    ],
)
def test_what_is_closed_is_not_opened(running: dict[str, Any], wanted: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        taken(settings(**running), settings(**running), settings(**wanted))


def test_what_changed_is_told_by_path_and_a_row_by_its_name() -> None:
    before = settings(retry={"max_retries": 1}, keys={"me": {"key": "k-1"}}, providers=ONE)
    after = settings(retry={"max_retries": 2}, keys={"me": {"key": "k-2"}}, providers={})

    assert changed(before, after) == ["keys.me.key", "providers.one", "retry.max_retries"]
    assert changed(before, before) == []


def test_the_digest_knows_no_addresses_and_no_secrets() -> None:
    one = settings(server={"port": 1}, keys={"me": {"key": "k-1"}}, providers=ONE)
    two = settings(server={"port": 2}, keys={"me": {"key": "k-2"}}, providers=ONE)

    assert digest_of(one) == digest_of(two)
    assert digest_of(settings(routes={"r": ["one:m"]}, providers=ONE)) != digest_of(one)
