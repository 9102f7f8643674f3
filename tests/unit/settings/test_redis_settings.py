"""Addresses of Redis: one server, Sentinel, a cluster."""

from pathlib import Path

import pytest

from app.settings import ConfigError, Secret, load, passwords_of, redis_address
from app.settings.loading import effective, masked


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("redis://h", ("single", (("h", 6379),), "", 0)),
        ("rediss://u:p%40@h:7/2", ("single", (("h", 7),), "", 0)),
        ("unix:///run/redis.sock?db=2", ("single", (), "", 0)),
        ("redis+sentinel://:p@a,b:7/mymaster/3", ("sentinel", (("a", 26379), ("b", 7)), "mymaster", 3)),
        ("rediss+sentinel://a/m", ("sentinel", (("a", 26379),), "m", 0)),
        ("redis+cluster://a:7000,b:7001", ("cluster", (("a", 7000), ("b", 7001)), "", 0)),
        ("rediss+cluster://u:p@a/0", ("cluster", (("a", 6379),), "", 0)),
    ],
)
def test_an_address_says_where_and_how(url: str, meant: tuple[object, ...]) -> None:
    address = redis_address(url)

    assert (address.kind, address.hosts, address.service, address.database) == meant


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis+tls://h",
        "unix://",
        "redis://a,b",
        "redis://h:x",
        "redis://h:0",
        "redis+sentinel://a",
        "redis+sentinel://a/m/x",
        "redis+sentinel:///m",
        "redis+cluster://a/1",
        "redis+cluster://a,,b",
    ],
)
def test_what_is_no_address_stops_the_start_without_its_password(tmp_path: Path, url: str) -> None:
    secret = url.replace("://", "://:secret-pw@", 1)
    with pytest.raises(ConfigError) as caught:
        load(None, {"REDIS_URL": secret, "HOME": str(tmp_path)})

    assert "cache.url" in str(caught.value)
    assert "secret-pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"SIGNALBOX__CACHE__HMAC_KEY": "too short"}, "cache.hmac_key"),
        ({"SIGNALBOX__CACHE__CA_FILE": "/nowhere/ca.pem"}, "cache.ca_file"),
    ],
)
def test_what_cannot_work_is_named(environ: dict[str, str], path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        load(None, environ)


def test_the_key_of_the_seal_may_lie_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-secret-0123456789\n")
    loaded = load(None, {"SIGNALBOX__CACHE__HMAC_KEY_FILE": str(tmp_path / "key")})

    assert loaded.settings.cache.hmac_key == Secret("k-secret-0123456789")
    assert "k-secret-0123456789" in loaded.settings.secrets()
    assert "k-secret" not in repr(loaded.settings) + "".join(map(str, effective(loaded)))


def test_passwords_of_sentinel_are_secrets_too() -> None:
    url = "redis+sentinel://u:p-1@a,b/m?sentinel_password=p-2"

    assert passwords_of(url) == ["p-1", "p-2"]
    assert masked(("cache", "url"), url) == "redis+sentinel://***@a,b/m?sentinel_password=***"
