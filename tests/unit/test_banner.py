"""What an operator reads first is true, and tells no secret."""

from typing import Any

import msgspec
import pytest

from app.banner import banner
from app.settings import CacheSettings, KeySettings, LogSettings, ProviderSettings, Secret, ServerSettings, Settings

REAL = {"openai": ProviderSettings(base_url="https://api.example/v1", api_key=Secret("sk-very-secret"))}


def lines(settings: Settings, *notices: str) -> dict[str, str]:
    """What stands behind each word at the beginning of a line."""
    return dict(line.split(maxsplit=1) for line in banner(settings, notices=notices).splitlines()[1:])


def made(**sections: Any) -> Settings:
    return Settings(**{"providers": REAL} | sections)


def test_the_line_to_try_asks_what_can_be_answered() -> None:
    demo = lines(made(providers={"demo": ProviderSettings(kind="demo")}))
    routed = lines(made(routes={"fast": ("openai:x",)}))

    assert '"model":"demo"' in demo["try"]
    assert "built-in demo" in demo["providers"]
    assert '"model":"openai/gpt-4o-mini"' in lines(made())["try"]
    assert '"model":"fast"' in routed["try"]
    assert "Authorization" not in demo["try"]


def test_the_question_in_it_is_json() -> None:
    written = lines(made())["try"].rpartition(" -d '")[2].removesuffix("'")

    assert msgspec.json.decode(written)["messages"] == [{"role": "user", "content": "Hello"}]


def test_keys_are_named_and_not_shown() -> None:
    settings = made(
        keys={"alice": KeySettings(key=Secret("k-very-secret")), "bob": KeySettings(key=Secret("k-2-secret"))}
    )

    said = lines(settings)

    assert said["keys"] == "alice, bob"
    assert "Authorization: Bearer YOUR_KEY" in said["try"]
    assert "secret" not in banner(settings, notices=[])


@pytest.mark.parametrize(
    ("host", "address", "listening"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80", "0.0.0.0:80"),  # noqa: S104 - not bound, told
        ("::", "http://[::1]:80", "[::]:80"),
        ("::1", "http://[::1]:80", "[::1]:80"),
    ],
)
def test_the_address_is_one_that_can_be_asked(host: str, address: str, listening: str) -> None:
    said = lines(made(server=ServerSettings(host=host, port=80)))

    assert said["address"] == f"{address}/v1  (listening on {listening})"
    assert said["watch"] == f"{address}/health  {address}/metrics"
    assert f"curl {address}/v1/chat/completions" in said["try"]


@pytest.mark.parametrize(
    ("cache", "told"),
    [
        (CacheSettings(enabled=False), "off"),
        (CacheSettings(ttl_seconds=1.5), "in memory, 16 MiB, 1.5 s"),
        (CacheSettings(backend="memory", url=Secret("redis://r:1/0")), "in memory, 16 MiB, 3600 s"),
        (CacheSettings(url=Secret("redis://:pass-word@r:6379/0")), "Redis at r:6379/0, 3600 s"),
        (CacheSettings(url=Secret("redis://r:6379/0")), "Redis at r:6379/0, 3600 s"),
        (CacheSettings(url=Secret("rediss://user:p@ss@r:6379/0")), "Redis at r:6379/0, 3600 s"),
    ],
)
def test_the_cache_is_told_without_its_password(cache: CacheSettings, told: str) -> None:
    assert lines(made(cache=cache))["cache"] == told


@pytest.mark.parametrize(
    "url", ["unix:///run/redis.sock?db=0&password=pass-word", "redis://r:6379/0?password=pass-word"]
)
def test_a_password_in_the_query_is_left_out_too(url: str) -> None:
    assert "pass-word" not in lines(made(cache=CacheSettings(url=Secret(url))))["cache"]


def test_a_log_file_is_named() -> None:
    assert lines(made(log=LogSettings(file="/var/log/app.log")))["log"] == "/var/log/app.log"
    assert "log" not in lines(made())


def test_notices_come_last() -> None:
    said = banner(made(), notices=["one", "two"]).splitlines()

    assert [each.split(maxsplit=1)[1] for each in said[-2:]] == ["one", "two"]
