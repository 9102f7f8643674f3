"""Nobody beyond this machine is let in without a key, unless the operator has said so."""

from app.settings.checking import is_loopback
from app.settings.draft import ConfigError
from app.settings.model import Settings


class ExposureError(ConfigError):
    """Its message is a sentence of its own."""

    def __str__(self) -> str:
        return self.message


def check_exposure(settings: Settings) -> None:
    """Raises ExposureError, which says what to do."""
    server = settings.server
    if not (settings.keys or is_loopback(server.host) or server.insecure_allow_unauthenticated):
        raise ExposureError(
            "server.host",
            f"refusing to listen on {server.host} without API keys: everybody who reaches it could spend your money. "
            "Set SIGNALBOX_API_KEYS=name=key, or listen on 127.0.0.1, or pass --insecure-allow-unauthenticated.",
        )
    aside, metrics = settings.aside, settings.metrics
    asked_for = metrics.public or metrics.key or settings.keys or server.insecure_allow_unauthenticated
    if aside is not None and not (asked_for or is_loopback(aside.host)):
        raise ExposureError(
            "metrics.host",
            f"refusing to serve metrics on {aside.host} without a key. "
            "Set metrics.key, or metrics.host to 127.0.0.1, or metrics.public to true.",
        )
