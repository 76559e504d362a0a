"""LangChain's ChatOpenAI and OpenAIEmbeddings against a running Tollway, over chat completions and over responses."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import tiktoken.registry
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from metering.tokens import tokenizer
from tests.fakes.embeddings import vector
from tests.path.sdk_fixtures import BOTH, ECHO, FAST, Place, place, price_of

SAID = {ECHO: "one two three", FAST: "Hello from fast-1."}
MODELS = pytest.mark.parametrize("model", BOTH)
APIS = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
QUESTION = HumanMessage("in parallel: weather and clock")

Chat = Callable[..., ChatOpenAI]


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"12 degrees in {city}"


@tool
def clock(zone: str) -> str:
    """Tells the time of a zone."""
    return f"noon in {zone}"


TOOLS: dict[str, BaseTool] = {"weather": weather, "clock": clock}


class City(BaseModel):
    """A city."""

    name: str
    people: int
    tags: list[str]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("langchain")) as running:
        yield running
        assert running.tollway.cli("ledger", "verify").returncode == 0


@pytest.fixture(scope="module")
def address(here: Place) -> Iterator[dict[str, Any]]:
    """With connections of our own: those of LangChain are kept for the process and never closed."""
    with openai.DefaultHttpxClient() as http:
        yield {"base_url": here.tollway.base_url, "api_key": here.account.key, "max_retries": 0, "http_client": http}


@pytest.fixture(scope="module")
def chat(address: dict[str, Any]) -> Chat:
    def make(model: str, responses: bool, **more: Any) -> ChatOpenAI:
        return ChatOpenAI(**{"model": model, "use_responses_api": responses, **address, **more})

    return make


def whole(chunks: Iterator[Any]) -> AIMessageChunk:
    """The pieces of a stream, more than one of them, added up as LangChain does it."""
    pieces = list(chunks)
    assert len(pieces) > 3
    message = functools.reduce(operator.add, pieces)
    assert isinstance(message, AIMessageChunk)
    return message


def usage(message: BaseMessage) -> dict[str, Any]:
    """In the words of a chat's usage."""
    told = message.usage_metadata  # type: ignore[attr-defined]
    assert told["total_tokens"] == told["input_tokens"] + told["output_tokens"]
    assert (told["input_token_details"]["cache_read"], told["output_token_details"]["reasoning"]) == (0, 0)
    return {"prompt_tokens": told["input_tokens"], "completion_tokens": told["output_tokens"]}


@MODELS
@APIS
def test_invoke_and_stream_give_the_same_text_and_usage(chat: Chat, here: Place, model: str, responses: bool) -> None:
    account = here.new_account("1")
    asked = chat(model, responses, api_key=account.key)
    answer = asked.invoke("one two three")
    assert here.used(account) == price_of(model, usage(answer)) > 0
    streamed = whole(asked.stream("one two three"))
    assert answer.text == streamed.text == SAID[model]
    assert usage(answer) == usage(streamed)
    assert here.used(account) == 2 * price_of(model, usage(answer))
    assert streamed.response_metadata["model_name"] == answer.response_metadata["model_name"] == model
    assert responses or answer.response_metadata["token_usage"]["cost"] == float(price_of(model, usage(answer)))


@APIS
async def test_the_asynchronous_calls_and_a_batch_give_the_same(chat: Chat, responses: bool) -> None:
    async with openai.DefaultAsyncHttpxClient() as http:
        asked = chat(ECHO, responses, http_async_client=http)
        assert (await asked.ainvoke("one two")).text == "one two"
        assert "".join([piece.text async for piece in asked.astream("one two three")]) == "one two three"
        assert [answer.text for answer in await asked.abatch(["one", "two", "three"])] == ["one", "two", "three"]


@MODELS
@APIS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_tools_are_called_in_parallel_and_their_results_taken(chat: Chat, model: str, responses: bool, stream: bool) -> None:
    asked = chat(model, responses).bind_tools(list(TOOLS.values()), parallel_tool_calls=True)
    answer: Any = whole(asked.stream([QUESTION])) if stream else asked.invoke([QUESTION])
    assert [(call["name"], list(call["args"])) for call in answer.tool_calls] == [("weather", ["city"]), ("clock", ["zone"])]
    assert not answer.invalid_tool_calls
    assert usage(answer)["completion_tokens"] > 0
    results = [TOOLS[call["name"]].invoke(call) for call in answer.tool_calls]
    after = asked.invoke([QUESTION, answer, *results])
    assert not after.tool_calls
    assert after.text == {ECHO: results[-1].content, FAST: SAID[FAST]}[model]


@APIS
def test_a_forced_tool_is_called(chat: Chat, responses: bool) -> None:
    asked = chat(FAST, responses).bind_tools(list(TOOLS.values()), tool_choice="clock", strict=True)
    assert [call["name"] for call in asked.invoke("hello").tool_calls] == ["clock"]


@MODELS
@APIS
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # of the client's own field `parsed`
def test_a_pydantic_model_comes_back_by_schema_and_by_function(chat: Chat, model: str, responses: bool) -> None:
    by_schema = chat(model, responses).with_structured_output(City, method="json_schema", include_raw=True).invoke("Bern")
    assert isinstance(by_schema, dict)
    assert (by_schema["parsing_error"], type(by_schema["parsed"])) == (None, City)
    assert usage(by_schema["raw"])["completion_tokens"] > 0
    streamed = list(chat(model, responses).with_structured_output(City).stream("Bern"))
    assert streamed[-1] == by_schema["parsed"]
    assert isinstance(chat(model, responses).with_structured_output(City, method="function_calling").invoke("Bern"), City)


@APIS
def test_thoughts_are_counted_and_do_not_end_up_in_the_text(chat: Chat, responses: bool) -> None:
    more: dict[str, Any] = {"reasoning": {"effort": "low", "summary": "auto"}} if responses else {"reasoning_effort": "low"}
    asked = chat("acme/thinks", responses, **more)
    for answer in (asked.invoke("Why?"), whole(asked.stream("Why?"))):
        assert answer.text == "Hello from reasoning."
        assert answer.usage_metadata
        assert answer.usage_metadata["output_token_details"]["reasoning"] == 3
        thoughts = [block for block in answer.content_blocks if block["type"] == "reasoning"]
        assert [block.get("reasoning") for block in thoughts] == (["Let me think."] if responses else [])
        assert asked.invoke([HumanMessage("Why?"), answer, HumanMessage("Go on.")]).text


def test_embeddings_of_tokens_and_of_texts_are_the_providers(address: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    encoding: tiktoken.Encoding = tokenizer("cl100k_base")._encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", encoding)  # the client would download it
    texts = ["one two three", "Grüße aus 漢字"]
    by_tokens = OpenAIEmbeddings(model=FAST, **address).embed_documents(texts)
    assert by_tokens == [pytest.approx(vector(encoding.encode(text), 8)) for text in texts]
    by_text = OpenAIEmbeddings(model=FAST, check_embedding_ctx_length=False, **address)
    assert by_text.embed_documents(texts) == [vector(text, 8) for text in texts]
    assert by_text.embed_query(texts[0]) == vector(texts[0], 8)


@APIS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_goes_wrong_is_the_clients_own_error(chat: Chat, here: Place, responses: bool, stream: bool) -> None:
    cases = {
        openai.AuthenticationError: chat(ECHO, responses, api_key="sk-nothing"),
        openai.BadRequestError: chat("tollway/ecko", responses),
        openai.RateLimitError: chat("acme/busy", responses),
        openai.InternalServerError: chat("acme/broken", responses),
    }
    for kind, asked in cases.items():
        with pytest.raises(kind):
            list(asked.stream("x")) if stream else asked.invoke("x")
    with pytest.raises(openai.APIStatusError) as poor:
        chat(ECHO, responses, api_key=here.new_account("0").key).invoke("x")
    assert poor.value.status_code == 402


@APIS
def test_a_stream_that_is_cut_is_an_error_and_no_short_answer(chat: Chat, responses: bool) -> None:
    with pytest.raises((openai.APIError, ValueError), match="Provider failed"):
        list(chat("acme/cut", responses).stream("x"))
