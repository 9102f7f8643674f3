"""What every refusal owes: its row of the table of errors, a name, a count, and nothing of our insides."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.processes import ROOT, GatewayProcess

CHAT = "/v1/chat/completions"
INSIDES = ("sk-", "Traceback", ".py", "site-packages", "http://", "https://", str(ROOT))


class Row(NamedTuple):
    """A row of the table of errors."""

    word: str
    status: int
    type: str = "invalid_request_error"
    code: str = ""


INVALID = Row("invalid_request", 400, code="invalid_request")
AUTHENTICATION = Row("authentication", 401, code="invalid_api_key")
PERMISSION = Row("permission", 403, "permission_error", "permission_denied")
NOT_FOUND = Row("not_found", 404, code="not_found")
METHOD_NOT_ALLOWED = Row("method_not_allowed", 405, code="method_not_allowed")
REQUEST_TIMEOUT = Row("request_timeout", 408, code="request_timeout")
TOO_LARGE = Row("payload_too_large", 413, code="payload_too_large")
ADDRESS_TOO_LONG = Row("payload_too_large", 414, code="payload_too_large")
HEAD_TOO_LARGE = Row("payload_too_large", 431, code="payload_too_large")
UNSUPPORTED_ENCODING = Row("unsupported_encoding", 415, code="unsupported_encoding")
OVERLOADED = Row("overloaded", 503, "overloaded_error", "overloaded")


def check_refusal(response: httpx.Response, row: Row, *, param: str | None = None) -> None:
    """`response` is the refusal `row` tells of, in OpenAI's words, and the error lies with `param`."""
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}, response.text
    error = response.json()["error"]
    assert error.pop("message"), "the answer says nothing"
    assert error == {"type": row.type, "code": row.code, "param": param}, response.text
    check_common(response, row)


def check_common(response: httpx.Response, row: Row) -> None:
    """What holds in every dialect."""
    assert (response.status_code, response.headers["x-signalbox-error"]) == (row.status, row.word), response.text
    said = f"{response.headers}{response.text}"
    assert not [inside for inside in INSIDES if inside in said], said
    assert response.headers.get("x-request-id"), "the answer has no request id"


@contextmanager
def counted(
    gateway: GatewayProcess, row: Row, *, method: str | None = "POST", route: str = CHAT, times: int = 1
) -> Iterator[None]:
    """What happens inside is counted as `times` refusals and as nothing else, and the process lives on.

    No provider is asked for it and no call is settled. Without a `method` the method and the route are left open.
    """
    before = _samples(gateway)
    yield
    after = _samples(gateway)
    after.subtract(before)
    more = {sample: value for sample, value in after.items() if value}
    errors = {labels: value for (name, labels), value in more.items() if name == "llm_request_errors_total"}
    answers = {labels: value for (name, labels), value in more.items() if name == "http_requests_total"}
    if method is None:
        answers = {_label(labels, "status"): value for labels, value in answers.items()}
    where = f'method="{method}",route="{route}",status="{row.status}"' if method else f'status="{row.status}"'
    assert errors == {f'error_type="{row.word}"': times}, errors
    assert answers == {where: times}, answers
    calls = [sample for sample in more if sample[0].startswith(("llm_requests_", "llm_provider_"))]
    assert not calls, calls
    assert gateway.client.get("/health/live").status_code == 200


def _samples(gateway: GatewayProcess) -> Counter[tuple[str, str]]:
    """Everything counted so far, except that somebody looked."""
    found: Counter[tuple[str, str]] = Counter()
    for line in gateway.client.get("/metrics").text.splitlines():
        sample, _, value = line.rpartition(" ")
        name, _, labels = sample.partition("{")
        if not line.startswith("#") and name.endswith("_total") and 'route="/metrics",status="200"' not in labels:
            found[name, labels.rstrip("}")] = int(float(value))
    return found


def _label(labels: str, name: str) -> str:
    return next(each for each in labels.split(",") if each.startswith(f"{name}="))


def question(model: str, **fields: Any) -> bytes:
    """The body of a chat."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]} | fields).encode()


def resident_bytes(gateway: GatewayProcess) -> int:
    """The memory the gateway's process has now."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def peak_bytes(gateway: GatewayProcess) -> int:
    """The most memory the gateway's process ever had."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
