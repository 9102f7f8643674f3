"""Keeps out who should not even be listened to: foreign web pages, and names that only pretend to be this machine."""

import re
from collections.abc import Iterable, Sequence

from app.domain.errors import UNKNOWN_KEY, AuthenticationError, InvalidRequestError, PermissionDeniedError
from app.settings import is_loopback

MOST_HOSTS_KEPT = 64
ONE_HOST = "exactly one valid Host header is needed"
ONCE = (b"host", b"authorization", b"x-api-key", b"origin")


# RFC 9110 §7.2, a bracketed IPv6 address or a name, and a port
_host = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?").fullmatch


def calls_us_local(headers: dict[bytes, bytes]) -> bool:
    """Whether the `Host` is a loopback name. A page on a foreign name cannot say so, wherever that name leads."""
    return (written := _host(headers.get(b"host", b""))) is not None and _is_loopback(written)


def _is_loopback(written: re.Match[bytes]) -> bool:
    return is_loopback((written[1] or written[2]).decode().lower())


class Visitors:
    """A body is parsed as JSON whatever its type says, so a page could make its reader's browser ask us.

    So an `Origin` that is neither ours nor in `origins` is refused, and while there are no keys only loopback
    names are served: a foreign name that resolves to this machine (DNS rebinding) is not.
    """

    def __init__(self, *, origins: Sequence[str], loopback_only: bool) -> None:
        self._origins = {origin.rstrip("/").encode() for origin in origins}
        self._any_origin = b"*" in self._origins
        self._loopback_only = loopback_only
        self._good_hosts: set[bytes] = set()

    def check(self, sent: Iterable[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
        """Raises InvalidRequestError for a Host that cannot be, PermissionDeniedError for a foreign Origin."""
        host = headers.get(b"host", b"")
        if host not in self._good_hosts:
            self._check_host(host)
        origin = headers.get(b"origin")
        if origin is not None and not self._is_ours(origin, host):
            raise PermissionDeniedError("requests from this origin are not served; cors.origins lists those that are")
        if len(headers) != len(sent):  # type: ignore[arg-type] # every server gives a list
            self._check_once([name for name, _ in sent])

    def _check_host(self, host: bytes) -> None:
        written = _host(host)
        if written is None:
            raise InvalidRequestError(ONE_HOST)
        if self._loopback_only and not _is_loopback(written):
            raise InvalidRequestError("without API keys only loopback hosts are served, such as localhost")
        if len(self._good_hosts) < MOST_HOSTS_KEPT:
            self._good_hosts.add(host)

    def _is_ours(self, origin: bytes, host: bytes) -> bool:
        if self._any_origin or origin in self._origins:
            return True
        scheme, _, rest = origin.partition(b"://")
        return scheme in {b"http", b"https"} and rest == host

    @staticmethod
    def _check_once(names: list[bytes]) -> None:
        for name in ONCE:
            if names.count(name) > 1:
                if name == b"host":
                    raise InvalidRequestError(ONE_HOST)
                if name == b"origin":
                    raise PermissionDeniedError("one request has one origin")
                raise AuthenticationError(UNKNOWN_KEY)
