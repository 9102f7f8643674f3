"""What the environment says: our own `SIGNALBOX__SECTION__KEY`, provider keys, and the names people already use."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path as File
from typing import Any, get_args, get_origin
from urllib.parse import quote

import msgspec

from app.settings import known, opentelemetry
from app.settings.draft import ConfigError, Draft, Path, folded
from app.settings.model import Settings

PREFIX = "SIGNALBOX__"
API_KEYS = "SIGNALBOX_API_KEYS"
CONFIG = "SIGNALBOX_CONFIG"
METRICS_KEY = "SIGNALBOX_METRICS_KEY"
OWN = (API_KEYS, CONFIG, METRICS_KEY)
KUBERNETES = ("SIGNALBOX_PORT_", "SIGNALBOX_SERVICE_")
SECRETS = ("_KEY", "_KEYS", "_URL", "_PASSWORD")

_api_key = re.compile(r"([A-Z][A-Z0-9_]*)_API_KEY").fullmatch


def with_files_read(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without empty values; `X_FILE` is read into `X` where X is a secret we know.

    Compose files hand on empty variables for what is not used; but keys that were meant and lost would open the door.
    """
    if environ.get(API_KEYS) == "":
        raise ConfigError(API_KEYS, "is empty; without the variable there are no such keys", origin="environment")
    found = {name: value for name, value in environ.items() if value}
    for name, path in list(found.items()):
        base = name.removesuffix("_FILE")
        if base == name or not _is_our_secret(base):
            continue
        if base in found:
            raise ConfigError(name, f"is set together with {base}; one of them is enough")
        try:
            secret = File(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            if _may_be_anothers(base, found):
                continue
            raise ConfigError(name, f"cannot be read: {error}") from None
        if not secret:
            raise ConfigError(name, "names an empty file; without the variable there is no such secret")
        found[base] = secret
    return found


def read_into(draft: Draft, environ: Mapping[str, str]) -> None:
    """Our own names have the last word; they are read first too, because they may make the rows others belong to."""
    _check_own_names(draft, environ)
    _own_names(draft, environ)
    for name, legacy in known.VARIABLES.items():
        if name in environ and (value := _value(name, environ[name], legacy.read)) is not None:
            draft.put(legacy.path, value, f"environment {name}")
            if legacy.unit:
                draft.notice(legacy.unit)
    opentelemetry.read_into(draft, environ)
    _paths(draft, environ)
    _redis(draft, environ)
    _statsd(draft, environ)
    _providers(draft, environ)
    _site(draft, environ)
    _timeouts(draft, environ)
    _keys(draft, environ)
    if METRICS_KEY in environ:
        draft.put(("metrics", "key"), environ[METRICS_KEY], f"environment {METRICS_KEY}")
    _own_names(draft, environ)
    level = draft.origin_of(("log", "level"))
    if known.debugging(environ.get("DEBUG", "")) and level != "environment DEBUG":
        draft.notice(f"DEBUG does not count: the level is from {level}")


def _check_own_names(draft: Draft, environ: Mapping[str, str]) -> None:
    """A name that was nearly ours was meant to be: without this a mistyped key would leave the door open.

    Kubernetes makes `SIGNALBOX_PORT` and `SIGNALBOX_SERVICE_…` of a service that has our name.
    """
    for name, value in environ.items():
        if (
            not name.startswith("SIGNALBOX_")
            or name.startswith((PREFIX, *KUBERNETES))
            or name.removesuffix("_FILE") in OWN
            or (name == "SIGNALBOX_PORT" and "://" in value)  # Kubernetes', of a service of our name
        ):
            continue
        if near := get_close_matches(name, OWN, n=1, cutoff=0.85):
            raise ConfigError(name, f"means nothing; did you mean {near[0]}?", origin="environment")
        draft.notice(f"{name} means nothing; settings are written {PREFIX}SECTION__KEY")


def _own_names(draft: Draft, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        if name.startswith(PREFIX):
            _own(draft, name, value)


def _is_our_secret(name: str) -> bool:
    if name == opentelemetry.HEADERS:
        return True
    if name.startswith(PREFIX) or name in {API_KEYS, METRICS_KEY, "REDIS_URL", "REDIS_PASSWORD"}:
        return name.endswith(SECRETS)
    return _api_key(name) is not None and not name.startswith(known.NEVER_A_PROVIDER)


def _may_be_anothers(name: str, environ: Mapping[str, str]) -> bool:
    """A key of a service we have never heard of, and are not told the address of."""
    match = _api_key(name)
    if match is None:
        return False
    known_names = {folded(each) for each in known.BASE_URLS} | set(known.VARIABLE_NAMES)
    return match[1] not in known_names and f"{match[1]}_BASE_URL" not in environ


def _value(name: str, text: str, read: Any) -> Any:
    try:
        return read(text)
    except ValueError:
        raise ConfigError(name, f"{text!r} is not a number") from None


def _paths(draft: Draft, environ: Mapping[str, str]) -> None:
    for name, (section, leaf) in known.PATHS.items():
        if name in environ:
            before = draft.rows(section).get(leaf, [])
            if isinstance(before, list):  # else it is refused by its type
                draft.put((section, leaf), [*before, environ[name]], f"environment {name}")


def _redis(draft: Draft, environ: Mapping[str, str]) -> None:
    host = environ.get("REDIS_HOST")
    if host and "REDIS_URL" not in environ:
        password = (
            f":{quote(environ['REDIS_PASSWORD'], safe='', errors='surrogateescape')}@"
            if "REDIS_PASSWORD" in environ
            else ""
        )
        url = f"redis://{password}{host}:{environ.get('REDIS_PORT', '6379')}/{environ.get('REDIS_DB', '0')}"
        draft.put(("cache", "url"), url, "environment REDIS_HOST")


def _statsd(draft: Draft, environ: Mapping[str, str]) -> None:
    """`STATSD_HOST` is read by clients of plain statsd, the others by Datadog's."""
    address, dogstatsd = ("statsd", "address"), ("statsd", "dogstatsd")
    for host, port in known.STATSD:
        if host in environ:
            name = f"[{environ[host]}]" if ":" in environ[host] else environ[host]
            draft.put(address, f"{name}:{environ.get(port, known.STATSD_PORT)}", f"environment {host}")
    if url := environ.get(known.DOGSTATSD_URL):
        draft.put(address, url.removeprefix("udp://"), f"environment {known.DOGSTATSD_URL}")
    plain, _ = known.STATSD[0]
    taken = draft.origins.get(address) == f"environment {plain}" and f"{PREFIX}STATSD__ADDRESS" not in environ
    if taken and dogstatsd not in draft.origins:
        draft.put(dogstatsd, value=False, origin=f"environment {plain}")
        draft.notice(f"{plain} is taken as a server without tags; statsd.dogstatsd: true sends them")


def _providers(draft: Draft, environ: Mapping[str, str]) -> None:
    found = [match[1] for name in environ if (match := _api_key(name)) and not name.startswith(known.NEVER_A_PROVIDER)]
    order = [folded(name) for name in known.BASE_URLS]
    for name in sorted(found, key=lambda each: (order.index(each) if each in order else len(order), each)):
        row = _row(draft, name) or (name.lower() if f"{name}_BASE_URL" in environ else "")
        if row:
            draft.put(("providers", row, "api_key"), environ[f"{name}_API_KEY"], f"environment {name}_API_KEY")
    for row in draft.rows("providers"):
        for name in _variable_names(row):
            if f"{name}_BASE_URL" in environ:
                draft.put(("providers", row, "base_url"), environ[f"{name}_BASE_URL"], f"environment {name}_BASE_URL")


def _row(draft: Draft, name: str) -> str:
    """The row a variable's NAME means: one that is there, else a well-known one."""
    meant = known.VARIABLE_NAMES.get(name, name)
    return draft.row("providers", meant) or next(
        (each for each in known.BASE_URLS if folded(each) == folded(meant)), ""
    )


def _variable_names(row: str) -> list[str]:
    return [folded(row), *(name for name, meant in known.VARIABLE_NAMES.items() if folded(meant) == folded(row))]


def _site(draft: Draft, environ: Mapping[str, str]) -> None:
    """OpenRouter ranks applications by these two."""
    for row, values in draft.rows("providers").items():
        address = (values or {}).get("base_url", "") if isinstance(values, dict) else ""
        if row not in {"openrouter", "openrouterOpenAI"} and "openrouter.ai" not in str(address):
            continue
        for variable, header in (("SITE_URL", "HTTP-Referer"), ("SITE_NAME", "X-Title")):
            if variable in environ:
                draft.put(("providers", row, "headers", header), environ[variable], f"environment {variable}")


def _timeouts(draft: Draft, environ: Mapping[str, str]) -> None:
    for row in draft.rows("providers"):
        for name in (known.REQUEST_TIMEOUT, f"{folded(row)}{known.ROW_TIMEOUT}"):
            if name in environ:
                number = _value(name, environ[name], float)
                taken = "milliseconds" if number >= 1000 else "seconds"
                draft.notice(f"{name}={environ[name]} is taken as {taken}")
                seconds = number / 1000 if number >= 1000 else number
                draft.put(("providers", row, "timeouts", "total"), seconds, f"environment {name}")


def _keys(draft: Draft, environ: Mapping[str, str]) -> None:
    """`name=key,…` or plain keys; a plain one is named by its digest, so that names do not move when one is removed."""
    names: set[str] = set()
    keys = known.commas(environ.get(API_KEYS, ""))
    if API_KEYS in environ and not keys:
        raise ConfigError(API_KEYS, "has no key in it; without the variable there are no keys")
    for each in keys:
        name, sign, key = each.partition("=")
        if not sign:
            name, key = f"key-{sha256(b'name of ' + each.encode(errors='surrogateescape')).hexdigest()[:8]}", each
        elif not key.strip("= "):
            raise ConfigError(
                API_KEYS, "one has = at its end and no key behind it; a plain one is written name=key then"
            )
        if name in names:
            raise ConfigError(API_KEYS, f"{name} is there twice")
        names.add(name)
        draft.put(("keys", name.strip(), "key"), key.strip(), f"environment {API_KEYS}")


def _own(draft: Draft, name: str, text: str) -> None:
    written = name.removeprefix(PREFIX).split("__")
    if written[-1].endswith("_FILE") and f"{name.removesuffix('_FILE')}".endswith(SECRETS):
        return
    path = (written[0].lower(), *written[1:])
    if path[0] in {"providers", "keys", "routes"} and len(path) > 1:
        row = draft.row(path[0], path[1]) or (_row(draft, path[1]) if path[0] == "providers" else "")
        path = (path[0], row or path[1].lower(), *(each.lower() for each in path[2:]))
    else:
        path = tuple(each.lower() for each in path)
    draft.put(path, _parsed(path, text), f"environment {name}")


def _parsed(path: Path, text: str) -> Any:
    """Lists may be written with commas, anything as JSON."""
    if text[:1] in {"[", "{"}:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            return text
    return known.commas(text) if get_origin(_type_at(path)) is tuple else text


def _type_at(path: Path) -> Any:
    kind: Any = Settings
    for name in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = next((each.type for each in msgspec.structs.fields(kind) if each.name == name), None)
        else:
            return None
    return kind
