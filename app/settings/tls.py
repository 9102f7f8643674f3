"""The certificate that callers are shown, where TLS ends here."""

import ssl
from pathlib import Path

from app.settings.draft import ConfigError
from app.settings.model import ServerSettings

LONGEST_SHOWN = 200


def tls_context(server: ServerSettings) -> ssl.SSLContext | None:
    """What connections are wrapped in: TLS 1.2 or newer, HTTP/1.1; None without a certificate.

    Raises ConfigError where certificate, key and password do not belong together.
    """
    if not server.tls_certificate:
        if server.tls_key or server.tls_key_password:
            raise ConfigError("server.tls_certificate", "is missing: a key alone shows nothing")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, server)
    return context


def load_certificate(context: ssl.SSLContext, server: ServerSettings) -> None:
    """Show this certificate on connections to come; raises ConfigError, and then nothing has changed."""
    certificate = _read("tls_certificate", server.tls_certificate)
    locked = b"ENCRYPTED" in (_read("tls_key", server.tls_key) if server.tls_key else certificate)
    try:
        # OpenSSL takes a certificate before it looks at the key: one that fails leaves a context without either
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            # without a callable it would ask on the terminal
            each.load_cert_chain(server.tls_certificate, server.tls_key or None, lambda: server.tls_key_password)
    except ssl.SSLError as error:
        raise ConfigError(*_why(error, server, locked=locked)) from None
    except ValueError:
        raise ConfigError("server.tls_key_password", "is too long") from None


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "that is no path"
        shown = f"{path} " if path.isprintable() and len(path) < LONGEST_SHOWN else ""  # somebody may paste the key
        raise ConfigError(f"server.{name}", f"{shown}cannot be read: {reason}") from None


def _why(error: ssl.SSLError, server: ServerSettings, *, locked: bool) -> tuple[str, str]:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "server.tls_key", "is not the key of server.tls_certificate"
    if locked:  # OpenSSL has a dozen ways to say so
        return "server.tls_key_password", "does not open server.tls_key"
    if server.tls_key:
        return "server.tls_key", "or server.tls_certificate is no PEM file with what it should have in it"
    return "server.tls_certificate", "has no certificate with its key in it; server.tls_key names a key elsewhere"
