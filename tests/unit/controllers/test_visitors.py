"""Who is not even listened to."""

import pytest

from app.controllers.visitors import MOST_HOSTS_KEPT, Visitors
from app.domain.errors import AuthenticationError, GatewayError, InvalidRequestError, PermissionDeniedError

HERE = b"localhost:12434"


def check(visitors: Visitors, *sent: tuple[bytes, bytes]) -> None:
    visitors.check(sent, dict(sent))


def alone(*origins: str) -> Visitors:
    return Visitors(origins=origins, loopback_only=True)


def with_keys(*origins: str) -> Visitors:
    return Visitors(origins=origins, loopback_only=False)


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"localhost:1",
        b"LocalHost:12434",
        b"127.0.0.1",
        b"127.0.0.1:65535",
        b"127.255.3.4:80",
        b"[::1]",
        b"[::1]:80",
        b"[0:0:0:0:0:0:0:1]:80",
    ],
)
def test_without_keys_this_machine_is_served_by_any_of_its_names(host: bytes) -> None:
    check(alone(), (b"host", host))


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:12434",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"evil-localhost",
        b"localhost,evil.example",
        b"192.168.1.7",
        b"0.0.0.0",
        b"2130706433",
        b"[::2]:80",
        b"[::]",
        b"localhost%00",
        b"localhost\\evil.example",
    ],
)
def test_without_keys_a_name_that_only_leads_here_is_refused(host: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"only loopback hosts|exactly one valid Host"):
        check(alone(), (b"host", host))


@pytest.mark.parametrize("host", [b"gateway.example", b"192.168.1.7:80", b"[2001:db8::1]:80", b"localhost"])
def test_with_keys_any_name_is_served(host: bytes) -> None:
    check(with_keys(), (b"host", host))


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b":80",
        b"user@localhost",
        b"evil.example:80@localhost",
        b"localhost/x",
        b"localhost?x",
        b"localhost#x",
        b"local host",
        b" localhost",
        b"[::1",
        b"::1]",
        "localhöst".encode(),
    ],
)
@pytest.mark.parametrize("visitors", [alone(), with_keys()], ids=["alone", "with keys"])
def test_what_is_no_host_is_refused(visitors: Visitors, host: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="exactly one valid Host"):
        check(visitors, (b"host", host))


def test_no_host_at_all_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="exactly one valid Host"):
        check(alone(), (b"accept", b"*/*"))


@pytest.mark.parametrize("host", [b"evil.example[::1]", b"[::1]evil.example", b"localhost:port", b"local\thost"])
def test_a_host_that_is_half_a_loopback_is_refused(host: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        check(alone(), (b"host", host))


def test_a_good_host_is_remembered_and_no_endless_number_of_them() -> None:
    visitors = with_keys()

    for number in range(3 * MOST_HOSTS_KEPT):
        check(visitors, (b"host", f"h{number}.example".encode()))
    check(visitors, (b"host", b"h0.example"))

    with pytest.raises(InvalidRequestError):
        check(visitors, (b"host", b"h0.example/"))


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"http://localhost",
        b"http://localhost:3000",
        b"http://127.0.0.1:12434",
        b"null",
        b"",
        b"http://",
        b"localhost:12434",
        b"file://localhost:12434",
        b"http://localhost:12434/",
        b"http://localhost:12434.evil.example",
    ],
)
def test_a_foreign_page_is_refused(origin: bytes) -> None:
    with pytest.raises(PermissionDeniedError, match="origins"):
        check(alone(), (b"host", HERE), (b"origin", origin))


@pytest.mark.parametrize("scheme", [b"http://", b"https://"])
def test_a_page_of_our_own_is_served(scheme: bytes) -> None:
    check(alone(), (b"host", HERE), (b"origin", scheme + HERE))
    check(alone(), (b"host", b"[::1]:80"), (b"origin", scheme + b"[::1]:80"))


def test_a_page_that_is_listed_is_served_and_no_other_one() -> None:
    visitors = with_keys("https://app.example", "http://localhost:3000/")

    for origin in (b"https://app.example", b"http://localhost:3000"):
        check(visitors, (b"host", HERE), (b"origin", origin))
    for origin in (b"http://app.example", b"https://app.example:8443", b"https://app.example.evil"):
        with pytest.raises(PermissionDeniedError):
            check(visitors, (b"host", HERE), (b"origin", origin))


def test_a_star_lists_them_all() -> None:
    check(with_keys("*"), (b"host", HERE), (b"origin", b"https://anything.example"))
    check(with_keys("*"), (b"host", HERE), (b"origin", b"null"))


def test_a_rebound_name_is_refused_although_the_page_calls_it_its_own() -> None:
    with pytest.raises(InvalidRequestError):
        check(alone(), (b"host", b"evil.example"), (b"origin", b"http://evil.example"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"host", InvalidRequestError),
        (b"authorization", AuthenticationError),
        (b"x-api-key", AuthenticationError),
        (b"origin", GatewayError),
    ],
)
def test_what_may_be_said_once_is_not_said_twice(name: bytes, kind: type[GatewayError]) -> None:
    usual = {b"host": HERE, b"authorization": b"Bearer k", b"x-api-key": b"k", b"origin": b"http://" + HERE}

    with pytest.raises(kind):
        check(with_keys(), *usual.items(), (name, usual[name]))


def test_other_headers_may_be_said_twice() -> None:
    check(with_keys(), (b"host", HERE), (b"accept", b"a"), (b"accept", b"b"))
