"""A key that is taken away while it is in use."""

import itertools
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import PATIENCE_SECONDS, ProviderProcess, event, gateway_process, stream
from tests.support.provider_faults import DONE, GATE, eventually
from tests.support.reloading import Reloading, without_watch

BUSY_MACHINE_SECONDS = 5.0
FIRST, LAST = event("first"), event("last", "stop")
TAKEN = '"event":"configuration taken"'


class Caller(threading.Thread):
    """Asks without a pause; `answers` has of each request when it was sent, and its status."""

    def __init__(self, url: str, model: str, key: str) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[float, int]] = []
        self.enough = threading.Event()
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_SECONDS)
        self._body: dict[str, Any] = {"model": model, "messages": []}
        self._told = {"authorization": f"Bearer {key}"}

    def run(self) -> None:
        for seed in itertools.count():
            if self.enough.is_set():
                break
            sent, body = time.monotonic(), self._body | {"seed": seed}
            answer = self._client.post("/v1/chat/completions", json=body, headers=self._told)
            self.answers.append((sent, answer.status_code))
        self._client.close()

    def statuses(self, *, since: float) -> set[int]:
        return {status for sent, status in self.answers if sent > since}


def test_A_06_a_key_that_is_revoked_while_it_is_in_use(directory: Path, provider: ProviderProcess, model: str) -> None:
    """Of two keys that are used without a pause, by two callers each, one is removed from the file, and SIGHUP sent;
    `server.wrong_keys_per_minute` is 0, else who goes on with it is soon told 429.

    Happens: within a second every new request with it is refused, and none gets through after the log has said that the
    file is taken; not one request with the other key fails. A stream that was begun with the revoked key before goes on
    to its end: it was let in.

    Seen: 401 `authentication`; `configuration taken` names `keys.leaving`, and no key; the stream is `ok` in the log.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    keys = {"leaving": {"key": "k-leaving-0123"}, "staying": {"key": "k-staying-4567"}}
    config = without_watch(
        {
            "providers": {"one": {"base_url": provider.base_url("one")}},
            "server": {"watch_config": False, "wrong_keys_per_minute": 0},
            "metrics": {"public": True},
            "keys": keys,
        }
    )
    with gateway_process(directory, config) as gateway:
        it = Reloading(gateway, directory, config)
        leaving, staying = ([Caller(gateway.url, "one/quick", row["key"]) for _ in range(2)] for row in keys.values())
        told = {"authorization": f"Bearer {keys['leaving']['key']}"}
        question = {"model": f"one/{model}", "messages": [], "stream": True}
        with gateway.client.stream("POST", "/v1/chat/completions", json=question, headers=told) as running:
            pieces = running.iter_raw()
            said = next(pieces)
            for each in (*leaving, *staying):
                each.start()
            eventually(lambda: all(len(each.answers) > 5 for each in (*leaving, *staying)), "all ask")

            changed = time.monotonic()
            it.write(config | {"keys": {"staying": keys["staying"]}})
            gateway.process.send_signal(signal.SIGHUP)
            eventually(lambda: TAKEN in gateway.log_text(), "it is taken")
            taken = time.monotonic()
            counted = [len(each.answers) for each in (*leaving, *staying)]
            eventually(
                lambda: all(len(e.answers) > n + 5 for e, n in zip((*leaving, *staying), counted, strict=True)),
                "all have asked again",
            )
            provider.open(model)
            said += b"".join(pieces)
        for each in (*leaving, *staying):
            each.enough.set()
            each.join(PATIENCE_SECONDS)

        assert taken - changed < 1 + BUSY_MACHINE_SECONDS
        for each in leaving:
            assert each.statuses(since=0) == {200, 401}
            assert each.statuses(since=taken) == {401}
        for each in staying:
            assert each.statuses(since=0) == {200}
        assert said == FIRST + LAST + DONE
        (line,) = gateway.log_of(running.headers["x-request-id"])
        assert (line["status"], line["key"]) == ("ok", "leaving")
        (line,) = it.lines("configuration taken")
        assert line["changed"] == ["keys.leaving"]
        assert "k-leaving" not in gateway.log_text()
