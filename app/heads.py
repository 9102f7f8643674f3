"""What a request's head may be, and what is said to one that may not be."""

from collections.abc import Sequence
from os import urandom

import httptools
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


def no_tunnel() -> GatewayError:
    """To `CONNECT`."""
    return MethodNotAllowedError("this is no proxy", allow="GET, HEAD, POST")


def no_address() -> GatewayError:
    return InvalidRequestError("the request has no address that can be read")


def not_spoken() -> GatewayError:
    """To versions 0.9 and 2.0, which the parser would take too."""
    return InvalidRequestError("HTTP/1.1 and HTTP/1.0 are spoken here")


def weight_of(url: bytes, headers: Headers) -> int:
    """About as many bytes as a head had."""
    return len(url) + sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in headers)


def name_of(headers: Headers) -> str:
    """The request's id: what it came with, where that was read and may be one; else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and acceptable(value):
            return value.decode()
    return urandom(12).hex()


def parser_for(protocol: object) -> httptools.HttpRequestParser:
    """As uvicorn makes its own."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """A head that was read, without the header that offers another protocol."""
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(lines))


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
