"""Who holds which key."""

import hmac
from collections.abc import Mapping
from secrets import token_bytes

from app.domain.errors import UNKNOWN_KEY, AuthenticationError
from app.domain.principal import ANONYMOUS, Principal
from app.settings import KeySettings


class KeyService:
    """Keeps HMAC-SHA256 digests only. Looking one up tells by its time nothing about the keys themselves.

    The pepper, which is their key, is this process's own and never leaves it.
    """

    def __init__(self, keys: Mapping[str, KeySettings], *, metrics_key: str = "") -> None:
        self._peppered = hmac.new(token_bytes(32), digestmod="sha256")  # copied: half the time of a new one
        self._principals = {
            self._digest(row.key.encode()): Principal(name, row.tenant or name) for name, row in keys.items()
        }
        self._metrics_digest = self._digest(metrics_key.encode()) if metrics_key else None

    @property
    def needed(self) -> bool:
        """Whether any key is configured; without one everybody is `anonymous`."""
        return bool(self._principals)

    def authenticate(self, authorization: bytes, api_key: bytes = b"") -> Principal:
        """The holder of the key in `Authorization: Bearer`, else in `X-API-Key`; raises AuthenticationError."""
        if not self._principals:
            return ANONYMOUS
        principal = self._principals.get(self._digest(_presented(authorization, api_key)))
        if principal is None:
            raise AuthenticationError(UNKNOWN_KEY)
        return principal

    def may_read_metrics(self, authorization: bytes, api_key: bytes = b"") -> bool:
        digest = self._digest(_presented(authorization, api_key))
        if self._metrics_digest is not None and hmac.compare_digest(digest, self._metrics_digest):
            return True
        return digest in self._principals

    def _digest(self, key: bytes) -> bytes:
        mac = self._peppered.copy()
        mac.update(key)
        return mac.digest()


def _presented(authorization: bytes, api_key: bytes) -> bytes:
    if not authorization:
        return api_key
    scheme, _, key = authorization.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""
