"""How a connection ends: its last answer arrives, whatever the client still sends or does not take."""

import asyncio

from app.heads import DEFAULT_LIMITS, FrontLimits
from app.parting import NEVER
from tests.support.wired import answer, front


async def test_an_answer_before_the_end_of_its_request_reaches_who_still_sends() -> None:
    protocol, transport = front(answer)

    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
    await asyncio.sleep(0.01)
    for _ in range(100):
        protocol.data_received(b"x" * 1_000_000)

    (written,) = transport.writes
    assert b"\r\nconnection: close\r\n" in written
    assert (transport.ended, transport.closed, transport.paused) == (True, False, False)
    protocol.expire()
    assert transport.closed


async def test_of_requests_that_come_at_once_only_so_many_are_kept() -> None:
    protocol, transport = front(answer)

    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
    await asyncio.sleep(0.05)

    kinds = [written[:12] for written in transport.writes]
    assert kinds == [b"HTTP/1.1 200"] * 65 + [b"HTTP/1.1 503"]
    assert b"\r\nretry-after: 1\r\n" in transport.writes[-1]
    assert transport.ended


async def test_a_request_that_is_none_is_told_so_after_the_good_ones_before_it() -> None:
    protocol, transport = front(answer)
    good = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"

    protocol.data_received(good + b"GET / HTTP/1.1\r\nx-request-id: second\r\na: b\r\nc: d\x00\r\n\r\n" + good)
    await asyncio.sleep(0.01)

    first, second = transport.writes
    assert b"\r\nconnection: close\r\n" not in first
    assert second.startswith(b"HTTP/1.1 400")
    assert b"\r\nx-request-id: second\r\n" in second


async def test_who_takes_nothing_of_the_last_answer_is_not_waited_for_for_ever() -> None:
    protocol, transport = front(answer)
    protocol.data_received(b"GET / HTTP/1.0\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.01)

    for transport.unsent in (500_000, 400_000):
        protocol.expire()
    assert (transport.closed, transport.aborted) == (True, False)
    protocol.expire()

    assert transport.aborted


async def test_who_takes_no_answers_is_asked_for_no_more_requests() -> None:
    protocol, transport = front(answer)
    transport.full = protocol.pause_writing
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
    await asyncio.sleep(0.01)
    assert (len(transport.writes), transport.paused, len(protocol.tasks)) == (1, True, 0)

    protocol.resume_writing()
    await asyncio.sleep(0.01)
    assert (len(transport.writes), transport.paused) == (2, True)

    seconds = DEFAULT_LIMITS.stall_seconds
    for turn, transport.unsent in enumerate((200_000, 100_000, 100_000)):  # it takes some of it, and then no more
        assert not transport.aborted
        assert protocol.due == NEVER
        protocol.flow.cut_if_stalled((turn + 1) * (seconds + 1))
    assert transport.aborted


async def test_of_too_many_connections_nothing_is_read() -> None:
    protocol, transport = front(answer, FrontLimits(connections=0))

    assert transport.aborted
    assert protocol.due < float("inf")
