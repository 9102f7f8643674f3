"""Each of the eight toxics does what it is called, in its direction, from the moment it is there to when it is gone."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.chaos.support import chaos_proxy
from tests.chaos.toxics import toxic

PATIENCE_SECONDS = 20


@contextmanager
def echo() -> Iterator[int]:
    """A server that says what it is told; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_echoing, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def _echoing(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := connection.recv(65536)):
        found += data
    return found


def test_nothing_is_changed_without_toxics() -> None:
    said = bytes(range(256)) * 4000
    with echo() as port, chaos_proxy(port) as proxy, closing(dial(proxy.port)) as connection:
        threading.Thread(target=connection.sendall, args=(said,)).start()

        assert read(connection, len(said)) == said


@pytest.mark.parametrize("direction", ["up", "down"])
def test_latency_delays_and_can_be_taken_away(direction: str) -> None:
    with echo() as port, chaos_proxy(port) as proxy, closing(dial(proxy.port)) as connection:
        proxy.add(f"latency=300,stream={direction}")
        started = time.monotonic()
        connection.sendall(b"one")
        assert read(connection, 3) == b"one"
        slow = time.monotonic() - started
        proxy.clear()
        connection.sendall(b"two")
        assert read(connection, 3) == b"two"

    assert slow >= 0.3


def test_bandwidth_bounds_the_rate() -> None:
    with echo() as port, chaos_proxy(port, "bandwidth=64") as proxy, closing(dial(proxy.port)) as connection:
        started = time.monotonic()
        connection.sendall(b"x" * 32 * 1024)

        assert len(read(connection, 32 * 1024)) == 32 * 1024
        assert time.monotonic() - started >= 0.4


def test_a_slicer_tears_and_loses_nothing() -> None:
    said = bytes(range(200))
    with echo() as port, chaos_proxy(port, "slicer=7,delay=1") as proxy, closing(dial(proxy.port)) as connection:
        connection.sendall(said)
        first = connection.recv(65536)

        assert len(first) < len(said)
        assert first + read(connection, len(said) - len(first)) == said


def test_limited_data_ends_the_connection() -> None:
    with echo() as port, chaos_proxy(port, "limit_data=10") as proxy, closing(dial(proxy.port)) as connection:
        connection.sendall(b"0123456789abcdef")

        assert read(connection, 100) == b"0123456789"


def test_a_black_hole_swallows_until_its_time_is_over() -> None:
    with echo() as port, chaos_proxy(port, "timeout=300") as proxy, closing(dial(proxy.port)) as connection:
        connection.sendall(b"hello")

        assert connection.recv(10) == b""


def test_a_reset_is_a_reset() -> None:
    with (
        echo() as port,
        chaos_proxy(port, "reset_peer=0") as proxy,
        closing(dial(proxy.port)) as connection,
        pytest.raises(ConnectionResetError),
    ):
        read(connection, 1)


def test_a_slow_close_comes_late() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        chaos_proxy(listener.getsockname()[1], "slow_close=300") as proxy,
        closing(dial(proxy.port)) as connection,
    ):
        listener.accept()[0].close()
        started = time.monotonic()

        assert connection.recv(10) == b""
        assert time.monotonic() - started >= 0.25


def test_down_refuses_and_comes_back_on_the_same_port() -> None:
    with echo() as port, chaos_proxy(port) as proxy:
        with closing(dial(proxy.port)) as connection:
            proxy.add("down")
            with pytest.raises(ConnectionResetError):
                read(connection, 1)
        with pytest.raises(ConnectionRefusedError):
            dial(proxy.port)
        proxy.clear()
        with closing(dial(proxy.port)) as connection:
            connection.sendall(b"again")

            assert read(connection, 5) == b"again"


def test_a_toxic_may_hit_some_connections_only() -> None:
    def reset(port: int) -> bool:
        with closing(dial(port)) as connection:
            try:
                connection.sendall(b"hello")
                return read(connection, 5) != b"hello"
            except ConnectionError:
                return True

    with echo() as port, chaos_proxy(port, "limit_data=1,probability=0.5", seed=3) as proxy:
        found = {reset(proxy.port) for _ in range(20)}

    assert found == {True, False}


@pytest.mark.parametrize("written", ["earthquake", "latency=1,colour=red", "latency=1,stream=sideways", "latency=much"])
def test_what_is_no_toxic_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"no such|has no|could not convert"):
        toxic(written)
