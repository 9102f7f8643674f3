"""What the operator decides: defaults in the code, then the file, then the environment; what was read never changes."""

from app.settings.checking import datagram_address, is_loopback, local_address
from app.settings.draft import ConfigError
from app.settings.exposure import check_exposure
from app.settings.loading import Loaded, effective, load
from app.settings.model import (
    CacheSettings,
    CheckSettings,
    CorsSettings,
    HealthSettings,
    KeySettings,
    LogSettings,
    MetricsSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StatsdSettings,
    TelemetrySettings,
    Timeouts,
    passwords_of,
    style_of,
)
from app.settings.redis import RedisAddress, redis_address
from app.settings.resilience import BreakerSettings, RetrySettings
from app.settings.types import Secret

__all__ = [
    "BreakerSettings",
    "CacheSettings",
    "CheckSettings",
    "ConfigError",
    "CorsSettings",
    "HealthSettings",
    "KeySettings",
    "Loaded",
    "LogSettings",
    "MetricsSettings",
    "ProviderSettings",
    "RedisAddress",
    "RetrySettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "StatsdSettings",
    "TelemetrySettings",
    "Timeouts",
    "check_exposure",
    "datagram_address",
    "effective",
    "is_loopback",
    "load",
    "local_address",
    "passwords_of",
    "redis_address",
    "style_of",
]
