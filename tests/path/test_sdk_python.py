"""The official OpenAI Python SDK against a running Tollway: what it asks for is what it gets, and costs what it says."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.path.sdk_fixtures import BOTH, ECHO, FAST, Place, exact, place, price_of


def _tool(name: str, properties: dict[str, Any]) -> Any:
    parameters = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters, "strict": True}}


TOOLS = [_tool("weather", {"city": {"type": "string"}}), _tool("clock", {"zone": {"type": "string"}})]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class City(BaseModel):
    name: str
    people: int
    tags: list[str]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("sdk")) as running:
        yield running


@pytest.fixture(scope="module")
def client(here: Place) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=here.account.key, max_retries=0) as client:
        yield client


def say(text: Any) -> Any:
    return [{"role": "user", "content": text}]


def chunks_of(client: openai.OpenAI, **body: Any) -> list[dict[str, Any]]:
    """The stream's events with exact numbers, each valid by the SDK's own model, and [DONE] behind them."""
    with client.chat.completions.with_streaming_response.create(**body, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-request-id"]
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    for line in lines:
        ChatCompletionChunk.model_validate_json(line, strict=True)
    chunks = [exact(line) for line in lines]
    assert {chunk["id"] for chunk in chunks} == {answer.headers["x-generation-id"]}
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("model", BOTH)
def test_a_whole_answer_is_valid_for_the_sdk_and_priced_to_the_nano(client: openai.OpenAI, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=say("one two three"))
    ChatCompletion.model_validate_json(raw.text, strict=True)
    answer = exact(raw.text)
    assert raw.headers["x-generation-id"] == answer["id"]
    assert raw.headers["x-request-id"]
    assert answer.keys() >= {"id", "object", "created", "model", "provider", "system_fingerprint", "choices", "usage"}
    assert (answer["model"], answer["object"]) == (model, "chat.completion")
    assert answer["provider"] == {ECHO: "Tollway Echo", FAST: "Acme Cloud"}[model]
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == {ECHO: "one two three", FAST: "Hello from fast-1."}[model]
    assert (choice["finish_reason"], choice["native_finish_reason"], choice["logprobs"]) == ("stop", "stop", None)
    usage = answer["usage"]
    assert usage["cost"] == price_of(model, usage) > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["cost_details"]["upstream_inference_cost"] == usage["cost"]
    assert all(isinstance(number, int) for details in ("prompt", "completion") for number in usage[f"{details}_tokens_details"].values())


@pytest.mark.parametrize("model", BOTH)
def test_asked_for_usage_is_a_last_chunk_without_choices(client: openai.OpenAI, model: str) -> None:
    chunks = chunks_of(client, model=model, messages=say("one two three"), stream_options={"include_usage": True})
    *body, last = chunks
    assert last["choices"] == []
    assert last["usage"]["cost"] == price_of(model, last["usage"]) > 0
    assert not any(chunk.get("usage") for chunk in body)
    assert text_of(body) == {ECHO: "one two three", FAST: "Hello from fast-1."}[model]
    assert_one_reason_each(body, {0: "stop"})


@pytest.mark.parametrize("model", BOTH)
def test_unasked_usage_rides_on_a_last_chunk_with_one_empty_choice(client: openai.OpenAI, model: str) -> None:
    chunks = chunks_of(client, model=model, messages=say("one two three"), n=2)
    *body, last = chunks
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": None, "native_finish_reason": None, "logprobs": None}]
    assert last["usage"]["cost"] == price_of(model, last["usage"])
    assert not any(chunk.get("usage") for chunk in body)
    assert_one_reason_each(chunks, {0: "stop", 1: "stop"})


def assert_one_reason_each(chunks: list[dict[str, Any]], reasons: dict[int, str]) -> None:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert all(choice.keys() >= {"index", "delta", "finish_reason", "native_finish_reason", "logprobs"} for choice in choices)
    given = [(choice["index"], choice["finish_reason"]) for choice in choices if choice["finish_reason"]]
    assert sorted(given) == sorted(reasons.items())


async def test_the_asynchronous_client_gets_the_same_answers(here: Place) -> None:
    async with openai.AsyncOpenAI(base_url=here.tollway.base_url, api_key=here.account.key, max_retries=0) as client:
        whole = await client.chat.completions.create(model=ECHO, messages=say("one two three"))
        stream = await client.chat.completions.create(model=ECHO, messages=say("one two three"), stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert {ECHO, FAST} <= {model.id async for model in client.models.list()}
    assert whole.choices[0].message.content == "".join(parts) == "one two three"
    assert len(parts) > 3


@pytest.mark.parametrize("model", BOTH)
def test_tools_are_called_one_or_in_parallel(client: openai.OpenAI, model: str) -> None:
    both = "in parallel: weather and clock"
    one = client.chat.completions.create(model=model, messages=say("Zürich?"), tools=TOOLS[:1], tool_choice="auto")
    two = client.chat.completions.create(model=model, messages=say(both), tools=TOOLS, parallel_tool_calls=True)
    assert called(one) == ["weather"]
    assert called(two) == ["weather", "clock"]
    assert {one.choices[0].finish_reason, two.choices[0].finish_reason} == {"tool_calls"}
    calls: Any = two.choices[0].message.tool_calls
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12 degrees"} for call in calls]
    history = [*say(both), two.choices[0].message.model_dump(exclude_none=True), *results]
    after = client.chat.completions.create(model=model, messages=history, tools=TOOLS)
    assert after.choices[0].finish_reason == "stop"
    assert after.choices[0].message.content


def called(answer: ChatCompletion) -> list[str]:
    """The names of the functions called, their arguments being objects with the wanted fields."""
    calls: Any = answer.choices[0].message.tool_calls
    assert all(len(json.loads(call.function.arguments)) == 1 for call in calls)
    return [call.function.name for call in calls]


@pytest.mark.parametrize("model", BOTH)
def test_the_streaming_helper_puts_tool_calls_together(client: openai.OpenAI, model: str) -> None:
    names = ["weather", "clock"]
    with client.chat.completions.stream(model=model, messages=say("in parallel: weather and clock"), tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert [call.function.name for call in final.choices[0].message.tool_calls or []] == names
    assert [len(json.loads(call.function.arguments)) for call in final.choices[0].message.tool_calls or []] == [1, 1]
    assert final.choices[0].finish_reason == "tool_calls"
    assert [event.name for event in events if event.type == "tool_calls.function.arguments.done"] == names


def test_interleaved_pieces_of_tool_calls_are_told_apart_by_their_index(client: openai.OpenAI) -> None:
    calls: dict[int, dict[str, str]] = {}
    stream = client.chat.completions.create(model="acme/split", messages=say("both"), tools=TOOLS, stream=True)
    for piece in (piece for chunk in stream for choice in chunk.choices for piece in choice.delta.tool_calls or []):
        assert piece.function
        call = calls.setdefault(piece.index, {"id": piece.id or "", "name": piece.function.name or "", "arguments": ""})
        call["arguments"] += piece.function.arguments or ""
    assert [(index, call["name"], bool(call["id"])) for index, call in calls.items()] == [(0, "weather", True), (1, "clock", True)]
    assert [json.loads(call["arguments"]).keys() for call in calls.values()] == [{"city"}, {"zone"}]


@pytest.mark.parametrize("model", BOTH)
def test_a_pydantic_model_comes_back_parsed(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(model=model, messages=say("Bern"), response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)
    with client.chat.completions.stream(model=model, messages=say("Bern"), response_format=City) as stream:
        said = [event for event in stream if event.type == "content.delta"]
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed
    assert len(said) > 1


def test_choices_logprobs_stop_and_limits_do_what_they_say(client: openai.OpenAI) -> None:
    ask: Any = {"model": ECHO, "messages": say("one two three four")}
    many = client.chat.completions.create(**ask, n=2, logprobs=True, top_logprobs=2, seed=7)
    assert [choice.index for choice in many.choices] == [0, 1]
    logprobs = many.choices[1].logprobs
    assert logprobs
    assert "".join(entry.token for entry in logprobs.content or []) == "one two three four"
    assert client.chat.completions.create(**ask, stop=["three"]).choices[0].message.content == "one two "
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        short = client.chat.completions.create(**ask, **limit)
        assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("one two", "length")
        assert short.usage
        assert short.usage.completion_tokens == 2


@pytest.mark.parametrize("model", BOTH)
def test_image_parts_are_taken(client: openai.OpenAI, here: Place, model: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    answer = client.chat.completions.create(model=model, messages=say(parts))
    assert answer.choices[0].message.content == {ECHO: "What is this?[image]", FAST: "Hello from fast-1."}[model]
    if model == FAST:
        assert here.fake.settled("fast-1")[-1]["request_body"]["messages"] == say(parts)


def test_models_are_listed_and_found_with_the_slash_in_their_id(client: openai.OpenAI) -> None:
    listed = client.models.list()
    assert {ECHO, FAST} <= {model.id for model in listed}
    found = client.models.retrieve(ECHO)
    assert (found.id, found.object, found.owned_by) == (ECHO, "model", "tollway")
    with pytest.raises(openai.NotFoundError, match="Did you mean tollway/echo"):
        client.models.retrieve("tollway/ecko")


def test_unknown_fields_reach_the_provider_and_openrouters_do_not(client: openai.OpenAI, here: Place) -> None:
    here.fake.reset()
    strange = {"top_k": 7, "x_made_up": {"deep": [1, None, "é 漢 😀", 1e-7]}, "min_p": 0.25, "prompt_cache_key": "k", "max_tokens": 0}
    taken_out = {
        "provider": {"order": ["acme-cloud"], "allow_fallbacks": True}, "models": [FAST], "route": "fallback", "transforms": [],
        "plugins": [], "usage": {"include": True}, "session_id": "s", "trace": {}, "debug": {}, "include_reasoning": True,
    }  # fmt: skip
    known: Any = {"logit_bias": {"50256": -100}, "metadata": {"a": "b"}, "user": "u1", "seed": 7, "temperature": 0.5, "stop": ["zz"]}
    client.chat.completions.create(model=FAST, messages=say("hi"), **known, extra_body={**strange, **taken_out})
    (record,) = here.fake.settled("fast-1")
    strange.pop("max_tokens")
    assert record["request_body"] == {"model": "fast-1", "messages": say("hi"), **known, **strange}


def test_the_costs_of_a_session_add_up_to_what_left_the_balance(here: Place) -> None:
    account = here.new_account("1")
    costs = []
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=account.key, max_retries=0) as client:
        for model in BOTH:
            for ask in ({}, {"n": 2}, {"max_tokens": 1}, {"tools": TOOLS}):
                raw = client.chat.completions.with_raw_response.create(model=model, messages=say("weather here"), **ask)  # type: ignore[call-overload]
                costs.append(exact(raw.text)["usage"]["cost"])
                costs += [chunk["usage"]["cost"] for chunk in chunks_of(client, model=model, messages=say("clock"), **ask)[-1:]]
                assert here.used(account) == sum(costs)
    assert len(costs) == 16
    assert Decimal(here.exact("/credits", account.key)["data"]["total_credits"]) == 1
    assert here.tollway.cli("ledger", "verify").returncode == 0
