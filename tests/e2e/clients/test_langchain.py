"""LangChain's OpenAI classes work with the gateway as their endpoint: chat, streams, tools, embeddings, errors."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Protocol

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.e2e.clients.support import CALLER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, stream

pytestmark = pytest.mark.e2e


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class Weather(BaseModel):
    """The weather in a city."""

    city: str


class Making(Protocol):
    """Makes one of LangChain's objects, on HTTP clients that end with the test: its own are never closed."""

    def __call__(self, kind: type[Any], model: str, **options: Any) -> Any: ...


@pytest.fixture
def make(keyed: GatewayProcess) -> Iterator[Making]:
    with openai.DefaultHttpxClient() as client:
        yield partial(_made, keyed, http_client=client)


@pytest.fixture
async def make_async(keyed: GatewayProcess) -> AsyncIterator[Making]:
    async with openai.DefaultAsyncHttpxClient() as client:
        yield partial(_made, keyed, http_async_client=client)


@pytest.fixture
def chat(make: Making, model: str) -> ChatOpenAI:
    return make(ChatOpenAI, f"primary/{model}")


@pytest.fixture
async def async_chat(make_async: Making, model: str) -> ChatOpenAI:
    return make_async(ChatOpenAI, f"primary/{model}")


def test_a_model_is_invoked(chat: ChatOpenAI) -> None:
    message = chat.invoke([("system", "be brief"), ("human", "hi")])

    assert message.content == "Hello there."
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 10
    assert message.response_metadata["finish_reason"] == "stop"


async def test_a_model_is_invoked_without_blocking(async_chat: ChatOpenAI) -> None:
    message = await async_chat.ainvoke("hi")

    assert message.content == "Hello there."


def test_many_questions_are_answered_in_their_order(chat: ChatOpenAI, provider: ProviderProcess, model: str) -> None:
    messages = chat.batch([f"question {number}" for number in range(5)])

    assert [message.content for message in messages] == ["Hello there."] * 5
    assert len(provider.bodies(model)) == 5


def test_a_model_is_streamed(chat: ChatOpenAI) -> None:
    chunks = list(chat.stream("hi"))

    assert "".join(str(chunk.content) for chunk in chunks) == "Hello there."
    assert _together(chunks).usage_metadata is None


def test_usage_is_streamed_to_a_caller_who_asked(chat: ChatOpenAI) -> None:
    usage = _together(list(chat.stream("hi", stream_usage=True))).usage_metadata

    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 3)


async def test_a_model_is_streamed_without_blocking(async_chat: ChatOpenAI) -> None:
    text = "".join([str(chunk.content) async for chunk in async_chat.astream("hi")])

    assert text == "Hello there."


def test_a_stream_that_breaks_raises(chat: ChatOpenAI, provider: ProviderProcess, model: str) -> None:
    provider.script(model, stream(event("Hel"), {"abort": True}, end=False))

    with pytest.raises(openai.APIError) as caught:
        list(chat.stream("hi"))

    assert caught.value.code == "upstream_truncated"


def test_a_bound_tool_is_called_and_its_answer_goes_back(
    chat: ChatOpenAI, provider: ProviderProcess, model: str
) -> None:
    message = chat.bind_tools([weather]).invoke("how is the weather in Oslo?")

    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})
    result: ToolMessage = weather.invoke(call)
    final = chat.invoke([HumanMessage("how is the weather in Oslo?"), message, result])
    assert final.content == "Hello there."
    first, second = provider.bodies(model)
    assert first["tools"][0]["function"]["name"] == "weather"
    assert [each["role"] for each in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][2]["content"] == "rain in Oslo"


def test_a_structured_answer_is_made_of_a_tool_call(chat: ChatOpenAI, provider: ProviderProcess, model: str) -> None:
    function = {"name": "Weather", "arguments": '{"city":"Oslo"}'}
    message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    provider.script(model, answer({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))

    made = chat.with_structured_output(Weather, method="function_calling").invoke("how is the weather in Oslo?")

    assert made == Weather(city="Oslo")


def test_an_error_keeps_its_class(make: Making, model: str) -> None:
    chat = make(ChatOpenAI, model)

    with pytest.raises(openai.NotFoundError) as caught:
        chat.invoke("hi")

    assert caught.value.code == "model_not_found"


def test_documents_and_a_question_are_embedded(make: Making, provider: ProviderProcess, model: str) -> None:
    embeddings = make(OpenAIEmbeddings, f"primary/{model}", check_embedding_ctx_length=False)

    documents = embeddings.embed_documents(["one", "two", "three"])
    question = embeddings.embed_query("one?")

    assert documents == [[0.5, -0.25]] * 3
    assert question == [0.5, -0.25]
    assert [each["input"] for each in provider.bodies(model)] == [["one", "two", "three"], ["one?"]]


async def test_documents_are_embedded_without_blocking(make_async: Making, model: str) -> None:
    embeddings = make_async(OpenAIEmbeddings, f"primary/{model}", check_embedding_ctx_length=False)

    documents = await embeddings.aembed_documents(["one", "two"])

    assert documents == [[0.5, -0.25]] * 2


def _made(gateway: GatewayProcess, kind: type[Any], model: str, **options: Any) -> Any:
    return kind(model=model, base_url=f"{gateway.url}/v1", api_key=SecretStr(CALLER_KEY), max_retries=0, **options)


def _together(chunks: list[Any]) -> AIMessage:
    first, *others = chunks
    assert isinstance(first, AIMessageChunk)
    return first + others
