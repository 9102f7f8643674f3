"""Checks of the operator's own, as they are written."""

from pathlib import Path

import msgspec
import pytest

from app.settings import CheckSettings, ConfigError, HealthSettings, load


def loaded(tmp_path: Path, check: object, environ: dict[str, str] | None = None) -> HealthSettings:
    file = tmp_path / "signalbox.yaml"
    file.write_bytes(msgspec.yaml.encode({"health": {"checks": {"one": check}}}))
    return load(file, environ or {}).settings.health


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"url": "http://x/y"}, CheckSettings(url="http://x/y")),
        ({"kind": "tcp", "address": "[::1]:5432"}, CheckSettings(kind="tcp", address="[::1]:5432")),
        ({"kind": "python", "critical": True}, CheckSettings(kind="python", critical=True)),
        ({"url": "https://x", "expect_status": [401]}, CheckSettings(url="https://x", expect_status=(401,))),
    ],
)
def test_a_check_is_read(tmp_path: Path, row: object, expected: CheckSettings) -> None:
    assert loaded(tmp_path, row).checks == {"one": expected}


def test_the_environment_adds_to_a_row(tmp_path: Path) -> None:
    environ = {"SIGNALBOX__HEALTH__CHECKS__ONE__RETRIES": "3", "SIGNALBOX__HEALTH__MODELS": "a,b/c"}

    health = loaded(tmp_path, {"url": "http://x"}, environ)

    assert health.checks["one"].retries == 3
    assert health.models == ("a", "b/c")


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({}, "health.checks.one.url"),
        (None, "health.checks.one.url"),
        ({"url": "ftp://x"}, "health.checks.one.url"),
        ({"url": "http://user:word@x/"}, "health.checks.one.url"),
        ({"kind": "tcp"}, "health.checks.one.address"),
        ({"kind": "tcp", "address": "5432"}, "health.checks.one.address"),
        ({"kind": "tcp", "address": "x:0"}, "health.checks.one.address"),
        ({"kind": "tcp", "address": "x:70000"}, "health.checks.one.address"),
        ({"kind": "ping"}, "health.checks.one.kind"),
        ({"url": "http://x", "retries": 11}, "health.checks.one.retries"),
        ({"url": "http://x", "expect_status": [2000]}, "health.checks.one.expect_status"),
        ({"url": "http://x", "every": 5}, "health.checks.one.every"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, row: object, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, row)

    assert caught.value.path.startswith(path)
