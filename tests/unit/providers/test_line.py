"""What httpcore's connections are wrapped in."""

import asyncio

import httpcore
import pytest
import uvloop
from httpcore._backends.anyio import AnyIOBackend

from app.providers.upstream.line import WatchedStream


class Gone(httpcore.AsyncNetworkStream):
    """As anyio's is whose socket uvloop has let go of."""

    def get_extra_info(self, info: str) -> object:
        raise AttributeError("'NoneType' object has no attribute 'getpeername'")


def test_a_connection_that_was_lost_as_it_opened_could_not_be_made() -> None:
    stream = WatchedStream(Gone(), None)  # type: ignore[arg-type] # nobody on this way asks the lane

    with pytest.raises(httpcore.ConnectError):
        stream.get_extra_info("ssl_object")
    assert stream.get_extra_info("is_readable") is True


def test_a_real_connection_that_was_aborted_is_told_the_same_way() -> None:
    async def lost() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            opened = await AnyIOBackend().connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1])
            stream = WatchedStream(opened, None)  # type: ignore[arg-type] # nobody on this way asks the lane
            opened._stream._transport.abort()  # noqa: SLF001 - as a reset does
            await asyncio.sleep(0.05)
            with pytest.raises(httpcore.ConnectError):
                stream.get_extra_info("ssl_object")
            await stream.aclose()

    uvloop.run(lost())
