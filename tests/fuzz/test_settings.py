"""Files and variables of operators: settings, or a ConfigError that says where and shows no secret; nothing else."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from app.settings import ConfigError, Loaded, effective, load
from tests.fuzz.mutating import fuzzed

SECRET = "sk-secret-0123456789"  # noqa: S105 - so that it can be looked for
BETWEEN = b"----\n"
ROW = {"base_url": "http://h/v1"}
PLACES: tuple[str | Callable[[str], Any], ...] = (
    lambda secret: {"providers": {"a": ROW | {"api_key": secret}}},
    lambda secret: {"providers": {"a": ROW | {"headers": {"x-key": secret}}}},
    lambda secret: {"keys": {"alice": {"key": secret}}},
    lambda secret: {"keys": {"alice": {"key": secret}, "bob": {"key": secret}}},
    lambda secret: {"metrics": {"key": secret}},
    lambda secret: {"cache": {"url": f"redis://:{secret}@h:6379/0"}},
    lambda secret: {"telemetry": {"headers": {"authorization": secret}}},
    "OPENAI_API_KEY={}",
    "SIGNALBOX_API_KEYS=alice={}",
    "SIGNALBOX_API_KEYS={}",
    "SIGNALBOX_METRICS_KEY={}",
    "SIGNALBOX__PROVIDERS__OPENAI__API_KEY={}",
    "SIGNALBOX__KEYS__ALICE__KEY={}",
    "REDIS_HOST=h\nREDIS_PASSWORD={}",
    "REDIS_URL=redis://:{}@h:6379",
    "OTEL_EXPORTER_OTLP_HEADERS=authorization={}",
)
"""Where an operator writes a secret: in the file, and in the environment."""
NAMED = ("SIGNALBOX_API_KEYS={}", "SIGNALBOX_API_KEYS=alice={}", "OTEL_EXPORTER_OTLP_HEADERS=authorization={}")


@cache
def directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def loaded(data: bytes) -> Loaded | ConfigError:
    text, _, variables = data.partition(BETWEEN)
    file = Path(directory().name) / "signalbox.yaml"
    file.write_bytes(text)
    lines = [line for line in variables.decode("utf-8", "surrogateescape").split("\n") if "\x00" not in line]
    environ = {name: value for name, sign, value in (line.partition("=") for line in lines) if sign and name}
    try:
        return load(file, environ)
    except ConfigError as error:
        return error


@fuzzed("settings")
def test_a_configuration_is_loaded_or_refused_in_words(data: bytes) -> None:
    found = loaded(data)
    if isinstance(found, Loaded):
        assert found.settings.providers
        assert all(len(row) == 3 for row in effective(found))
    else:
        assert len(str(found)) > len(found.path)


@fuzzed("secrets")
def test_a_secret_is_not_shown_whatever_is_around_it(data: bytes) -> None:
    """`data` stands before and behind the secret, wherever there may be one."""
    before, _, behind = (each.replace("\n", "") for each in data.decode("utf-8", "replace").partition("|"))
    secret = f"{before}{SECRET}{behind}"
    for place in PLACES:
        if place in NAMED and not {",", "="}.isdisjoint(secret):
            continue  # what stands before = is a name, and names are shown
        file = msgspec.yaml.encode(place(secret)) if not isinstance(place, str) else b""
        variables = place.format(secret).encode() if isinstance(place, str) else b""
        found = loaded(file + b"\n" + BETWEEN + variables)
        told = [str(found)] if isinstance(found, ConfigError) else [*found.notices, *map(str, effective(found))]
        assert not [each for each in told if SECRET in each], place
