"""The Responses API of the official OpenAI Python SDK against a running Tollway: what it gets, what that costs, and how it fails."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.path.sdk_fixtures import BOTH, ECHO, FAST, Place, exact, place, price_of
from tests.running import Account

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _tool(name: str, field: str) -> Any:
    parameters = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field], "additionalProperties": False}
    return {"type": "function", "name": name, "description": "A tool.", "parameters": parameters, "strict": True}


TOOLS = [_tool("weather", "city"), _tool("clock", "zone")]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SAID = {ECHO: "one two three", FAST: "Hello from fast-1."}


class City(BaseModel):
    name: str
    people: int
    tags: list[str]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("responses")) as running:
        yield running


@pytest.fixture(scope="module")
def client(here: Place) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=here.account.key, max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_stays_held(here: Place) -> Iterator[None]:
    yield
    assert here.tollway.cli("ledger", "verify").returncode == 0


def post(here: Place, account: Account, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    sent = {"authorization": f"Bearer {account.key}", **(headers or {})}
    return httpx.post(f"{here.tollway.base_url}/responses", headers=sent, json={"input": "one two three", **body}, timeout=30)


def tokens(usage: dict[str, Any]) -> dict[str, Any]:
    """In the words of a chat's usage."""
    return {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}


# Answers


@pytest.mark.parametrize("model", BOTH)
def test_a_whole_response_is_valid_for_the_sdk_and_priced_to_the_nano(client: Any, model: str) -> None:
    raw = client.responses.with_raw_response.create(model=model, input="one two three")
    Response.model_validate_json(raw.text, strict=True)
    answer = exact(raw.text)
    assert raw.headers["x-generation-id"] == answer["id"]
    assert "x-tollway-adjusted" not in raw.headers
    assert raw.parse().output_text == SAID[model]
    assert (answer["status"], answer["model"]) == ("completed", model)
    assert answer["provider"] == {ECHO: "Tollway Echo", FAST: "Acme Cloud"}[model]
    assert answer["usage"]["cost"] == price_of(model, tokens(answer["usage"])) > 0


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_is_valid_for_the_sdk_and_ends_with_what_it_cost(client: Any, model: str) -> None:
    with client.responses.with_streaming_response.create(model=model, input="one two three", stream=True) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith(("event: ", "data: "))]
    names, data = [line[7:] for line in lines[::2]], [line[6:] for line in lines[1::2]]
    for line in data:
        EVENT.validate_json(line, strict=True)
    events = [exact(line) for line in data]
    assert names == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert names[:2] == ["response.created", "response.in_progress"]
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == SAID[model]
    assert {event["response"]["id"] for event in events if "response" in event} == {answer.headers["x-generation-id"]}
    last = events[-1]["response"]
    assert (names[-1], last["output"][0]["content"][0]["text"]) == ("response.completed", SAID[model])
    assert last["usage"]["cost"] == price_of(model, tokens(last["usage"])) > 0
    assert not any(event["response"]["usage"] for event in events[:-1] if "response" in event)


@pytest.mark.parametrize("model", BOTH)
def test_the_streaming_helper_gives_the_same_as_the_whole_response(client: Any, model: str) -> None:
    ask: Any = {"model": model, "input": "in parallel: weather and clock", "tools": TOOLS}
    with client.responses.stream(**ask) as stream:
        events = list(stream)
        final = stream.get_final_response()
    whole = client.responses.create(**ask)
    calls = [[(item.name, item.arguments) for item in answer.output if item.type == "function_call"] for answer in (final, whole)]
    assert calls[0] == calls[1]
    assert [name for name, _ in calls[0]] == ["weather", "clock"]
    snapshots = [event.snapshot for event in events if event.type == "response.function_call_arguments.delta"]
    assert snapshots[-1] == calls[0][-1][1]
    assert final.usage
    assert whole.usage
    assert final.usage.total_tokens == whole.usage.total_tokens


async def test_the_asynchronous_client_gets_the_same(here: Place) -> None:
    async with openai.AsyncOpenAI(base_url=here.tollway.base_url, api_key=here.account.key, max_retries=0) as client:
        stream = await client.responses.create(model=ECHO, input="one two three", stream=True)
        said = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        async with client.responses.stream(model=ECHO, input="one two three") as helper:
            final = await helper.get_final_response()
    assert "".join(said) == final.output_text == "one two three"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", BOTH)
def test_tools_are_called_in_parallel_and_their_results_taken(client: Any, here: Place, model: str, stream: bool) -> None:
    here.fake.reset()
    question: Any = [{"role": "user", "content": "in parallel: weather and clock"}]
    ask: Any = {"model": model, "tools": TOOLS, "parallel_tool_calls": True}
    if stream:
        with client.responses.stream(**ask, input=question) as streaming:
            first: Response = streaming.get_final_response()
    else:
        first = client.responses.create(**ask, input=question)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "clock"]
    assert all(len(json.loads(call.arguments)) == 1 for call in calls)
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"} for call in calls]
    second = client.responses.create(**ask, input=[*question, *first.output, *results])
    assert second.output_text
    if model == FAST:
        *_, assistant, one, two = here.fake.settled("fast-1")[-1]["request_body"]["messages"]
        assert [call["function"]["name"] for call in assistant["tool_calls"]] == ["weather", "clock"]
        assert [one["tool_call_id"], two["tool_call_id"]] == [call["id"] for call in assistant["tool_calls"]]


@pytest.mark.parametrize("model", BOTH)
def test_a_pydantic_model_comes_back_parsed(client: Any, model: str) -> None:
    answer = client.responses.parse(model=model, input="Bern", text_format=City)
    assert isinstance(answer.output_parsed, City)
    with client.responses.stream(model=model, input="Bern", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == answer.output_parsed


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_reasoning_is_a_summary_and_comes_back_to_its_provider(client: Any, here: Place, stream: bool) -> None:
    here.fake.reset()
    ask: Any = {"model": "acme/thinks", "include": ["reasoning.encrypted_content"], "store": False, "reasoning": {"effort": "low"}}
    if stream:
        with client.responses.stream(**ask, input="Why?") as streaming:
            events = list(streaming)
            answer: Response = streaming.get_final_response()
        told = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
        assert told == ["Let", " me", " think."]
    else:
        answer = client.responses.create(**ask, input="Why?")
    thought, message = answer.output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["Let me think."]
    assert message.type == "message"
    assert answer.usage
    assert answer.usage.output_tokens_details.reasoning_tokens == 3
    client.responses.create(**ask, input=[{"role": "user", "content": "Why?"}, *answer.output, {"role": "user", "content": "And?"}])
    sent = here.fake.settled("reasoning")[-1]["request_body"]
    assert sent["messages"][1] == {"role": "assistant", "content": answer.output_text, "reasoning_content": "Let me think."}
    assert sent["reasoning_effort"] == "low"


def test_refusals_limits_and_filters_have_their_own_shapes(client: Any) -> None:
    refused = client.responses.create(model="acme/refuses", input="x").output[0]
    assert refused.type == "message"
    assert refused.content[0].type == "refusal"
    short = client.responses.create(model=ECHO, input="one two three", max_output_tokens=2)
    assert (short.output_text, short.status, short.incomplete_details) == ("one two", "incomplete", short.incomplete_details)
    assert short.incomplete_details
    assert short.incomplete_details.reason == "max_output_tokens"
    filtered = client.responses.create(model="acme/filtered", input="x")
    assert filtered.incomplete_details
    assert filtered.incomplete_details.reason == "content_filter"
    *_, last = client.responses.create(model=ECHO, input="one two three", max_output_tokens=2, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.usage
    assert last.response.usage.output_tokens == 2


def test_logprobs_come_where_they_are_asked_for(client: Any) -> None:
    answer = client.responses.create(model=ECHO, input="one two", include=["message.output_text.logprobs"], top_logprobs=2)
    message = answer.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert "".join(entry.token for entry in message.content[0].logprobs or []) == "one two"


def test_what_the_provider_gets_is_the_same_chat(client: Any, here: Place) -> None:
    here.fake.reset()
    parts: Any = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]
    known: Any = {"temperature": 0.5, "metadata": {"a": "b"}, "user": "u1", "prompt_cache_key": "k", "max_output_tokens": 50}
    taken_out = {"provider": {"order": ["acme-cloud"]}, "models": [FAST], "session_id": "s"}
    client.responses.create(
        model=FAST, instructions="Be brief.", input=[{"role": "user", "content": parts}], **known, extra_body={"top_k": 7, **taken_out}
    )
    (record,) = here.fake.settled("fast-1")
    del known["max_output_tokens"]
    chat = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": chat}]
    assert record["request_body"] == {"model": "fast-1", "messages": messages, **known, "top_k": 7, "max_tokens": 50}


def test_what_is_charged_is_what_the_provider_bills_and_what_the_client_is_told(here: Place) -> None:
    here.fake.reset()
    account = here.new_account("1")
    costs = []
    with openai.OpenAI(base_url=here.tollway.base_url, api_key=account.key, max_retries=0) as client:
        for ask in ({}, {"max_output_tokens": 1}, {"tools": TOOLS}, {"instructions": "Be brief."}):
            raw = client.responses.with_raw_response.create(model=FAST, input="weather here", **ask)
            costs.append(exact(raw.text)["usage"]["cost"])
            with client.responses.with_streaming_response.create(model=FAST, input="clock", stream=True, **ask) as answer:
                *_, last = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
            costs.append(exact(last)["response"]["usage"]["cost"])
            assert here.used(account) == sum(costs)
    rows = here.fake.settled("fast-1")
    assert len(rows) == len(costs) == 8
    assert costs == [price_of(FAST, row["billed_tokens"]) for row in rows]


# What is stateless


def test_store_is_accepted_without_effect_and_that_is_said(client: Any) -> None:
    for stream in (True, False):
        raw = client.responses.with_raw_response.create(model=ECHO, input="one", store=True, truncation="auto", stream=stream)
        assert raw.headers["x-tollway-adjusted"] == "store, truncation"
    assert client.responses.create(model=ECHO, input="one", store=True).store is False


def test_what_would_need_something_stored_is_refused(client: Any) -> None:
    for field, value in {"previous_response_id": "resp_1", "conversation": "conv_1", "background": True}.items():
        with pytest.raises(openai.BadRequestError, match=f"{field}: .*nothing is stored") as caught:
            client.responses.create(model=ECHO, input="one", **{field: value})
        assert caught.value.param == field


def test_an_idempotency_key_holds_for_this_route(here: Place) -> None:
    account = here.new_account("1")
    key = {"Idempotency-Key": "responses-1"}
    first = post(here, account, key, model=FAST)
    again = post(here, account, key, model=FAST)
    assert (first.status_code, again.status_code) == (200, 409)
    assert again.headers["x-generation-id"] == first.headers["x-generation-id"]
    assert here.used(account) == Decimal(str(first.json()["usage"]["cost"]))
    body = {"model": FAST, "messages": [{"role": "user", "content": "one two three"}]}
    headers = {"authorization": f"Bearer {account.key}", **key}
    assert httpx.post(f"{here.tollway.base_url}/chat/completions", headers=headers, json=body, timeout=30).status_code == 422


def test_the_id_is_one_that_get_generation_knows(here: Place) -> None:
    answer = post(here, here.account, model=FAST, stream=False).json()
    found = here.exact(f"/generation?id={answer['id']}", here.account.key)["data"]
    assert found["total_cost"] == Decimal(str(answer["usage"]["cost"]))


def test_the_trace_is_in_the_response(here: Place) -> None:
    trace = {"x-tollway-trace": "on"}
    assert post(here, here.account, trace, model=FAST).json()["tollway_trace"]["attempts"]
    streamed = post(here, here.account, trace, model=FAST, stream=True).text.strip().split("\n")[-1]
    assert json.loads(streamed.removeprefix("data: "))["response"]["tollway_trace"]["attempts"]


# Failures


@pytest.mark.parametrize("model", ["acme/breaks", "acme/cut"])
def test_a_stream_that_is_cut_upstream_fails_for_every_kind_of_reader(here: Place, client: Any, model: str) -> None:
    seen: list[Any] = []
    events = client.responses.create(model=model, input="x", stream=True)
    with pytest.raises(openai.APIError, match="Provider failed") as caught:
        seen.extend(events)
    assert caught.value.code == "server_error"
    failed = seen[-1]
    assert failed.type == "response.failed"
    assert (failed.response.status, failed.response.error and failed.response.error.code) == ("failed", "server_error")
    assert failed.response.output_text == "Hello from"
    with pytest.raises(openai.APIError), client.responses.stream(model=model, input="x") as stream:
        stream.get_final_response()


def test_what_arrived_of_a_cut_stream_is_charged_as_it_says(here: Place) -> None:
    account = here.new_account("1")
    *_, failed, _ = [line for line in post(here, account, model="acme/cut", stream=True).text.split("\n") if line.startswith("data: ")]
    assert here.used(account) == exact(failed[6:])["response"]["usage"]["cost"] > 0


def test_the_end_of_the_credits_is_a_failure_after_what_was_paid_for(here: Place) -> None:
    account = here.new_account("0.00004")
    lines = [line[6:] for line in post(here, account, model="acme/slow", stream=True).text.split("\n") if line.startswith("data: ")]
    failed, error = exact(lines[-2]), exact(lines[-1])
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "insufficient_quota")
    assert error["error"]["metadata"]["reason"] == "insufficient_credits"
    assert failed["response"]["output"][0]["content"][0]["text"].startswith("word word ")
    assert here.used(account) == failed["response"]["usage"]["cost"] <= Decimal("0.00004")


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("acme/busy", openai.RateLimitError, 429),
        ("acme/broken", openai.InternalServerError, 502),
        ("acme/late", openai.InternalServerError, 504),
        ("acme/long", openai.BadRequestError, 400),
        ("acme/unheard-of", openai.BadRequestError, 400),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_failure_before_the_answer_has_its_status(client: Any, model: str, kind: type[Any], status: int, stream: bool) -> None:
    with pytest.raises(kind) as caught:
        client.responses.create(model=model, input="x", stream=stream)
    assert caught.value.status_code == status
    assert caught.value.body.keys() == {"message", "type", "param", "code", "metadata"}


USER = {"role": "user", "content": "x"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,!!!!"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
    ({"input": [USER, {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "y"}]}]}, "input[1].content[1].type"),
    ({"input": [USER, {"role": "user", "content": [IMAGE]}]}, "input[1].content[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ({"input": [USER, {"type": "function_call_output", "call_id": "call_1", "output": "x"}]}, "input[1].call_id"),
    ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "tw1.x"}, USER]}, "input[0].encrypted_content"),
    ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
    ({"tools": [TOOLS[0], {"type": "function"}]}, "tools[1].name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"max_output_tokens": -1}, "max_output_tokens"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"n": 2}, "n"),
    ({"base_url": "http://10.0.0.1/v1"}, "base_url"),
    ({"provider": {"no_such_field": 1}}, "provider"),
]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_bad_input_is_400_named_and_costs_nothing(here: Place, stream: bool) -> None:
    account = here.new_account("1")
    here.fake.reset()
    for fields, param in BAD:
        answer = post(here, account, **{"model": FAST, "stream": stream, **fields})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, 400, param), fields
        assert error["message"].startswith(param), fields
    assert here.used(account) == 0
    assert not here.fake.ledger()


def test_what_is_no_json_is_400_and_a_get_is_405(here: Place) -> None:
    headers = {"authorization": f"Bearer {here.account.key}"}
    for route in ("/v1/responses", "/api/v1/responses"):
        url = f"http://127.0.0.1:{here.tollway.port}{route}"
        assert httpx.post(url, headers=headers, content=b"{", timeout=30).status_code == 400
        assert httpx.get(url, headers=headers, timeout=30).status_code == 405
        assert route in httpx.get(f"http://127.0.0.1:{here.tollway.port}/openapi.json", timeout=30).json()["paths"]
