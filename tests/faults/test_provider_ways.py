"""Where a question goes: neither its environment nor what a caller writes may turn it aside."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, gateway_process, stream
from tests.support.provider_faults import DONE
from tests.support.upstreams import server_context

pytestmark = pytest.mark.e2e

GOOD = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
kinds = pytest.mark.parametrize("kind", ["lean", "httpx"])


@contextmanager
def listening(meet: Callable[[socket.socket], object]) -> Iterator[str]:
    """Its address; every connection is met and closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            with suppress(OSError):  # closed below
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        meet(connection)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@kinds
def test_U_26_proxies_in_the_environment(provider: ProviderProcess, directory: Path, model: str, kind: str) -> None:
    """`HTTP_PROXY` and its relatives are set where the gateway runs, and a `.netrc` has other credentials.

    Happens: nobody looks at them: providers are asked directly, unless their own row names a `proxy`.
    Seen: nothing.
    """
    heard: list[bytes] = []
    names = [name for each in ("http_proxy", "https_proxy", "all_proxy") for name in (each, each.upper())]
    (directory / ".netrc").write_text("machine 127.0.0.1 login other password other")
    row = {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY, "upstream": kind}
    with (
        listening(lambda connection: heard.append(connection.recv(1000))) as address,
        gateway_process(
            directory, {"providers": {"primary": row}}, environ=dict.fromkeys(names, f"http://{address}")
        ) as gateway,
    ):
        response = gateway.chat(f"primary/{model}")
        listed = gateway.client.get("/v1/models")

    assert (response.status_code, listed.status_code) == (200, 200)
    assert heard == []
    (request,) = provider.seen(model)["requests"]
    assert request["headers"]["authorization"] == f"Bearer {PROVIDER_KEY}"


ODD_NAMES = [
    "../../files",
    "..%2f..%2ffiles",
    "a?x=1",
    "a#b",
    "a b",
    "/v1/models",
    "%0d%0a",
    "ä/ö",
    "http://other/x",
    "a@b:1",
]


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_U_27_names_that_look_like_paths(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, name: str, *, streamed: bool
) -> None:
    """A caller names a model `../../files`, `a?x=1`, `a#b`.

    Happens: the name goes to the provider in the body, as it was written; it never becomes part of a path.
    Seen: the provider's own answer to a model it does not know.
    """
    asked = f"{model}{name}"
    provider.script(
        asked, stream(b'data: {"choices":[{"finish_reason":"stop"}]}\n\n', DONE) if streamed else answer(GOOD)
    )

    response = gateway.chat(f"primary/{asked}", stream=streamed)

    assert response.status_code == 200, response.text
    (request,) = provider.seen(asked)["requests"]
    assert (request["method"], request["path"]) == ("POST", "/primary/v1/chat/completions")
    assert json.loads(request["body"])["model"] == asked


@pytest.mark.parametrize("name", ["a\r\nx-evil: 1", "a\x00b", "a\x7f", "a\ud800", "x" * 300, 5, None])
def test_U_27_names_that_are_none(gateway: GatewayProcess, name: Any) -> None:
    """A caller names a model with a line break, a control character, half a letter, 300 letters, or none at all.

    Happens: 400 `invalid_request`; nobody is asked.
    Seen: `llm_request_errors_total{error_type="invalid_request"}`.
    """
    asked = gateway.metric("llm_provider_requests_total", provider="primary")
    body = json.dumps({"model": name if isinstance(name, int) or name is None else f"primary/{name}", "messages": []})

    response = gateway.client.post("/v1/chat/completions", content=body)

    assert (response.status_code, response.headers["x-signalbox-error"]) == (400, "invalid_request")
    assert gateway.metric("llm_provider_requests_total", provider="primary") == asked


OPEN_SESAME = {"verify": False, "ssl_verify": False, "insecure": True, "base_url": "http://127.0.0.1:1", "proxy": "x"}


@kinds
def test_U_19_no_request_switches_checks_off(directory: Path, kind: str) -> None:
    """A caller says in body and headers that certificates need no check, and that the provider is elsewhere.

    Happens: fields are passed on to providers as they are, and none of them is obeyed: 502 `upstream_connect`.
    Seen: OpenSSL's words in the log, and in `/health` for who may see details.
    """
    environ = {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""}
    context = server_context()
    with listening(lambda connection: context.wrap_socket(connection, server_side=True).close()) as address:
        row = {"base_url": f"https://{address}/v1", "upstream": kind, "models": ["m"]}
        config = {"providers": {"primary": row}, "retry": {"backoff_seconds": 0.01}}
        with gateway_process(directory, config, environ=environ) as gateway:
            response = gateway.chat("primary/m", headers={"x-verify": "false"}, **OPEN_SESAME)
            health = gateway.client.get("/health?details").text

    assert (response.status_code, response.headers["x-signalbox-error"]) == (502, "upstream_connect")
    assert "certificate" not in response.text.lower()
    assert "certificate verify failed" in health.lower()
