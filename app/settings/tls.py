"""The certificate that callers are shown, where TLS ends here."""

import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from app.settings.draft import ConfigError
from app.settings.model import ServerSettings

LONGEST_SHOWN = 200
FLIGHTS = 3
SOON_SECONDS = 14 * 86_400
SOON_PART = 1 / 3
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""


class Presented:
    """The certificate that is shown, and the one its files hold by now.

    Each has a context of its own: loaded into one that is in use, a certificate of another kind of key would stand
    beside the old one, not in its place.
    """

    def __init__(self, server: ServerSettings) -> None:
        """Raises ConfigError as `tls_context` does."""
        self.digest = _digest(server)  # first: a file that changes in between is taken once more
        self._shown = self.context = tls_context(server)
        """What sockets are made with, all of them; None without a certificate, and so it stays."""
        self.validity = validity_of(self.context, server)
        """Of the certificate that is shown."""
        if self.context is not None:
            self.context.sni_callback = self._show  # asked in every handshake, by callers who name nobody too

    def newer(self, server: ServerSettings) -> "Newer | None":
        """What these settings lead to, where that is another certificate or key.

        Raises ConfigError, also for one that callers would refuse by its dates: what is shown may still be good.
        """
        if self.context is None or not server.tls_certificate or (digest := _digest(server)) == self.digest:
            return None
        context = tls_context(server)
        assert context is not None
        validity = validity_of(context, server)
        if why := validity.fault(time.time()):
            raise ConfigError("server.tls_certificate", f"{server.tls_certificate} {why}")
        return Newer(digest, context, validity)

    def become(self, newer: "Newer") -> None:
        """Show that one on connections to come; cannot fail."""
        self.digest, self._shown, self.validity = newer

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._shown is not self.context:
            assert self._shown is not None
            connection.context = self._shown


class Validity(NamedTuple):
    """Seconds since the epoch; zeros where there is no certificate, or nobody can tell."""

    begins: float = 0.0
    ends: float = 0.0

    def fault(self, now: float) -> str:
        """Why callers refuse it now, if they do."""
        if 0 < self.ends <= now:
            return f"ended on {_day(self.ends)}"
        return f"is not good before {_day(self.begins)}" if self.begins > now else ""

    def warning(self, now: float) -> str:
        """That it ends in the last two weeks, or in the last third if that is less."""
        soon = min(SOON_SECONDS, (self.ends - self.begins) * SOON_PART)
        return f"ends on {_day(self.ends)}" if self.ends - now < soon else ""


class Newer(NamedTuple):
    digest: bytes
    context: ssl.SSLContext
    validity: Validity


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
    _load(context, server)
    return context


def _load(context: ssl.SSLContext, server: ServerSettings) -> None:
    certificate = _read("tls_certificate", server.tls_certificate)
    locked = b"ENCRYPTED" in (_read("tls_key", server.tls_key) if server.tls_key else certificate)
    try:
        # without a callable it would ask on the terminal
        context.load_cert_chain(server.tls_certificate, server.tls_key or None, lambda: server.tls_key_password)
    except ssl.SSLError as error:
        raise ConfigError(*_why(error, server, locked=locked)) from None
    except ValueError:
        raise ConfigError("server.tls_key_password", "is too long") from None


def validity_of(context: ssl.SSLContext | None, server: ServerSettings) -> Validity:
    """Of the certificate that the context shows.

    Some 10 ms: Python tells of no certificate but the other side's, so we shake hands with ourselves.
    """
    if context is None:
        return Validity()
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname = False
    caller.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        caller.load_verify_locations(server.tls_certificate)
        sides = caller.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
        for _ in range(FLIGHTS):
            for side in sides:
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        shown = sides[0].getpeercert() or {}
        return Validity(*(float(ssl.cert_time_to_seconds(str(shown[name]))) for name in ("notBefore", "notAfter")))
    except (OSError, ValueError, KeyError):  # of a kind that only some callers take
        return Validity()


def held(server: ServerSettings) -> bytes:
    """The digest of what the files hold now; empty where they cannot be read."""
    try:
        return _digest(server)
    except ConfigError:
        return b""


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _digest(server: ServerSettings) -> bytes:
    files = [("tls_certificate", server.tls_certificate), ("tls_key", server.tls_key)]
    return b"".join(sha256(_read(name, path)).digest() if path else b"-" for name, path in files)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "that is no path"
        shown = f"{path} " if path.isprintable() and len(path) < LONGEST_SHOWN else ""  # somebody may paste the key
        raise ConfigError(f"server.{name}", f"{shown}cannot be read: {reason}") from None


def _why(error: ssl.SSLError, server: ServerSettings, *, locked: bool) -> tuple[str, str]:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "server.tls_key", f"{server.tls_key} is not the key of server.tls_certificate, {server.tls_certificate}"
    if locked:  # OpenSSL has a dozen ways to say so
        return "server.tls_key_password", "does not open server.tls_key"
    if server.tls_key:
        files = f"{server.tls_certificate} has no certificate in it, or {server.tls_key} no key; both are PEM files"
        return "server.tls_certificate", files
    message = f"{server.tls_certificate} has no certificate with its key in it; server.tls_key names a key elsewhere"
    return "server.tls_certificate", message
