"""Which settings a running process can take, and which wait for a restart."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec.structs import fields, replace

from app.settings.draft import ConfigError, leaves
from app.settings.exposure import check_exposure
from app.settings.loading import masked
from app.settings.model import Settings

AT_ONCE: Mapping[str, frozenset[str]] = {
    "server": frozenset({"max_body_bytes", "max_in_flight", "drain_seconds", "drain_delay_seconds"}),
    "log": frozenset({"level", "calls"}),
    "cache": frozenset({"enabled", "ttl_seconds", "max_entry_bytes", "finish_reasons", "shared"}),
    "metrics": frozenset({"public", "key", "paths"}),
    "statsd": frozenset(),
    "telemetry": frozenset(),
}
"""Of these sections only so much; of all others everything. What is left out is made once: sockets, files, threads."""

TLS = frozenset({"tls_certificate", "tls_key", "tls_key_password"})
"""Of `server`, at once where TLS is spoken already; whether it is was decided when the sockets were made."""

WHERE = frozenset({("server", "host"), ("server", "port"), ("metrics", "host"), ("metrics", "port")})


def taken(running: Settings, started: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """What of `wanted` can be in force now, and the paths of what waits for a restart.

    `started` is what was asked for at the start, which differs from what runs by ports that were free. Raises
    ConfigError where the change would open what is closed.
    """
    if running.keys and not wanted.keys:
        raise ConfigError("keys", "there are none any more, and everybody could call: only a restart does that")
    sections: dict[str, Any] = {}
    waiting: list[str] = []
    for section, at_once in AT_ONCE.items():
        live = at_once
        now, first, then = (getattr(each, section) for each in (running, started, wanted))
        names = {each.name for each in fields(then)}
        if section == "cache" and then.url and not first.enabled:  # then there is a memory where a Redis should be
            live -= {"enabled"}
        if section == "server" and first.tls_certificate and then.tls_certificate:
            live |= TLS
        waiting += [f"{section}.{name}" for name in names - live if getattr(first, name) != getattr(then, name)]
        sections[section] = replace(now, **{name: getattr(then, name) for name in live})
    settings = replace(wanted, **sections)
    check_exposure(settings)
    return settings, sorted(waiting)


def changed(before: Settings, after: Settings) -> list[str]:
    """The dotted paths of what is different, without values; of a row that came or went only its name."""
    old, new = (dict(leaves(msgspec.to_builtins(each, enc_hook=str))) for each in (before, after))
    paths = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path) and len(path) > 1}
    return sorted({".".join(path[:2] if _came_or_went(path, before, after) else path) for path in paths})


def _came_or_went(path: tuple[str, ...], before: Settings, after: Settings) -> bool:
    sections = [getattr(each, path[0]) for each in (before, after)]
    return isinstance(sections[0], dict) and any(path[1] not in rows for rows in sections)


def digest_of(settings: Settings) -> str:
    """The same for the same settings in any process, wherever it listens; of secrets it only knows that they are there.

    Replicas have ports of their own, and a digest of a secret could be guessed at.
    """
    tree = msgspec.to_builtins(settings, enc_hook=str)
    rows = [(path, masked(path, value)) for path, value in leaves(tree) if path not in WHERE]
    return sha256(msgspec.json.encode(sorted(rows))).hexdigest()[:12]
