"""HTTP as bytes on a socket, for what no client would send."""

import http.client
import select
import socket
from types import TracebackType
from typing import Self

import httpx

from tests.support.processes import PATIENCE_SECONDS


class Wire:
    """One connection to a gateway on this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line as it is, where an answer begins."""
        return self._file.readline().rstrip(b"\r\n")

    def answer(self, line: bytes = b"") -> httpx.Response:
        """The next answer, of which `line` has been read already."""
        version, status, *_ = (line or self.line()).split(b" ")
        assert version == b"HTTP/1.1"
        fields = http.client.parse_headers(self._file)
        body = self._file.read(int(fields["content-length"]))
        return httpx.Response(int(status), headers=fields.items(), content=body)

    def has_answer(self, within: float) -> bool:
        """Whether something comes within so many seconds."""
        return bool(select.select([self.socket], [], [], within)[0])

    def is_closed(self) -> bool:
        """Whether the gateway ends the connection without another byte; waits for it."""
        return self._file.read(1) == b""


def head(
    port: int, *fields: str, method: str = "POST", path: str = "/v1/chat/completions", host: str | None = None
) -> bytes:
    """A request's head with `fields`, for this gateway unless another `host` is named; an empty one is left out."""
    named = f"127.0.0.1:{port}" if host is None else host
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {named}"] if named else []), *fields, "", ""]
    return "\r\n".join(lines).encode()


def request(port: int, body: bytes, *fields: str, path: str = "/v1/chat/completions", host: str | None = None) -> bytes:
    return head(port, f"Content-Length: {len(body)}", *fields, path=path, host=host) + body
