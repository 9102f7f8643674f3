"""A certificate that cannot be shown stops the start, in one line that says what is wrong."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from app.settings import ConfigError, Secret, ServerSettings, load, local_address
from app.settings.tls import Presented, tls_context, validity_of

DAWN = datetime(2020, 1, 1, tzinfo=UTC)
PASSWORD = "open-sesame"  # noqa: S105 - a test's


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`chain`, its `key`, the same `locked`, `both` in one file, and the key of `another`, whose is `foreign`."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("gateway.test")
    issued.cert_chain_pems[0].write_to_path(directory / "chain")
    issued.private_key_pem.write_to_path(directory / "key")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "both")
    other = authority.issue_cert("other.test")
    other.private_key_pem.write_to_path(directory / "another")
    other.cert_chain_pems[0].write_to_path(directory / "foreign")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    (directory / "locked").write_bytes(locked)
    (directory / "garbage").write_text("this is no certificate")
    return directory


def settings(files: Path, certificate: str, key: str = "", password: str = "") -> ServerSettings:
    at = {"tls_certificate": certificate, "tls_key": key}
    named = {name: str(files / value) for name, value in at.items() if value}
    return ServerSettings(**named, tls_key_password=Secret(password))


@pytest.mark.parametrize(
    ("certificate", "key", "password"),
    [("chain", "key", ""), ("both", "", ""), ("chain", "locked", PASSWORD), ("chain", "key", "not needed")],
)
def test_what_belongs_together_is_shown(files: Path, certificate: str, key: str, password: str) -> None:
    context = tls_context(settings(files, certificate, key, password))

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(ServerSettings()) is None
    assert local_address(ServerSettings()) == "http://127.0.0.1:12434"


@pytest.mark.parametrize(
    ("names", "path", "why"),
    [
        (("chain", "another", ""), "server.tls_key", "is not the key of server.tls_certificate"),
        (("chain", "missing", ""), "server.tls_key", "cannot be read: No such file or directory"),
        (("missing", "key", ""), "server.tls_certificate", "cannot be read: No such file or directory"),
        (("garbage", "key", ""), "server.tls_certificate", "garbage has no certificate in it, or"),
        (("chain", "garbage", ""), "server.tls_certificate", "has no certificate in it, or"),
        (("chain", "", ""), "server.tls_certificate", "has no certificate with its key in it"),
        (("", "key", ""), "server.tls_certificate", "is missing"),
        (("chain", "locked", ""), "server.tls_key_password", "does not open server.tls_key"),
        (("chain", "locked", "wrong"), "server.tls_key_password", "does not open server.tls_key"),
        (("chain", "locked", "x" * 5000), "server.tls_key_password", "is too long"),
    ],
)
def test_what_does_not_belong_together_is_named(files: Path, names: tuple[str, str, str], path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        tls_context(settings(files, *names))

    assert caught.value.path == path


@pytest.mark.parametrize(("certificate", "key"), [("foreign", "key"), ("foreign", "garbage"), ("missing", "key")])
def test_what_was_shown_is_shown_on_where_the_next_does_not_belong_together(
    files: Path, certificate: str, key: str
) -> None:
    presented = Presented(settings(files, "both"))
    assert presented.context is not None

    with pytest.raises(ConfigError):
        presented.newer(settings(files, certificate, key))

    assert shakes_hands(presented.context)


def test_one_of_another_kind_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = {kind.name: authority.issue_cert("gateway.test", key_type=kind) for kind in trustme.KeyType}
    at = tmp_path / "both"
    first, second = issued["RSA"], issued["ECDSA"]
    first.private_key_and_cert_chain_pem.write_to_path(at)
    presented = Presented(settings(tmp_path, "both"))
    assert presented.context is not None
    assert presented.newer(settings(tmp_path, "both")) is None

    second.private_key_and_cert_chain_pem.write_to_path(at)
    newer = presented.newer(settings(tmp_path, "both"))
    assert newer is not None
    assert shown_by(presented.context) == first.cert_chain_pems[0].bytes()
    presented.become(newer)

    for name in ("gateway.test", None):
        assert shown_by(presented.context, "ECDHE+aRSA:ECDHE+ECDSA", name) == second.cert_chain_pems[0].bytes()
    assert presented.newer(settings(tmp_path, "both")) is None


@pytest.mark.parametrize(("begins", "ends", "why"), [(-9, -1, "ended on 20"), (1, 9, "is not good before 20")])
def test_one_that_callers_refuse_by_its_dates_takes_nobodys_place(
    tmp_path: Path, begins: int, ends: int, why: str
) -> None:
    authority, now = trustme.CA(), datetime.now(UTC)
    authority.issue_cert("gateway.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both")
    presented = Presented(settings(tmp_path, "both"))
    dates = {"not_before": now + timedelta(days=begins), "not_after": now + timedelta(days=ends)}
    authority.issue_cert("gateway.test", **dates).private_key_and_cert_chain_pem.write_to_path(tmp_path / "both")

    with pytest.raises(ConfigError, match=f"server.tls_certificate: .*both {why}"):
        presented.newer(settings(tmp_path, "both"))

    environ = {"SIGNALBOX__SERVER__TLS_CERTIFICATE": str(tmp_path / "both")}
    (notice,) = load(None, environ).notices
    assert f"{tmp_path / 'both'} {why}" in notice
    assert notice.endswith("callers refuse it")


def test_without_a_certificate_there_is_none_to_come(files: Path) -> None:
    assert Presented(ServerSettings()).newer(settings(files, "both")) is None
    assert Presented(settings(files, "both")).newer(ServerSettings()) is None


def shown_by(context: ssl.SSLContext, ciphers: str = "ALL", name: str | None = "gateway.test") -> bytes:
    """The certificate, as PEM, that somebody gets who trusts anybody and speaks TLS 1.2."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    anybody.maximum_version = ssl.TLSVersion.TLSv1_2
    anybody.set_ciphers(ciphers)
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = anybody.wrap_bio(ours, theirs, server_hostname=name)
    for side in (caller, context.wrap_bio(theirs, ours, server_side=True)) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    found = caller.getpeercert(binary_form=True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found).encode()


def shakes_hands(context: ssl.SSLContext) -> bool:
    """Whether somebody who trusts anybody agrees with `context`; raises SSLError."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = context.wrap_bio(theirs, ours, server_side=True), anybody.wrap_bio(ours, theirs)
    for side in sides * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return all(side.version() for side in sides)


def test_it_is_found_when_settings_are_read_and_says_where_they_came_from(files: Path) -> None:
    environ = {
        "SIGNALBOX__SERVER__TLS_CERTIFICATE": str(files / "chain"),
        "SIGNALBOX__SERVER__TLS_KEY": str(files / "another"),
    }

    with pytest.raises(ConfigError, match=r"\(from environment SIGNALBOX__SERVER__TLS_KEY\)"):
        load(None, environ)
    assert load(None, environ | {"SIGNALBOX__SERVER__TLS_KEY": str(files / "key")}).settings.server.tls_certificate


def test_a_key_where_its_path_should_be_is_not_repeated(files: Path) -> None:
    pasted = (files / "key").read_text()

    with pytest.raises(ConfigError) as caught:
        load(None, {"SIGNALBOX__SERVER__TLS_CERTIFICATE": str(files / "chain"), "SIGNALBOX__SERVER__TLS_KEY": pasted})

    assert pasted.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("days", [-3, 3])
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_its_end_is_known_whether_it_is_over_or_not(tmp_path: Path, days: int, key_type: trustme.KeyType) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    intermediate = trustme.CA(key_type=key_type).create_child_ca(key_type)
    issued = intermediate.issue_cert("gateway.test", not_before=DAWN, not_after=ends, key_type=key_type)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both")

    assert Presented(settings(tmp_path, "both")).validity == (DAWN.timestamp(), ends.timestamp())


def test_the_end_of_one_that_no_caller_takes_is_not_known(files: Path) -> None:
    assert Presented(ServerSettings()).validity == (0, 0)
    assert validity_of(tls_context(settings(files, "chain", "key")), settings(files, "foreign", "another")) == (0, 0)
