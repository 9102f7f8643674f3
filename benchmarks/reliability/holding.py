"""Half-open connections: each sends half a head and waits, and comes again as soon as it is closed.

`python -m benchmarks.reliability.holding PORT COUNT`, until it is stopped. A process of its own: who measures the
callers beside them must not be held up by as many connections as the gateway is.
"""

import asyncio
import sys

import uvloop

HALF = b"POST /v1/chat/completions HTTP/1.1\r\nX-"


class Half(asyncio.Protocol):
    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(HALF)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(exc)


async def hold(port: int) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            _, half = await loop.create_connection(Half, "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            await half.over


async def main(port: int, count: int) -> None:
    await asyncio.gather(*(hold(port) for _ in range(count)))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
