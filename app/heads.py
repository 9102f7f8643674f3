"""What a request's head may be, and what is said to one that may not be."""

import re
from collections.abc import Sequence
from os import urandom

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.controllers.door import REQUEST_ID, acceptable
from app.controllers.openai.errors import error_answer
from app.domain.errors import (
    AddressTooLongError,
    CapacityError,
    GatewayError,
    HeaderTooLargeError,
    InvalidRequestError,
    MethodNotAllowedError,
)

FIELD_OVERHEAD = 4
SPOKEN = frozenset({"1.1", "1.0"})
MOST_WAITING = 64
"""Requests that may stand behind the one that is answered: each takes a hundred times its bytes."""

_offer = re.compile(rb"\r\nupgrade:", re.IGNORECASE).sub

Headers = Sequence[tuple[bytes, bytes]]


class FrontLimits(Struct, frozen=True):
    """Seconds a client has for its head, its body, and to take some of what waits; bytes of a head and of its address.

    Fields are counted. Of `connections` beyond these nothing is read.
    """

    head_seconds: float = 5.0
    body_seconds: float = 30.0
    stall_seconds: float = 60.0
    head_bytes: int = 32 * 1024
    head_fields: int = 100
    url_bytes: int = 8 * 1024
    connections: int = 1_000_000


DEFAULT_LIMITS = FrontLimits()


def too_large() -> GatewayError:
    return HeaderTooLargeError("the head of the request is too large")


def too_long() -> GatewayError:
    return AddressTooLongError("the address of the request is too long")


def too_many() -> GatewayError:
    return CapacityError("too many requests at once on one connection", retry_after=1)


def no_address(method: bytes) -> GatewayError:
    """`CONNECT` asks for a tunnel, by an address that has no path."""
    if method == b"CONNECT":
        return MethodNotAllowedError("this is no proxy", allow="GET, HEAD, POST")
    return InvalidRequestError("the request has no address that can be read")


def spoken(version: str) -> str:
    """The same version; raises for 0.9 and 2.0, which the parser would take too."""
    if version not in SPOKEN:
        raise InvalidRequestError("HTTP/1.1 and HTTP/1.0 are spoken here")
    return version


def weight_of(url: bytes, headers: Headers) -> int:
    """About as many bytes as a head had."""
    return len(url) + sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in headers)


def name_of(headers: Headers) -> str:
    """The request's id: what it came with, where that was read and may be one; else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and acceptable(value):
            return value.decode()
    return urandom(12).hex()


def without_offer(data: bytes) -> bytes:
    """An offer of another protocol may be passed over (RFC 9110 §7.8), but the parser would stop at its head."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _offer(b"\r\nx-declined:", head) + end + rest


def refusal(error: GatewayError, request_id: str, common: Headers) -> bytes:
    """A whole answer, the last one on its connection; `common` are the lines that every answer has."""
    own, body = error_answer(error)
    headers = [
        *common,
        *own,
        (REQUEST_ID, request_id.encode()),
        (b"connection", b"close"),
        (b"content-length", b"%d" % len(body)),
    ]
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"%b%b\r\n%b" % (STATUS_LINE[error.status_code], lines, body)
