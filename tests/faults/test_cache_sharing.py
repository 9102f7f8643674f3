"""A stampede of the same question, and who of it fails or leaves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.gateways import gateway_on
from tests.support.processes import GatewayProcess, ProviderProcess, answer, stream
from tests.support.provider_faults import DONE, GATE, ask_and_wait, eventually, refusal
from tests.support.raw import Wire, request
from tests.support.sharing import DOCUMENT, LAST, SLOW, WHOLE, active, asked_by, noticed

pytestmark = pytest.mark.e2e

MANY = 1000

shapes = pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])


@pytest.fixture(scope="module")
def patient(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_on(provider, tmp_path_factory.mktemp("patient"), server={"max_in_flight": 2 * MANY}) as process:
        yield process


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as executor:
        yield executor


def test_C_03_a_thousand_ask_the_same_at_once(patient: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    """A thousand callers ask the same, which is not stored, before the provider has answered the first.

    Happens: the provider is asked once; all get its answer.
    Seen: 999 of them say `x-signalbox-cache: coalesced`, and count in `llm_cache_hits_total`.
    """
    provider.script(model, SLOW[False])
    hits, misses = patient.metric("llm_cache_hits_total"), patient.metric("llm_cache_misses_total")
    body = b'{"model":"primary/%b","messages":[]}' % model.encode()

    with ExitStack() as stack:
        callers = [stack.enter_context(Wire(patient.port)) for _ in range(MANY)]
        for each in callers:
            each.send(request(patient.port, body))
        eventually(lambda: active(patient) == MANY, "all have asked")
        provider.open(model)
        answers = [each.answer() for each in callers]

    assert {(each.status_code, each.content) for each in answers} == {(200, WHOLE[False])}
    assert [each.headers["x-signalbox-cache"] for each in answers].count("coalesced") == MANY - 1
    assert len(provider.seen(model)["requests"]) == 1
    assert patient.metric("llm_cache_hits_total") == hits + MANY - 1
    assert patient.metric("llm_cache_misses_total") == misses + 1


@shapes
def test_C_03_the_first_to_ask_leaves(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str, *, streamed: bool
) -> None:
    """Four ask the same, and the first hangs up before there is an answer.

    Happens: the call goes on for the others; the provider is asked once, and not hung up on.
    Seen: the first is logged as `client_disconnected`, the others as `ok`.
    """
    provider.script(model, SLOW[streamed])
    body = {"model": f"primary/{model}", "stream": streamed}

    with ask_and_wait(patient, body, request_id=model):
        eventually(lambda: active(patient) == 1, "the first has asked")
        asked = asked_by(3, threads, patient, model, stream=streamed)
    noticed(patient)
    provider.open(model)
    answers = [each.result() for each in asked]

    assert [each.content for each in answers] == [WHOLE[streamed]] * 3
    assert {each.headers["x-signalbox-cache"] for each in answers} == {"coalesced"}
    seen = provider.seen(model)
    assert (len(seen["requests"]), seen["left"]) == (1, 0)
    assert [line["status"] for line in patient.log_of(model)] == ["client_disconnected"]
    assert [line["status"] for each in answers for line in patient.log_of(each.headers["x-request-id"])] == ["ok"] * 3


@shapes
def test_C_03_one_of_those_who_wait_leaves(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str, *, streamed: bool
) -> None:
    """Two ask the same, and the second hangs up before there is an answer.

    Happens: the first gets it.
    Seen: the second is logged as `client_disconnected`.
    """
    provider.script(model, SLOW[streamed])
    body = {"model": f"primary/{model}", "stream": streamed}
    (leader,) = asked_by(1, threads, patient, model, stream=streamed)

    with ask_and_wait(patient, body, request_id=model):
        eventually(lambda: active(patient) == 2, "both have asked")
    eventually(lambda: active(patient) == 1, "one has left")
    provider.open(model)

    assert leader.result().content == WHOLE[streamed]
    assert len(provider.seen(model)["requests"]) == 1
    assert [line["status"] for line in patient.log_of(model)] == ["client_disconnected"]


@shapes
def test_C_03_the_shared_call_fails(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str, *, streamed: bool
) -> None:
    """Five ask the same, and the provider refuses.

    Happens: the failure is everybody's: it has been through all targets, and five who each start anew would be a
    stampede. Who asks afterwards leads a new call.
    Seen: `x-signalbox-error` is the same for all; one attempt is counted.
    """
    provider.script(model, [GATE, *refusal("422 No", message="not that", code="odd")])

    asked = asked_by(5, threads, patient, model, stream=streamed)
    provider.open(model)
    answers = [each.result() for each in asked]

    assert [each.status_code for each in answers] == [422] * 5
    assert {each.json()["error"]["message"] for each in answers} == {"not that"}
    assert {each.headers["x-signalbox-error"] for each in answers} == {"upstream_rejected"}
    assert len(provider.seen(model)["requests"]) == 1
    provider.script(model, answer(DOCUMENT) if not streamed else stream(LAST, DONE))
    assert patient.chat(f"primary/{model}", messages=[], stream=streamed).headers["x-signalbox-cache"] == "miss"


def test_C_01_two_tenants_ask_the_same_at_once(
    directory: Path, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str
) -> None:
    """Two callers of one tenant and one of another ask the same before the provider has answered.

    Happens: those of one tenant share a call, the other has one of its own.
    Seen: `x-signalbox-cache: coalesced` for one of them, `miss` for the others.
    """
    provider.script(model, SLOW[False])
    keys = {
        "ann": ("ann-key-0123456789", "ours"),
        "abe": ("abe-key-0123456789", "ours"),
        "bob": ("bob-key-01234", "his"),
    }
    rows = {name: {"key": key, "tenant": tenant} for name, (key, tenant) in keys.items()}

    with gateway_on(provider, directory, keys=rows) as gateway:
        asked = {}
        for name, (key, _) in keys.items():
            headers = {"authorization": f"Bearer {key}"}
            asked[name] = asked_by(1, threads, gateway, model, headers=headers)[0]
        eventually(lambda: len(provider.seen(model)["requests"]) == 2, "both tenants are served")
        provider.open(model)
        caches = {name: each.result().headers["x-signalbox-cache"] for name, each in asked.items()}

    assert caches == {"ann": "miss", "abe": "coalesced", "bob": "miss"}
    assert len(provider.seen(model)["requests"]) == 2
