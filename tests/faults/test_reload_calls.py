"""What calls, keys and health see of a configuration that changes under them."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    provider_process,
    redis_process,
    redis_server,
    stream,
)
from tests.support.provider_faults import DONE, GATE, ask_and_wait, eventually
from tests.support.reloading import Reloading, without_watch

FIRST, LAST = event("first"), event("last", "stop")
STREAMS = 200


def row(provider: ProviderProcess, name: str, **fields: Any) -> dict[str, Any]:
    return {name: {"base_url": provider.base_url(name)} | fields}


def test_P_02_streams_of_a_provider_that_is_taken_away(directory: Path, provider: ProviderProcess, model: str) -> None:
    """200 streams run when a reload removes their provider and adds another.

    Happens: every stream goes on to its end over the connection it has; new calls know only the new provider. When the
    last stream has ended the old connections are closed, and nothing is left of them.

    Seen: `llm_streams_total{ending="complete"}` counts all of them; the old provider is gone from `llm_endpoint_up` and
    `llm_provider_up`; `process_open_fds` and `llm_tasks` are what they were.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    config = without_watch({"providers": row(provider, "old")})
    with gateway_process(directory, config) as gateway:
        it = Reloading(gateway, directory, config)
        gateway.chat("old/warm")
        before = {name: gateway.metric(name) for name in ("process_open_fds", "llm_tasks")}
        question = {"model": f"old/{model}", "stream": True}
        streams = [ask_and_wait(gateway, question | {"seed": n}, f"s{n}") for n in range(STREAMS)]
        eventually(lambda: gateway.metric("llm_active_requests", provider="old") == STREAMS, "all run")

        assert it.take(without_watch({"providers": row(provider, "new")})) == "applied"

        assert gateway.chat("new/warm").status_code == 200
        assert gateway.chat("old/other").status_code == 404
        assert gateway.metric("http_requests_in_flight") == STREAMS + 1
        text = gateway.client.get("/metrics").text
        assert 'llm_provider_up{provider="new"}' in text
        assert 'llm_provider_up{provider="old"}' not in text
        assert 'llm_endpoint_up{provider="old"' not in text
        provider.open(model)
        for connection in streams:
            while LAST not in (said := connection.recv(65536, socket.MSG_PEEK)) or DONE not in said:
                assert said, "a stream broke off"
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        eventually(lambda: gateway.metric("llm_active_requests", provider="old") == 0, "all have ended")
        assert gateway.metric("llm_streams_total", provider="old", ending="complete") == STREAMS
        for name, value in before.items():
            eventually(lambda name=name, value=value: gateway.metric(name) <= value + 1, f"{name} is what it was")


@pytest.mark.slow
def test_P_02_calls_while_it_changes_again_and_again(directory: Path, model: str) -> None:
    """Thirty reloads, each with another provider, while calls come without a pause.

    Happens: not one call fails: each meets the old configuration or the new one, both of which serve its model.

    Seen: `llm_requests_total{status="error"}` stays 0, `llm_config_reloads_total{result="applied"}` is 30, and neither
    tasks nor descriptors have become more.
    """
    with provider_process() as first, provider_process() as second:
        configs = [
            without_watch({"providers": row(each, name), "routes": {"same": [f"{name}:{model}"]}})
            for each, name in ((second, "beta"), (first, "alpha"))
        ]
        with (
            gateway_process(directory, configs[1]) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=PATIENCE_SECONDS) as caller,
        ):
            it = Reloading(gateway, directory, configs[1])
            it.take(configs[0])
            it.take(configs[1])
            before = {name: gateway.metric(name) for name in ("process_open_fds", "llm_tasks")}
            statuses = set()
            for number in range(28):
                results = it.results()
                it.write(configs[number % 2])
                gateway.process.send_signal(signal.SIGHUP)
                while it.results() == results:
                    body = {"model": "same", "messages": [], "seed": int.from_bytes(os.urandom(4))}
                    statuses.add(caller.post("/v1/chat/completions", json=body).status_code)

            assert statuses == {200}
            assert it.results() == {"applied": 30, "partly": 0, "unchanged": 0, "refused": 0}
            assert gateway.metric("llm_requests_total", provider="alpha", status="error") == 0
            for name, value in before.items():
                eventually(lambda name=name, value=value: gateway.metric(name) <= value + 2, f"{name} has not grown")


def test_P_02_what_is_known_goes_on_to_be_known(directory: Path, provider: ProviderProcess, model: str) -> None:
    """A reload adds a route while one provider is down, an answer is cached and calls are counted.

    Happens: the provider that is down stays known as down, the cached answer is served, counters and uptime go on.

    Seen: `x-signalbox-cache: hit`, `since` of the provider's check, `llm_requests_total`, `uptime`.
    """
    dead = {"dead": {"base_url": "http://127.0.0.1:1", "models": ["gone"]}}
    config = without_watch({"providers": row(provider, "one") | dead, "health": {"fail_on": "all"}})
    with gateway_process(directory, config) as gateway:
        it = Reloading(gateway, directory, config)
        gateway.chat(f"one/{model}")
        eventually(lambda: not gateway.client.get("/health").json()["providers"]["dead"], "it is found down")
        before = gateway.client.get("/health").json()
        counted = gateway.metric("llm_requests_total", provider="one", status="success")

        assert it.take(config | {"routes": {"new": [f"one:{model}-2"]}}) == "applied"

        after = gateway.client.get("/health").json()
        assert after["checks"]["provider:dead"]["since"] == before["checks"]["provider:dead"]["since"]
        assert not after["providers"]["dead"]
        assert after["uptime"] >= before["uptime"]
        assert gateway.metric("llm_provider_up", provider="dead") == 0
        assert gateway.chat(f"one/{model}").headers["x-signalbox-cache"] == "hit"
        assert gateway.chat("new").status_code == 200
        assert gateway.metric("llm_requests_total", provider="one", status="success") == counted + 2


def test_P_02_keys_and_rules_of_the_door(directory: Path, provider: ProviderProcess, model: str) -> None:
    """A reload rotates a key, allows an origin, lowers the size of bodies, adds a path and a check, and turns the log
    down; the next one takes the last key away.

    Happens: all of it holds from the next request on. A reload that would open what was closed is refused.

    Seen: 401 for the old key, 413, the origin's headers, the path's answer; the reason names the keys.
    """
    config = without_watch({"providers": row(provider, "one"), "keys": {"me": {"key": "k-old"}}})
    new = without_watch(
        config
        | {
            "keys": {"me": {"key": "k-new"}},
            "cors": {"origins": ["https://app.example"]},
            "health": {"paths": ["/status/health"], "checks": {"page": {"url": f"{provider.url}/page/v1/models"}}},
            "log": {"level": "warning"},
            "server": {"max_body_bytes": 300},
        }
    )
    with gateway_process(directory, config) as gateway:
        it = Reloading(gateway, directory, config)
        told = {"authorization": "Bearer k-old"}
        assert gateway.chat(f"one/{model}", headers=told).status_code == 200

        assert it.take(new) == "applied"

        assert gateway.chat(f"one/{model}", headers=told).status_code == 401
        told = {"authorization": "Bearer k-new", "origin": "https://app.example"}
        answer = gateway.chat(f"one/{model}", headers=told)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert gateway.chat(f"one/{model}", headers=told, user="x" * 300).status_code == 413
        assert "custom:page" in gateway.client.get("/status/health").json()["checks"]
        assert not [line for line in gateway.log() if line.get("request_id") == answer.headers["x-request-id"]]

        assert it.take({name: value for name, value in new.items() if name != "keys"}) == "refused"

        assert "keys: there are none any more" in it.reason()
        assert gateway.chat(f"one/{model}").status_code == 401


def test_P_02_what_only_a_restart_can_change(directory: Path, provider: ProviderProcess, model: str) -> None:
    """A reload brings a route, and another address, log file and cache.

    Happens: the route is there at once; address, file and cache stay as they are until a restart. Taken back, all is
    in force again.

    Seen: a warning that names them, `llm_config_restart_required` 3, `llm_config_reloads_total{result="partly"}`; the
    health check `configuration` is degraded and names them.
    """
    config = without_watch({"providers": row(provider, "one")})
    new = config | {
        "routes": {"fast": [f"one:{model}"]},
        "server": {"watch_config": False, "host": "localhost"},
        "log": {"file": "elsewhere.log"},
        "cache": {"max_bytes": 1000, "ttl_seconds": 5},
    }
    with gateway_process(directory, config) as gateway:
        it = Reloading(gateway, directory, config)

        assert it.take(new) == "partly"

        assert gateway.chat("fast").status_code == 200
        assert not (directory / "elsewhere.log").exists()
        names = ["cache.max_bytes", "log.file", "server.host"]
        (line,) = it.lines("settings wait for a restart")
        assert (line["level"], line["settings"]) == ("warning", names)
        assert gateway.metric("llm_config_restart_required") == len(names)
        assert it.reason() == f"a restart is needed for {', '.join(names)}"
        assert gateway.metric("llm_config_last_reload_successful") == 1

        assert it.take(config) == "applied"

        assert gateway.metric("llm_config_restart_required") == 0
        eventually(it.is_healthy, "all of it is in force")


@pytest.mark.skipif(redis_server() is None, reason="redis-server is not installed")
def test_P_02_what_others_have_done_to_it(directory: Path, provider: ProviderProcess, model: str) -> None:
    """A provider's breaker is open and an answer is in Redis when a reload adds a route, then gives the provider
    another address.

    Happens: the breaker stays open over the first reload, and the answer is found; a provider at another address has
    nothing to answer for.

    Seen: `llm_circuit_breaker_state` 2, then 0; `x-signalbox-cache: hit`; `llm_redis_up` once.
    """
    with redis_process(directory) as (_, url):
        config = without_watch(
            {
                "providers": row(provider, "one") | {"dead": {"base_url": "http://127.0.0.1:1", "models": ["gone"]}},
                "retry": {"max_retries": 0},
                "cache": {"url": url},
                "health": {"fail_on": "all", "probe": False},
            }
        )
        with gateway_process(directory, config) as gateway:
            it = Reloading(gateway, directory, config)
            gateway.chat(f"one/{model}")

            def opened() -> bool:
                gateway.chat("dead/gone")
                return state_of(gateway) == 2

            eventually(opened, "the breaker opens")
            eventually(lambda: gateway.chat(f"one/{model}").headers["x-signalbox-cache"] == "hit", "it is stored")

            assert it.take(config | {"routes": {"new": [f"one:{model}-2"]}}) == "applied"

            assert state_of(gateway) == 2
            assert gateway.chat(f"one/{model}").headers["x-signalbox-cache"] == "hit"
            assert gateway.client.get("/metrics").text.count("# TYPE llm_redis_up ") == 1
            elsewhere = config["providers"] | row(provider, "dead", models=["gone"])

            assert it.take(config | {"providers": elsewhere}) == "applied"

            assert state_of(gateway) == 0
            assert gateway.chat("dead/gone").status_code == 200


def state_of(gateway: GatewayProcess) -> float:
    return gateway.metric("llm_circuit_breaker_state", provider="dead", scope="provider")
