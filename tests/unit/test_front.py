"""What of uvicorn's insides our protocol relies on; the rest is asked over real sockets."""

import asyncio
import gc
from typing import Any

import pytest

from tests.support.wired import BODY, answer, front


async def test_head_and_body_leave_in_one_write() -> None:
    protocol, transport = front(answer)

    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    (written,) = transport.writes
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\n\r\n{}")


async def test_each_piece_of_a_stream_is_one_write_and_the_first_takes_the_head_along() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    protocol, transport = front(stream)

    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    assert len(transport.writes) == 3
    assert transport.writes[0].endswith(b"\r\n\r\n3\r\none\r\n")
    assert transport.writes[1:] == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


async def test_who_left_is_told_to_whoever_asked_to_know() -> None:
    left = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["signalbox"].leave = left.set
        await asyncio.sleep(10)

    protocol, _ = front(waiting)
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    protocol.connection_lost(None)

    assert left.is_set()
    for task in protocol.tasks:
        task.cancel()


async def test_a_header_with_a_line_break_in_it_is_not_sent() -> None:
    async def splitting(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
        await send(BODY)

    protocol, transport = front(splitting)

    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    assert b"set-cookie" not in b"".join(transport.writes)


async def test_a_hot_route_takes_a_whole_body_and_gives_a_whole_answer_in_one_write() -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        assert served.send == send
        assert served.answer(200, b"x-a: b\r\n", served.whole_body().upper())

    protocol, transport = front(hot)

    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
    await asyncio.sleep(0.01)

    (written,) = transport.writes
    assert written == b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 5\r\n\r\nHELLO"
    assert not transport.closed


async def test_a_body_that_is_still_coming_is_received_as_asgi_has_it() -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        assert served.whole_body() is None
        first, last = await receive(), await receive()
        assert (first["body"], first["more_body"], last["body"], last["more_body"]) == (b"he", True, b"llo", False)
        served.answer(200, b"", b"")

    protocol, transport = front(hot)

    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe")
    await asyncio.sleep(0.01)
    protocol.data_received(b"llo")
    await asyncio.sleep(0.01)

    assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]


@pytest.mark.parametrize(("version", "said"), [(b"1.1", [b"HTTP/1.1 100 Continue\r\n\r\n"]), (b"1.0", [])])
async def test_only_who_knows_the_word_is_told_to_continue(version: bytes, said: list[bytes]) -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    protocol, transport = front(hot)

    protocol.data_received(b"POST / HTTP/%b\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n" % version)
    await asyncio.sleep(0.01)

    assert transport.writes == said
    protocol.connection_lost(None)
    await asyncio.sleep(0.01)


async def test_answers_to_pipelined_requests_keep_their_order_and_their_bodies() -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        body = served.whole_body()
        await asyncio.sleep(0.01 if body == b"one" else 0)
        served.answer(200, b"", body)

    protocol, transport = front(hot)

    protocol.data_received(
        b"".join(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            for body in (b"one", b"two", b"three")
        )
    )
    await asyncio.sleep(0.05)

    assert [written.rpartition(b"\r\n\r\n")[2] for written in transport.writes] == [b"one", b"two", b"three"]


async def test_a_client_that_reads_slowly_is_sent_nothing_past_asgi() -> None:
    said: list[bool] = []

    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        said.append(served.push(b"too early"))
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        said.append(served.push(b"b"))
        protocol.pause_writing()
        said.append(served.push(b"c"))
        said.append(served.answer(200, b"", b""))
        protocol.resume_writing()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    protocol, transport = front(hot)

    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    assert said == [False, True, False, False]
    assert b"".join(transport.writes).endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


async def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        served.leave = lambda: served
        served.answer(200, b"", b"{}")

    protocol, transport = front(hot)
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    for _ in range(3):
        protocol.data_received(request)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            protocol.data_received(request)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert gc.collect() < 50
    finally:
        gc.enable()
    assert len(transport.writes) == 53


async def test_who_sent_a_long_body_is_still_seen_to_leave() -> None:
    async def hot(scope: Any, receive: Any, send: Any) -> None:
        served = scope["extensions"]["signalbox"]
        body = served.whole_body() if scope["path"] == "/whole" else (await receive())["body"]
        assert len(body) == 200_000
        served.answer(200, b"", b"")

    for path in (b"/whole", b"/received"):
        protocol, transport = front(hot)
        protocol.data_received(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" % path + b"x" * 200_000)
        assert transport.paused
        await asyncio.sleep(0.01)
        assert transport.writes
        assert not transport.paused


async def test_a_head_that_begins_behind_another_request_is_weighed_too() -> None:
    protocol, transport = front(answer)

    protocol.data_received(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 30_000)
    await asyncio.sleep(0.01)
    protocol.data_received(b"y" * 20_000 + b"\r\n\r\n")
    await asyncio.sleep(0.01)

    assert [written[:12] for written in transport.writes] == [b"HTTP/1.1 200", b"HTTP/1.1 431"]


async def test_a_stream_for_http_1_0_ends_with_its_connection() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two", b""):
            await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})

    protocol, transport = front(stream)

    protocol.data_received(b"GET / HTTP/1.0\r\n\r\n")
    await asyncio.sleep(0.01)

    assert b"".join(transport.writes).endswith(b"\r\nconnection: close\r\n\r\nonetwo")
    assert b"chunked" not in transport.writes[0]
    assert transport.closed
