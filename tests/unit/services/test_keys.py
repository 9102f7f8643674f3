"""Who holds which key."""

import pytest

from app.domain.errors import UNKNOWN_KEY, AuthenticationError
from app.domain.principal import ANONYMOUS, Principal
from app.services.keys import KeyService
from app.settings import KeySettings, Secret

ALICE = Principal("alice", "alice")
BOB = Principal("bob", "acme")


def service(*, metrics_key: str = "") -> KeyService:
    rows = {"alice": KeySettings(key=Secret("k-alice")), "bob": KeySettings(key=Secret("k-bob"), tenant="acme")}
    return KeyService(rows, metrics_key=metrics_key)


@pytest.mark.parametrize(
    "authorization", [b"Bearer k-alice", b"bearer k-alice", b"BEARER k-alice", b"bEaReR   k-alice  "]
)
def test_a_bearer_is_known_in_any_case(authorization: bytes) -> None:
    assert service().authenticate(authorization) == ALICE


def test_a_key_has_its_tenant_or_is_one() -> None:
    keys = service()

    assert keys.authenticate(b"Bearer k-bob") == BOB
    assert keys.authenticate(b"", b"k-alice") == ALICE
    assert keys.authenticate(b"", b"k-bob") == BOB


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (b"", b""),
        (b"Bearer", b""),
        (b"Bearer ", b""),
        (b"Bearer k-carol", b""),
        (b"Bearer K-ALICE", b""),
        (b"Bearer k-alic", b""),
        (b"Bearer k-alicee", b""),
        (b"Bearer k-alice k-bob", b""),
        (b"k-alice", b""),
        (b"Basic k-alice", b""),
        (b"Bearerk-alice", b""),
        (b"", b"Bearer k-alice"),
        (b"", b"k-carol"),
        (b"Bearer k-carol", b"k-alice"),
        (b"Bearer \xff\xfe", b""),
        (b"Bearer " + b"x" * 100_000, b""),
    ],
)
def test_whatever_is_wrong_is_refused_in_the_same_words(authorization: bytes, api_key: bytes) -> None:
    keys = service()

    with pytest.raises(AuthenticationError) as caught:
        keys.authenticate(authorization, api_key)

    assert caught.value.message == UNKNOWN_KEY
    assert not keys.may_read_metrics(authorization, api_key)


def test_without_keys_everybody_is_anonymous() -> None:
    keys = KeyService({})

    assert not keys.needed
    assert keys.authenticate(b"Bearer anything") is ANONYMOUS
    assert keys.authenticate(b"") is ANONYMOUS
    assert service().needed


def test_the_metrics_key_opens_the_metrics_and_nothing_else() -> None:
    keys = service(metrics_key="k-metrics")

    assert keys.may_read_metrics(b"bearer k-metrics")
    assert keys.may_read_metrics(b"", b"k-metrics")
    with pytest.raises(AuthenticationError):
        keys.authenticate(b"Bearer k-metrics")
    with pytest.raises(AuthenticationError):
        keys.authenticate(b"", b"k-metrics")


def test_any_other_key_opens_the_metrics_too() -> None:
    assert service(metrics_key="k-metrics").may_read_metrics(b"Bearer k-alice")
    assert service().may_read_metrics(b"", b"k-bob")


@pytest.mark.parametrize("metrics_key", ["", "k-metrics"])
def test_no_key_opens_no_metrics(metrics_key: str) -> None:
    for keys in (service(metrics_key=metrics_key), KeyService({}, metrics_key=metrics_key)):
        assert not keys.may_read_metrics(b"")
        assert not keys.may_read_metrics(b"Bearer ")


def test_a_long_key_is_a_key() -> None:
    long = "x" * 30_000
    keys = KeyService({"alice": KeySettings(key=Secret(long))})

    assert keys.authenticate(b"Bearer " + long.encode()) == ALICE
    for other in (long[1:], long + "x", long[:-1] + "y"):
        with pytest.raises(AuthenticationError):
            keys.authenticate(b"Bearer " + other.encode())


def test_no_key_is_kept() -> None:
    keys = service(metrics_key="k-metrics")

    kept = repr(vars(keys))

    assert "alice" in kept
    assert not any(each in kept for each in ("k-alice", "k-bob", "k-metrics"))
    assert repr(vars(service(metrics_key="k-metrics"))) != kept
