"""The door is shut before anybody knocks: what does not start, and what is refused when the lock itself breaks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import AsyncTestClient
from structlog.testing import capture_logs

from app.container import Container
from app.domain.errors import AuthenticationError
from app.domain.principal import Principal
from app.main import create_app
from app.services.keys import KeyService
from app.settings import KeySettings, Secret, load
from tests.support.failures import CHAT, INVALID, check_refusal, question
from tests.support.processes import PATIENCE_SECONDS, ROOT, gateway_process, told

pytestmark = pytest.mark.e2e

KEY = "sk-alice-0123456789abcdef"
ROWS = {"alice": KeySettings(key=Secret(KEY))}


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=directory, env=clean, capture_output=True, text=True, timeout=3 * PATIENCE_SECONDS, check=False
    )


def test_A_01_without_keys_this_machine_is_served_by_its_own_names(tmp_path: Path) -> None:
    """A start without any key, on loopback.

    Happens: it starts; calls by a loopback name are answered, by any other they are 400.
    Seen: the banner: `keys none needed`.
    """
    with gateway_process(tmp_path) as gateway:
        ours, foreign = gateway.chat("demo"), gateway.chat("demo", headers={"host": "gateway.test"})

    assert "keys       none needed" in gateway.banner
    assert ours.status_code == 200
    check_refusal(foreign, INVALID)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.test"])  # noqa: S104 - what is tested here
def test_A_02_without_keys_it_does_not_listen_beyond_this_machine(tmp_path: Path, host: str) -> None:
    """A start without any key, on an address others may reach.

    Happens: it does not start; exit status 1.
    Seen: one sentence on standard error, which says what to set.
    """
    ended = run(tmp_path, "serve", "--host", host, "--port", "0")

    assert ended.returncode == 1
    assert ended.stdout == ""
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith(f"signalbox: refusing to listen on {host} without API keys")
    assert "SIGNALBOX_API_KEYS" in sentence


EMPTY: dict[str, tuple[str, dict[str, str]]] = {
    "a-key": ('keys: {web: {key: ""}}', {}),
    "a-blank-key": ('keys: {web: {key: "  "}}', {}),
    "a-key-of-nothing": ("keys: {web: {}}", {}),
    "a-key-from-an-empty-variable": ("keys: {web: {key: '${WEB_KEY:-}'}}", {"WEB_KEY": ""}),
    "empty-keys": ("", {"SIGNALBOX_API_KEYS": ""}),
    "empty-keys-beside-others": ("keys: {web: {key: sk-1234567890}}", {"SIGNALBOX_API_KEYS": ""}),
    "blank-keys": ("", {"SIGNALBOX_API_KEYS": " "}),
    "keys-of-commas": ("", {"SIGNALBOX_API_KEYS": ",,"}),
    "a-name-alone": ("", {"SIGNALBOX_API_KEYS": "web="}),
    "a-key-without-a-name": ("", {"SIGNALBOX_API_KEYS": "=sk-1234567890"}),
    "an-empty-file-of-keys": ("", {"SIGNALBOX_API_KEYS_FILE": "nothing"}),
    "a-blank-file-of-keys": ("", {"SIGNALBOX_API_KEYS_FILE": "blank"}),
    "an-empty-file-of-a-key": ("", {"SIGNALBOX__KEYS__WEB__KEY_FILE": "nothing"}),
    "an-empty-file-of-a-password": ("", {"REDIS_HOST": "127.0.0.1", "REDIS_PASSWORD_FILE": "nothing"}),
    "an-empty-file-of-a-providers-key": ("", {"OPENAI_API_KEY_FILE": "nothing"}),
    "a-blank-key-of-a-provider": ("", {"OPENAI_API_KEY": " "}),
    "a-blank-key-for-metrics": ("metrics: {key: ' '}", {}),
    "an-empty-file-of-metrics": ("", {"SIGNALBOX_METRICS_KEY_FILE": "blank"}),
    "a-key-for-metrics-and-calls": ("metrics: {key: sk-12345678}", {"SIGNALBOX_API_KEYS": "web=sk-12345678"}),
}


@pytest.mark.parametrize(("text", "environ"), EMPTY.values(), ids=EMPTY)
def test_A_15_an_empty_secret_stops_the_start(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    """A secret that is there and empty: a key, `SIGNALBOX_API_KEYS`, a file of nothing or blanks, commas; or one key
    for two doors.

    Happens: it does not start; exit status 1. Left open, a key that was lost on its way would let everybody in.
    Seen: one sentence on standard error with the name of the setting; nothing of the secret.
    """
    (tmp_path / "nothing").touch()
    (tmp_path / "blank").write_text(" \n")

    (sentence,) = told(tmp_path, "check", text, environ).splitlines()

    assert sentence.startswith("1 signalbox: ")
    assert "sk-1234" not in sentence


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "SIGNALBOX_METRICS_KEY", "SIGNALBOX__METRICS__KEY"])
def test_A_15_an_empty_variable_of_another_secret_is_none(tmp_path: Path, name: str) -> None:
    """A provider's key or that for metrics in a variable that is there and empty, as compose files hand on what is not
    set.

    Happens: it starts as without the variable: no such provider, no such key; neither opens anything.
    Seen: `signalbox check` is the same with it and without.
    """
    assert told(tmp_path, "check", "", {name: ""}) == told(tmp_path, "check", "", {})


class Breaking(KeyService):
    """Fails as a backend does that raises, or does not answer in time, or has lost its table."""

    failure: Exception | None = None

    def _digest(self, key: bytes) -> bytes:
        if self.failure is not None:
            raise self.failure
        return super()._digest(key)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "failure"),
    [(KEY, RuntimeError(KEY)), (KEY, TimeoutError()), ("sk-wrong", KeyError("table")), ("", RuntimeError())],
)
async def test_A_10_a_lock_that_breaks_stays_shut(sent: str, failure: Exception) -> None:
    """Whatever looks keys up raises, with a right key, a wrong one and none.

    Happens: 500 on every route that needs a key; nobody becomes a caller, no provider is asked.
    Seen: one line `unhandled error`; `llm_request_errors_total{error_type="internal"}`.
    """
    container = Container(settings=load(None, {"SIGNALBOX_API_KEYS": f"alice={KEY}"}).settings)
    keys = Breaking(ROWS)
    container.services.keys.override(keys)
    headers = {"host": "gateway.test", "authorization": f"Bearer {sent}"}
    async with AsyncTestClient(create_app(container)) as client:
        keys.failure = failure
        with capture_logs() as lines:  # as they are: made for people they take seconds
            answers = [
                await client.post(CHAT, content=question("demo"), headers=headers),
                await client.get("/v1/models", headers=headers),
                await client.get("/metrics", headers=headers),
                await client.get("/health", headers=headers),
            ]

    said = [line["event"] for line in lines if line["log_level"] == "error"]
    assert said == ["unhandled error"] * len(answers)
    for answer in answers:
        assert (answer.status_code, answer.headers["x-signalbox-error"]) == (500, "internal")
        assert answer.json()["error"]["code"] == "internal_error"
        assert KEY not in answer.text
    assert container.services.drain().running == 0


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_A_10_no_bytes_make_a_caller_without_a_key(authorization: bytes, api_key: bytes) -> None:
    """Any bytes in the two headers a key may come in.

    Happens: whoever is let in is the holder of a configured key; nobody is `anonymous` or without a name.
    Seen: nothing.
    """
    keys = KeyService(ROWS)

    assert keys.authenticate(b"Bearer " + KEY.encode()) == Principal("alice", "alice")
    with pytest.raises(AuthenticationError):
        keys.authenticate(authorization, api_key)
    with pytest.raises(AuthenticationError):
        keys.authenticate(b"Bearer " + authorization, api_key)
    assert not keys.may_read_metrics(authorization, api_key)
