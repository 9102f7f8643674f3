"""Bodies that are too large, too deep or garbled, and fields of the wrong shape: refused by name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.failures import (
    CHAT,
    INVALID,
    PERMISSION,
    TOO_LARGE,
    UNSUPPORTED_ENCODING,
    Row,
    check_refusal,
    counted,
    peak_bytes,
    question,
)
from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

MIB = 2**20
LIMIT = 10 * MIB
DEEP = "[" * 100_000 + "]" * 100_000
MESSAGES = [{"role": "user", "content": "hi"}]


@contextmanager
def in_front_of(provider: ProviderProcess, directory: Path) -> Iterator[GatewayProcess]:
    config = {"providers": {"primary": {"base_url": provider.base_url("primary")}}}
    with gateway_process(directory, config) as process:
        yield process


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with in_front_of(provider, tmp_path_factory.mktemp("bodies")) as process:
        yield process


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_B_01_a_body_over_the_limit(provider: ProviderProcess, tmp_path: Path, *, chunked: bool) -> None:
    """100 MB, by `Content-Length` and chunked, from a client that reads nothing before all is sent.

    Happens: 413: by its length before a byte of it is kept, chunked as soon as it is over `server.max_body_bytes`; the
    rest is read and forgotten.

    Seen: `http_requests_total{status="413"}`, a line `refused` with `payload_too_large`; memory grows by less
    than three limits.
    """
    with in_front_of(provider, tmp_path) as gateway:
        before = peak_bytes(gateway)
        piece = b"%x\r\n%b\r\n" % (MIB, b"x" * MIB) if chunked else b"x" * MIB
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {100 * MIB}"

        with counted(gateway, TOO_LARGE), Wire(gateway.port) as wire:
            wire.send(head(gateway.port, length))
            for _ in range(100):
                wire.send(piece)
            response = wire.answer()

        check_refusal(response, TOO_LARGE)
        assert peak_bytes(gateway) - before < (3 * LIMIT if chunked else 15 * MIB)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(DEEP, id="itself"),
        pytest.param(f'{{"model":"primary/x","messages":{DEEP}}}', id="messages"),
        pytest.param(f'{{"model":{DEEP},"messages":[]}}', id="model"),
        pytest.param(f'{{"model":"primary/x","messages":[],"stream":{DEEP}}}', id="stream"),
        pytest.param(f'{{"model":"primary/x","messages":[],"stream_options":{DEEP}}}', id="stream-options"),
        pytest.param(f'{{"model":"primary/x","messages":[],"cache":{DEEP}}}', id="cache"),
        pytest.param(f'{{"model":"primary/x","messages":[],"x":{DEEP}}}', id="unknown"),
        pytest.param('{"model":"primary/x","messages":[],"x":' + '{"a":' * 100_000 + "1" + "}" * 100_001, id="objects"),
    ],
)
def test_B_02_a_body_that_is_too_deep(gateway: GatewayProcess, body: str) -> None:
    """100,000 lists or objects in each other, in a field we know and in one we do not.

    Happens: 400.

    Seen: a line `refused` with `invalid_request`; nobody is asked.
    """
    with counted(gateway, INVALID):
        response = gateway.client.post(CHAT, content=body)

    check_refusal(response, INVALID)


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ('"temperature":NaN', None),
        ('"temperature":-Infinity', None),
        ('"n":01', None),
        ('"stream":1e999', "stream"),
        ('"stream":1e2', "stream"),
        ('"cache":{"ttl":1e999}', "cache"),
        ('"cache":{"ttl":%s}' % ("9" * 5000), "cache"),
        ('"cache":{"no-cache":1}', "cache"),
        ('"stream":true,"stream_options":{"include_usage":1e2}', "stream_options"),
    ],
)
def test_B_05_a_number_that_is_none(gateway: GatewayProcess, field: str, param: str | None) -> None:
    """`NaN`, `Infinity`, `1e999`, 5,000 digits, `1e2` where we need another kind of value.

    Happens: 400, naming the field if it is one we act on. What is JSON in other fields is the provider's to judge.

    Seen: a line `refused` with `invalid_request`; nobody is asked.
    """
    with counted(gateway, INVALID):
        response = gateway.client.post(CHAT, content='{"model":"primary/x","messages":[],%s}' % field)  # noqa: UP031 - braces

    check_refusal(response, INVALID, param=param)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \r\n", id="white"),
        pytest.param(b"{", id="brace"),
        pytest.param(b"{'model': 'x'}", id="malformed"),
        pytest.param(b'{"model":"primary/x","messages":[{"role":"us', id="truncated"),
        pytest.param(question("primary/x") + b"}", id="trailing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"5", id="number"),
        pytest.param(b'"model"', id="string"),
        pytest.param(question("primary/x", user="?").replace(b"?", b"\xff\xfe"), id="not-utf-8"),
        pytest.param(question("primary/x", user="?").replace(b"?", b"\xed\xa0\x80"), id="surrogate"),
        pytest.param(json.dumps({"model": "primary/x", "messages": []}).encode("utf-16"), id="utf-16"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_B_06_a_body_that_is_no_object(gateway: GatewayProcess, body: bytes, path: str) -> None:
    """Nothing, `null`, `[]`, `5`, half an object, something after it, not UTF-8.

    Happens: 400.

    Seen: a line `refused` with `invalid_request`; nobody is asked.
    """
    with counted(gateway, INVALID, route=path):
        response = gateway.client.post(path, content=body)

    check_refusal(response, INVALID)


def _chat(**fields: object) -> dict[str, object]:
    return {"model": "primary/x", "messages": MESSAGES} | fields


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        pytest.param(CHAT, {"messages": MESSAGES}, "model", id="model-missing"),
        *(
            pytest.param(CHAT, _chat(model=model), "model", id=f"model-{name}")
            for name, model in {
                "null": None,
                "number": 5,
                "empty": "",
                "long": "primary/" + "x" * 10_000,
                "257": "primary/x" + "y" * 248,
                "lines": "primary/a\r\nb: c",
                "nul": "primary/a\x00",
                "space-behind": "primary/a ",
            }.items()
        ),
        pytest.param(CHAT, {"model": "primary/x"}, "messages", id="messages-missing"),
        *(
            pytest.param(CHAT, _chat(messages=messages), "messages", id=f"messages-{name}")
            for name, messages in {"null": None, "text": "hi", "object": {}, "number": 5}.items()
        ),
        pytest.param("/v1/completions", {"model": "primary/x"}, "prompt", id="prompt-missing"),
        pytest.param("/v1/completions", {"model": "primary/x", "prompt": 5}, "prompt", id="prompt-number"),
        pytest.param("/v1/embeddings", {"model": "primary/x"}, "input", id="input-missing"),
        pytest.param("/v1/embeddings", {"model": "primary/x", "input": 5}, "input", id="input-number"),
        pytest.param(CHAT, _chat(stream="true"), "stream", id="stream-text"),
        pytest.param(CHAT, _chat(stream=1), "stream", id="stream-number"),
        pytest.param(CHAT, _chat(stream=True, stream_options=[]), "stream_options", id="stream-options-list"),
        pytest.param(CHAT, _chat(cache=5), "cache", id="cache-number"),
    ],
)
def test_B_07_a_field_of_the_wrong_shape(
    gateway: GatewayProcess, path: str, body: dict[str, object], param: str
) -> None:
    """A field that we act on is missing, or of another kind: `model`, `messages`, `prompt`, `input`, `stream`, `cache`.

    Happens: 400, naming the field. Everything else is the provider's to judge.

    Seen: a line `refused` with `invalid_request`; nobody is asked.
    """
    with counted(gateway, INVALID, route=path):
        response = gateway.client.post(path, json=body)

    check_refusal(response, INVALID, param=param)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": ""}],
    ids=["none", "text", "form", "empty"],
)
def test_B_09_a_body_that_is_not_said_to_be_json(gateway: GatewayProcess, headers: dict[str, str]) -> None:
    """`Content-Type` is `text/plain`, a form's or missing, as pages and curl send it; with a foreign `Origin` or none.

    Happens: it is read as JSON; with an `Origin` that is neither ours nor in `cors.origins` 403, and not read.

    Seen: `llm_visitors_refused_total{reason="origin"}`.
    """
    mine = gateway.client.post(CHAT, content=question("primary/typed"), headers=headers)
    with counted(gateway, PERMISSION):
        foreign = gateway.client.post(
            CHAT, content=question("primary/typed"), headers=headers | {"origin": "https://evil.test"}
        )

    assert mine.json()["choices"][0]["message"]["content"] == "Hello there."
    check_refusal(foreign, PERMISSION)
    assert not [name for name in foreign.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "GZIP", "deflate", "gzip, gzip", "identity, gzip"])
def test_B_10_a_compressed_body(gateway: GatewayProcess, encoding: str) -> None:
    """`Content-Encoding: gzip`, `br`, `zstd`, doubled.

    Happens: 415; nothing is ever inflated.

    Seen: a line `refused` with `unsupported_encoding`.
    """
    with counted(gateway, UNSUPPORTED_ENCODING):
        response = gateway.client.post(CHAT, content=question("primary/x"), headers={"content-encoding": encoding})

    check_refusal(response, UNSUPPORTED_ENCODING)


@pytest.mark.parametrize(("size", "row"), [(2 * MIB, None), (20 * MIB, TOO_LARGE)], ids=["two", "twenty"])
def test_B_11_an_image(gateway: GatewayProcess, provider: ProviderProcess, size: int, row: Row | None) -> None:
    """An image of 2 MB in the question, and one of 20 MB.

    Happens: the first is sent as it came, the second is 413. Whether it is an image is the provider's to judge.

    Seen: `http_request_size_bytes`; of the second a line `refused` with `payload_too_large`.
    """
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}

    response = gateway.chat("primary/image", messages=[{"role": "user", "content": [image]}])

    if row is not None:
        check_refusal(response, row)
    else:
        assert response.status_code == 200
        assert provider.bodies("image")[0]["messages"][0]["content"] == [image]
