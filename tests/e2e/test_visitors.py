"""Who is listened to: the Host and the Origin of a request, and the name it goes by, are checked before its body."""

from pathlib import Path

import pytest

from tests.support.failures import CHAT, PERMISSION, check_refusal, counted, question
from tests.support.processes import GatewayProcess
from tests.support.raw import Wire, head, request

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:12434", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:12434"])
def test_every_name_of_this_machine_is_served(gateway: GatewayProcess, model: str, host: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}"), host=host))
        response = wire.answer()

    assert response.status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "null",
        "",
        "http://localhost",
        "http://127.0.0.1",
        "ftp://{host}",
        "http://{host}.evil.test",
    ],
)
def test_a_foreign_page_is_refused_before_its_body_is_read(gateway: GatewayProcess, origin: str) -> None:
    name = f"Origin: {origin.format(host=f'127.0.0.1:{gateway.port}')}"

    with counted(gateway, PERMISSION), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Content-Length: 100", "Expect: 100-continue", name))
        first = wire.line()
        response = wire.answer(first)

    assert first == b"HTTP/1.1 403 Forbidden"
    check_refusal(response, PERMISSION)


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/health", "/openapi.json"])
def test_a_foreign_page_is_shown_nothing(gateway: GatewayProcess, path: str) -> None:
    with counted(gateway, PERMISSION, method="GET", route=path):
        response = gateway.client.get(path, headers={"origin": "https://evil.test"})

    check_refusal(response, PERMISSION)


def test_our_own_page_is_served_once_it_was_told_to_go_on(gateway: GatewayProcess, model: str) -> None:
    body = question(f"primary/{model}")
    fields = f"Content-Length: {len(body)}", "Expect: 100-continue", f"Origin: http://127.0.0.1:{gateway.port}"

    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, *fields))
        told = wire.line(), wire.line()
        wire.send(body)
        response = wire.answer()

    assert told == (b"HTTP/1.1 100 Continue", b"")
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/v1/nothing", CHAT], ids=["ordinary", "unknown", "hot"])
@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 128])
def test_a_request_keeps_the_name_it_came_with(gateway: GatewayProcess, path: str, name: str) -> None:
    response = gateway.client.get(path, headers={"x-request-id": name})

    assert response.headers.get_list("x-request-id") == [name]


@pytest.mark.parametrize("path", ["/health/live", "/v1/nothing", CHAT], ids=["ordinary", "unknown", "hot"])
@pytest.mark.parametrize("name", [b"", b"a b", b"a/b", b"x" * 129, b"a\xc3\xa4", b"a\tb", b"${jndi}", b"a,b"])
def test_a_request_with_another_name_gets_a_new_one(gateway: GatewayProcess, path: str, name: bytes) -> None:
    first, second = (gateway.client.get(path, headers={b"x-request-id": name}) for _ in range(2))

    made = [*first.headers.get_list("x-request-id"), *second.headers.get_list("x-request-id")]
    assert len(set(made)) == len(made) == 2
    assert all(each.isalnum() and each.isascii() for each in made)


def test_an_answer_and_its_log_line_have_one_name(gateway: GatewayProcess, model: str) -> None:
    name = Path(model).name[:100]

    response = gateway.chat(f"primary/{model}", headers={"x-request-id": name})

    (line,) = gateway.log_of(name)
    assert response.headers["x-request-id"] == name
    assert line["model"] == f"primary/{model}"
