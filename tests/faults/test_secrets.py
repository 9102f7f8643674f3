"""A canary: secrets wherever one can come in, everything driven that can go wrong, and every way out looked through."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
import trustme
from cryptography.hazmat.primitives import serialization

from tests.support.canary import leaks, secret
from tests.support.collector import Collector, collector
from tests.support.failures import CHAT
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    free_port,
    gateway_process,
    redis_process,
    redis_server,
    stream,
    told,
)
from tests.support.raw import Wire, head
from tests.support.statsd import Agent

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(redis_server() is None, reason="no redis-server")]

OURS = {
    name: secret(name)
    for name in (
        *("caller-in-config", "caller-in-environment", "metrics-in-file"),
        *("provider-by-variable", "provider-in-file", "provider-header", "provider-in-config"),
        *("user-of-provider", "user-of-tls", "user-of-proxy", "user-of-telemetry", "telemetry-header"),
        *("redis", "path-of-check", "query-of-check", "password-of-tls", "seal"),
    )
}
CALLERS = {name: secret(name) for name in ("guess", "second-header", "cookie", "query", "prompt", "garbled")}
REPLY = {"reply": secret("reply")}
EVERYTHING = OURS | CALLERS | REPLY
FAST = {"connect": 1.0, "first_byte": 2.0, "idle": 2.0, "total": 4.0, "stream_total": 4.0}
ECHOED = {name: OURS[name] for name in ("provider-by-variable", "provider-header", "redis", "user-of-provider")}
ECHO = " ".join(ECHOED.values())
REFUSALS = ("400 Bad Request", "401 Unauthorized", "404 Not Found", "429 Slow Down", "500 No", "302 Found")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


def config(provider: ProviderProcess, receiver: Collector, agent: Agent, redis_url: str, closed: int) -> dict[str, Any]:
    def user(name: str) -> str:
        return f"canary:{OURS[name]}@127.0.0.1"

    tls = provider.url.removeprefix("http://127.0.0.1")
    rows = {
        "primary": {
            "base_url": provider.base_url("primary"),
            "api_key": "${PRIMARY}",
            "headers": {"x-team-token": OURS["provider-header"]},
        },
        "gone": {"base_url": f"http://{user('user-of-provider')}:{closed}/v1", "api_key": OURS["provider-in-config"]},
        "tls": {"base_url": f"https://{user('user-of-tls')}{tls}/v1"},
        "proxied": {"base_url": "http://provider.invalid/v1", "proxy": f"http://{user('user-of-proxy')}:{closed}"},
    }
    hook = f"http://127.0.0.1:{closed}/{OURS['path-of-check']}?token={OURS['query-of-check']}"
    collected = receiver.url.replace("127.0.0.1", user("user-of-telemetry"))
    return {
        "server": {"drain_seconds": 0.5},
        "providers": {name: row | {"timeouts": FAST} for name, row in rows.items()},
        "retry": {"max_retries": 0},
        "breaker": {"failures": 0},  # each is to be asked, whatever the ones before did
        "keys": {"alice": {"key": OURS["caller-in-config"]}},
        "cache": {"url": redis_url, "timeout_seconds": 1, "hmac_key": OURS["seal"]},
        "health": {"public_details": False, "interval_seconds": 1, "checks": {"hook": {"url": hook}}},
        "telemetry": {
            "endpoint": collected,
            "headers": {"x-otlp-token": OURS["telemetry-header"]},
            "interval_seconds": 0.2,
            "timeout_seconds": 1,
        },
        "statsd": {"address": agent.address, "interval_seconds": 0.2},
    }


def environ(provider: ProviderProcess, directory: Path) -> dict[str, str]:
    for name in ("provider-in-file", "metrics-in-file"):
        (directory / name).write_text(f"{OURS[name]}\n")
    return {
        "DEBUG": "true",
        "PRIMARY": OURS["provider-by-variable"],
        "OPENAI_API_KEY_FILE": str(directory / "provider-in-file"),
        "OPENAI_BASE_URL": provider.base_url("openai"),
        "SIGNALBOX_API_KEYS": f"bob={OURS['caller-in-environment']}",
        "SIGNALBOX_METRICS_KEY_FILE": str(directory / "metrics-in-file"),
    }


def script(provider: ProviderProcess) -> None:
    """A model for every way a provider can say what it should not."""
    error = {"error": {"message": ECHO, "type": ECHO, "code": ECHO, "param": ECHO}}
    for status in REFUSALS:
        provider.script(f"echo-{status[:3]}", answer(error, status=status, headers={"location": f"/{ECHO}"}))
    provider.script("echo-well", answer(error))
    provider.script("echo-garbled", answer(f'{{"choices": {ECHO}'.encode()))
    provider.script("echo-page", answer(f"<html>{ECHO}".encode(), headers={"content-type": "text/html"}))
    provider.script("echo-head", answer(b"{}", headers={"x-key": ECHO, "content-encoding": ECHO}))
    provider.script("echo-stream", stream(b"data: " + json.dumps(error).encode() + b"\n\n"))
    whole = {"choices": [{"message": {"content": REPLY["reply"]}, "finish_reason": "stop"}], "usage": {}}
    provider.script("echo-reply", answer(whole))
    provider.script("echo-endless", stream({"hang": True}))


def asked(gateway: GatewayProcess, model: str, key: str = "", **fields: Any) -> httpx.Response:
    """A call that carries all a caller's secrets besides its key."""
    headers = {
        "authorization": f"Bearer {key or OURS['caller-in-config']}",
        "x-api-key": CALLERS["second-header"],
        "cookie": f"session={CALLERS['cookie']}",
    }
    body = {"model": model, "messages": [{"role": "user", "content": CALLERS["prompt"]}]} | fields
    return gateway.client.post(f"{CHAT}?api_key={CALLERS['query']}", json=body, headers=headers)


def driven(gateway: GatewayProcess) -> str:
    """Everything that goes wrong, and a little that does not; all that was answered, heads included."""
    models = [f"primary/echo-{status[:3]}" for status in REFUSALS]
    models += [f"primary/echo-{each}" for each in ("well", "garbled", "page", "head", "stream")]
    models += ["primary/well", "openai/well", "gone/x", "tls/x", "proxied/x", "nobody/x"]
    answers = [asked(gateway, model, stream=streamed) for model in models for streamed in (False, True)]
    answers += [asked(gateway, "primary/well", key) for key in (CALLERS["guess"], OURS["caller-in-environment"])]
    answers.append(gateway.client.get(f"/nothing/{CALLERS['query']}?key={CALLERS['query']}"))
    headers = {"x-api-key": OURS["caller-in-config"]}
    for body in (f'{{"model": "{CALLERS["garbled"]}', f'{{"model": "primary/x", "messages": "{CALLERS["garbled"]}"}}'):
        answers.append(gateway.client.post(CHAT, content=body, headers=headers))
    for path in ("/metrics", "/health?details", "/monitoring/health", "/monitoring/metrics/detailed", "/api/usage"):
        for key in ("", CALLERS["guess"], OURS["metrics-in-file"], OURS["caller-in-config"]):
            answers += [
                gateway.client.get(path, headers={"x-api-key": key, "host": host})
                for host in ("gateway.test", "localhost")
            ]
    answers += [gateway.client.get(path, headers=headers) for path in ("/openapi.json", "/v1/models")]
    return "\n".join(f"{each.status_code} {each.headers} {each.text}" for each in answers)


def broken_off(gateway: GatewayProcess) -> None:
    """A stop in the middle of a stream."""
    body = json.dumps({"model": "primary/echo-endless", "stream": True, "messages": []}).encode()
    fields = f"Content-Length: {len(body)}", f"X-API-Key: {OURS['caller-in-config']}"
    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, *fields) + body)
        wire.has_answer(within=0.3)
        gateway.stop()


@pytest.mark.slow
@pytest.mark.parametrize("style", ["json", "console"])
def test_M_07_no_secret_comes_out_again(
    provider: ProviderProcess, receiver: Collector, tmp_path: Path, style: str
) -> None:
    """Secrets in configuration, environment, files, addresses and all a caller sends; every failure, at `DEBUG`.

    Providers echo our keys, refuse, garble and vanish; Redis refuses our password (json) or works (console); the
    collector refuses; calls are cut by a stop.

    Happens: no part of any secret, plain or encoded, is in an answer, a log, a metric, a span, a statsd datagram, a
    name or value in Redis (but the answers kept there), the command line, or sent to who is not concerned.
    Seen: nothing.
    """
    script(provider)
    password = OURS["redis"] if style == "console" else "another"
    with (
        Agent() as agent,
        redis_process(tmp_path, "--requirepass", password) as (_, redis_url),
    ):
        ours = redis_url.replace("redis://", f"redis://:{OURS['redis']}@")
        made = config(provider, receiver, agent, ours, free_port())
        variables = environ(provider, tmp_path) | {"LOG_FORMAT": style}
        with gateway_process(tmp_path / "run", made, environ=variables) as gateway:
            answers = driven(gateway)
            receiver.wait(lambda: bool(receiver.spans and receiver.points), "spans and points")
            receiver.answer = lambda: (401, OURS["telemetry-header"].encode())
            reply = asked(gateway, "primary/echo-reply")
            command = Path(f"/proc/{gateway.process.pid}/cmdline").read_text()
            agent.until("signalbox.llm_requests_total")
            broken_off(gateway)
            receiver.answer = lambda: (200, b"")
        kept = redis.Redis.from_url(redis_url.replace("redis://", f"redis://:{password}@"))
        names = list(kept.keys())
        stored = {"names": repr(names), "values": repr([kept.get(name) for name in names])}

    out = {
        "answers": answers,
        "command line": command,
        "banner": gateway.banner,
        "log": gateway.log_text(),
        "standard error": (tmp_path / "run" / "err").read_text(),
        "telemetry": f"{receiver.spans}{receiver.points}{receiver.resource}",
        "statsd": repr(agent.datagrams),
        "names in redis": stored["names"],
    }
    assert reply.json()["choices"][0]["message"]["content"] == REPLY["reply"]
    assert [name for name, text in out.items() if not text] == []
    assert {name: leaks(EVERYTHING, text) for name, text in out.items() if leaks(EVERYTHING, text)} == {}
    assert leaks(OURS | CALLERS, stored["values"]) == []
    assert ("primary/echo-reply" in stored["values"] or bool(names)) is (style == "console")
    told = json.dumps(provider.seen("well"))
    assert set(leaks(EVERYTHING, told)) == {"provider-by-variable", "provider-header", "provider-in-file", "prompt"}


def test_M_07_the_settings_in_force_are_shown_without_secrets(
    provider: ProviderProcess, receiver: Collector, tmp_path: Path
) -> None:
    """`signalbox check` with secrets wherever a setting may hold one.

    Happens: all settings are printed, no part of a secret is.
    Seen: `***`.
    """
    identity, password = trustme.CA().issue_cert("127.0.0.1"), OURS["password-of-tls"].encode()
    identity.cert_chain_pems[0].write_to_path(tmp_path / "certificate")
    key = serialization.load_pem_private_key(identity.private_key_pem.bytes(), None)
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(password)
    (tmp_path / "key").write_bytes(key.private_bytes(*how))
    tls = {"tls_certificate": str(tmp_path / "certificate"), "tls_key": str(tmp_path / "key")}
    with Agent() as agent:
        made = config(provider, receiver, agent, f"redis://:{OURS['redis']}@127.0.0.1/0?password={OURS['redis']}", 9)

    made["server"] |= tls | {"tls_key_password": password.decode()}
    said = told(tmp_path, "check", msgspec.yaml.encode(made).decode(), environ(provider, tmp_path))

    assert said.startswith("0 ")
    assert said.count("***") > 10
    assert leaks(OURS, said) == []
