"""How often an address may be wrong."""

import pytest

from app.services.wrong_keys import MOST_ADDRESSES, WINDOW_SECONDS, WrongKeys
from tests.support.clock import Clock

HERE = ("192.0.2.1", 1234)
THERE = ("192.0.2.2", 1234)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_so_many_a_minute_are_in_time_and_the_next_hears_when_to_come_back(clock: Clock) -> None:
    wrong = WrongKeys(3, clock=clock)

    assert [wrong.late(HERE) for _ in range(3)] == [0, 0, 0]
    assert wrong.late(HERE) == wrong.late(HERE) == pytest.approx(20)
    assert wrong.late(THERE) == 0


def test_who_waits_as_told_is_in_time_once(clock: Clock) -> None:
    wrong = WrongKeys(7, clock=clock)
    while not (wait := wrong.late(HERE)):
        pass

    clock.now += wait

    assert wrong.late(HERE) == 0
    assert wrong.late(HERE) > 0


def test_after_a_minute_all_is_given_back(clock: Clock) -> None:
    wrong = WrongKeys(5, clock=clock)
    for _ in range(100):
        wrong.late(HERE)

    clock.now += WINDOW_SECONDS

    assert [wrong.late(HERE) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(12)]


def test_with_none_allowed_a_minute_there_is_no_limit(clock: Clock) -> None:
    wrong = WrongKeys(0, clock=clock)

    assert {wrong.late(HERE) for _ in range(1000)} == {0}
    assert len(wrong) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "192.0.2.1", False),
    ],
)
def test_the_first_half_of_an_ipv6_address_is_one_address(clock: Clock, one: str, other: str, *, same: bool) -> None:
    wrong = WrongKeys(1, clock=clock)
    wrong.late((one, 1))

    assert bool(wrong.late((other, 2))) is same
    assert len(wrong) == 2 - same


def test_who_comes_by_a_unix_socket_is_one_and_what_is_no_address_too(clock: Clock) -> None:
    wrong = WrongKeys(1, clock=clock)

    assert [bool(wrong.late(each)) for each in (None, None, ("x" * 9999, 0))] == [False, True, False]


def test_only_so_many_addresses_are_remembered_and_the_quiet_ones_go_first(clock: Clock) -> None:
    wrong = WrongKeys(1, clock=clock)
    wrong.late(HERE)
    for number in range(3 * MOST_ADDRESSES):
        wrong.late((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1))
        assert wrong.late(HERE) > 0

    assert len(wrong) == MOST_ADDRESSES
    assert wrong.late(("10.0.0.0", 1)) == 0
