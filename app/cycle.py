"""One answer of our own server."""

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_illegal = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


class Cycle(RequestResponseCycle):
    """One answer. Its head waits for its first piece, so that both leave together."""

    head = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        headers = [*self.default_headers, *message["headers"]]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        for name, value in headers:
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and message["status"] not in {204, 304}:
            self.chunked_encoding = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or _illegal(lines):
            raise RuntimeError("a header has a control character in it")
        self.head = b"%b%b\r\n" % (STATUS_LINE[message["status"]], lines)

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self.response_complete:
            raise RuntimeError("the answer is already complete")
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
        head, self.head = self.head, b""
        if head or body:
            self.transport.write(head + body if head else body)
        if not more:
            self._finish()

    def _finish(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("the body is not as long as its head said")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
