"""Names other software taught people: well-known providers, and variables of the systems this one replaces."""

from collections.abc import Callable
from typing import Any, NamedTuple

OPENROUTER = "https://openrouter.ai/api/v1"

# The order is the order in which providers found in the environment are asked.
BASE_URLS = {
    "openrouter": OPENROUTER,
    "openai": "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "xai": "https://api.x.ai/v1",
    "openrouterOpenAI": OPENROUTER,
}
PREFIX_ONLY = frozenset({"openrouterOpenAI"})
VARIABLE_NAMES = {"OPENROUTER_OPENAI": "openrouterOpenAI"}
NEVER_A_PROVIDER = ("SIGNALBOX_", "NOMYO_")


class Legacy(NamedTuple):
    """Where a value goes, how it is read (None: it means nothing to us), and what to say of its unit."""

    path: tuple[str, ...]
    read: Callable[[str], Any] = str
    unit: str = ""


def seconds(text: str) -> float:
    return float(text)


def megabytes(text: str) -> int:
    return int(float(text) * 1024 * 1024)


def debugging(text: str) -> str | None:
    """Other software gives this variable other values, and means other things by them."""
    return "debug" if text.strip().lower() in {"1", "true", "yes", "on"} else None


def level(text: str) -> str:
    """A level in any case, and by the names other software has for it."""
    written = text.strip().lower()
    return {"warn": "warning", "err": "error", "fatal": "critical"}.get(written, written)


def commas(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


# Of two names for one value the later in this table wins.
VARIABLES = {
    "UVICORN_HOST": Legacy(("server", "host")),
    "UVICORN_PORT": Legacy(("server", "port")),
    "HOST": Legacy(("server", "host")),
    "PORT": Legacy(("server", "port")),
    "MAX_REQUEST_SIZE_MB": Legacy(("server", "max_body_bytes"), megabytes),
    "DEBUG": Legacy(("log", "level"), debugging),
    "LOG_LEVEL": Legacy(("log", "level")),
    "LOG_FORMAT": Legacy(("log", "format"), str.lower),
    "LOG_FILE": Legacy(("log", "file")),
    "CACHE_ENABLED": Legacy(("cache", "enabled")),
    "CACHE_TTL": Legacy(("cache", "ttl_seconds"), seconds, "CACHE_TTL is taken as seconds"),
    "REDIS_CACHE_TTL": Legacy(("cache", "ttl_seconds"), seconds),
    "REDIS_URL": Legacy(("cache", "url")),
    "MAX_RETRIES": Legacy(("retry", "max_retries"), lambda text: min(int(text), 2)),
    "PROVIDER_CIRCUIT_FAIL_THRESHOLD": Legacy(("breaker", "failures"), int),
    "PROVIDER_CIRCUIT_COOLDOWN_SEC": Legacy(("breaker", "open_seconds"), seconds),
    "CORS_ORIGINS": Legacy(("cors", "origins"), commas),
    "METRICS_PORT": Legacy(("metrics", "port")),
    "MONITORING_ENABLED": Legacy(("metrics", "enabled")),
    "PROMETHEUS_ENABLED": Legacy(("metrics", "enabled")),
    "ENABLE_METRICS": Legacy(("metrics", "enabled")),
    "HEALTH_CHECK_ENABLED": Legacy(("health", "probe")),
}
# Each adds one path to those that are there anyway.
PATHS = {
    "METRICS_ENDPOINT": ("metrics", "paths"),
    "PROM_METRICS_PATH": ("metrics", "paths"),
    "HEALTH_ENDPOINT": ("health", "paths"),
}
# Host and port of a statsd server; the later wins, and the address in one piece wins over both.
STATSD = (("STATSD_HOST", "STATSD_PORT"), ("DD_AGENT_HOST", "DD_DOGSTATSD_PORT"))
STATSD_PORT = "8125"
DOGSTATSD_URL = "DD_DOGSTATSD_URL"
# For every provider, or for one row; from 1000 up they are milliseconds, as the guide that documents them has it.
REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
ROW_TIMEOUT = "_TIMEOUT"
