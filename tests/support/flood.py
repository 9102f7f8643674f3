"""Requests by the thousand, faster than a client makes them."""

import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO

from tests.support.processes import PATIENCE_SECONDS

WIRES = 10
AT_ONCE = 50


def statuses(port: int, requests: Sequence[bytes]) -> Counter[int]:
    """What so many requests were answered, on a few connections."""
    found: Counter[int] = Counter()
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)) for _ in range(WIRES)
        ]
        files = [stack.enter_context(each.makefile("rb")) for each in sockets]
        for start in range(0, len(requests), WIRES * AT_ONCE):
            shares = [requests[at : at + AT_ONCE] for at in range(start, start + WIRES * AT_ONCE, AT_ONCE)]
            for each, share in zip(sockets, shares, strict=True):
                each.sendall(b"".join(share))
            found.update(status_of(file) for file, share in zip(files, shares, strict=True) for _ in share)
    return found


def status_of(answers: BinaryIO) -> int:
    """Of the next answer; a whole client would take longer than the gateway."""
    status, length = int(answers.readline().split()[1]), 0
    while (line := answers.readline()) != b"\r\n":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    assert len(answers.read(length)) == length
    return status
