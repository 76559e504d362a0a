"""The echo provider: real token counts, whole characters, tool calls and structured answers, in OpenAI's shapes."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.price import Price
from metering.tokens import tokenizer
from metering.usage import Usage, from_openai
from providers.content import Content
from providers.echo import EchoDialect
from providers.provider import Call, ChatRequest, Endpoint, Event, Model, Provider

TEXTS = ["plain text, in several words", "é 漢字 😀 naïve", "👩\u200d👩\u200d👧\u200d👦 and 🏳️\u200d🌈", "line\n\n\ttab\0 NUL", "𓀀𓀁𓀂", ""]
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


def call(body: dict[str, Any] | str, *, stream: bool = False, max_tokens: int | None = None, max_output_tokens: int | None = None) -> Call:
    """A call whose body is given whole, or as the user's words."""
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": body}]} if isinstance(body, str) else body
    request = ChatRequest(
        body=Content(fields),
        model="tollway/echo",
        stream=stream,
        include_usage=False,
        max_tokens=max_tokens,
        n=fields.get("n", 1),
        prompt_tokens_max=1_000,
    )
    endpoint = Endpoint(
        id="echo/tollway/echo",
        model=Model(id="tollway/echo", name="Echo", company="tollway", context_length=8_192),
        provider=Provider(slug="echo", name="Echo", dialect="echo"),
        upstream_model="echo",
        price=Price(prompt=1, completion=1),
        price_id="price_1",
        context_length=8_192,
        max_output_tokens=max_output_tokens,
    )
    return Call(request=request, endpoint=endpoint, api_key=None, max_tokens=max_tokens, generation_id="gen-1")


async def answered(asked: Call) -> list[Event]:
    dialect = EchoDialect(lambda: 1_760_000_000, seconds_per_token=0)
    batches = [batch async for batch in dialect.stream(asked)]
    await dialect.aclose()
    assert all(len(batch) == 1 for batch in batches)
    return [event for batch in batches for event in batch]


async def whole(body: dict[str, Any] | str, **limits: int | None) -> Event:
    (event,) = await answered(call(body, stream=False, **limits))
    return event


async def chunks(body: dict[str, Any] | str, **limits: int | None) -> list[Event]:
    return await answered(call(body, stream=True, **limits))


def text_of(events: list[Event], index: int = 0) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"] if choice["index"] == index)


def count(text: str) -> int:
    return tokenizer("o200k_base").count(text)


# Text


@pytest.mark.parametrize("text", TEXTS)
async def test_the_answer_is_the_last_user_message_streamed_or_not(text: str) -> None:
    body = {"messages": [{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": text}]}
    completion, streamed = await whole(body), await chunks(body)
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert text_of(streamed) == text
    assert completion["usage"] == streamed[-1]["usage"]


@given(text=st.text())
async def test_no_chunk_splits_a_character(text: str) -> None:
    streamed = await chunks(text)
    for event in streamed:
        json.dumps(event).encode()
    assert "�" in text or "�" not in text_of(streamed)
    assert text_of(streamed) == text


async def test_a_text_arrives_token_by_token() -> None:
    assert len(await chunks(TEXTS[0])) == count(TEXTS[0]) + 3  # and the role, the finish reason and the usage


async def test_chunks_have_openai_s_shape() -> None:
    events = await chunks("hello world")
    for event in events:
        assert {key: event[key] for key in ("id", "object", "created", "model")} == {
            "id": "gen-1",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000,
            "model": "echo",
        }
    assert [event["choices"] for event in events] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None, "logprobs": None}],
        [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None, "logprobs": None}],
        [{"index": 0, "delta": {"content": " world"}, "finish_reason": None, "logprobs": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}],
        [],
    ]


async def test_usage_is_counted_as_openai_counts() -> None:
    body = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello world"}]}
    completion = await whole(body)
    assert from_openai(completion["usage"]) == Usage(prompt=count("be brief") + count("hello world") + 2 * 3 + 3, completion=2)


async def test_each_image_is_mentioned_and_counts_85_tokens() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "look "}, image, {"type": "text", "text": " and "}, image]
    completion = await whole({"messages": [{"role": "user", "content": parts}]})
    assert completion["choices"][0]["message"]["content"] == "look [image] and [image]"
    assert completion["usage"]["prompt_tokens"] == count("look ") + count(" and ") + 2 * 85 + 3 + 3


@pytest.mark.parametrize("limits", [{"max_tokens": 3}, {"max_output_tokens": 3}, {"max_tokens": 3, "max_output_tokens": 9}])
async def test_the_answer_ends_at_the_limit(limits: dict[str, int | None]) -> None:
    completion, streamed = await whole("one two three four five", **limits), await chunks("one two three four five", **limits)
    assert completion["choices"][0]["message"]["content"] == text_of(streamed) == "one two three"
    assert completion["choices"][0]["finish_reason"] == streamed[-2]["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 3


async def test_an_answer_that_just_fits_is_complete() -> None:
    completion = await whole("one two three", max_tokens=3)
    assert completion["choices"][0]["finish_reason"] == "stop"


async def test_a_limit_inside_a_character_gives_none_of_it() -> None:
    assert count("𓀀") > 1
    completion = await whole("𓀀", max_tokens=1)
    assert completion["choices"][0]["message"]["content"] == ""
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("stop", ["four", ["five", "four"], ["", "four"]])
async def test_the_answer_ends_before_the_first_stop_sequence(stop: str | list[str]) -> None:
    completion = await whole({"messages": [{"role": "user", "content": "one two three four five"}], "stop": stop})
    assert completion["choices"][0]["message"]["content"] == "one two three "
    assert completion["choices"][0]["finish_reason"] == "stop"


async def test_n_choices_are_answered_and_each_is_counted() -> None:
    body = {"messages": [{"role": "user", "content": "hello world"}], "n": 2}
    completion, streamed = await whole(body), await chunks(body)
    assert [choice["message"]["content"] for choice in completion["choices"]] == ["hello world"] * 2
    assert [text_of(streamed, index) for index in (0, 1)] == ["hello world"] * 2
    assert completion["usage"] == streamed[-1]["usage"]
    assert completion["usage"]["completion_tokens"] == 4
    assert completion["usage"]["prompt_tokens"] == 2 + 3 + 3


async def test_asked_for_logprobs_every_token_is_certain() -> None:
    body = {"messages": [{"role": "user", "content": "hello 😀"}], "logprobs": True, "top_logprobs": 2}
    completion, streamed = await whole(body), await chunks(body)
    entries = completion["choices"][0]["logprobs"]["content"]
    assert bytes(itertools.chain.from_iterable(entry["bytes"] for entry in entries)).decode() == "hello 😀"
    assert all(entry["logprob"] == 0.0 and entry["top_logprobs"][0]["token"] == entry["token"] for entry in entries)
    logprobs = [choice["logprobs"] for event in streamed for choice in event["choices"] if choice["logprobs"]]
    assert [entry for part in logprobs for entry in part["content"]] == entries


async def test_without_a_clock_of_its_own_it_reads_the_machine_s() -> None:
    before = int(time.time())
    (batch,) = [batch async for batch in EchoDialect().stream(call("hello"))]
    assert before <= batch[0]["created"] <= time.time()


async def test_tokens_come_at_the_given_pace() -> None:
    dialect, started = EchoDialect(lambda: 0, seconds_per_token=0.02), time.monotonic()
    assert [batch async for batch in dialect.stream(call("one two three", stream=True))]
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": None}], "tools": "x", "response_format": 3, "stop": 3},
        {"messages": [{"role": "user", "content": ["x", {"type": "text", "text": 3}]}], "tools": [{"function": {}}], "tool_choice": {}},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}], "response_format": {"type": "json_schema"}},
    ],
)
async def test_an_odd_body_is_answered_all_the_same(body: dict[str, Any]) -> None:
    assert len((await whole(body))["choices"]) == 1
    assert (await chunks(body))[-1]["usage"]


# Tools


def asking(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "tools": [WEATHER, CLOCK], **fields}


def functions(completion: Event) -> list[tuple[str, Any]]:
    called = completion["choices"][0]["message"].get("tool_calls", [])
    return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in called]


async def test_a_user_with_tools_gets_the_first_one_called() -> None:
    completion = await whole(asking("Lisbon"))
    assert functions(completion) == [("get_weather", {"city": "Lisbon"})]
    assert completion["choices"][0]["finish_reason"] == "tool_calls"
    assert completion["choices"][0]["message"]["content"] is None
    assert completion["usage"]["completion_tokens"] == count("get_weather") + count('{"city":"Lisbon"}')


async def test_the_chosen_tool_is_called() -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    assert functions(await whole(asking("Lisbon", tool_choice=choice))) == [("get_time", {})]
    assert functions(await whole(asking("Lisbon", tool_choice="required"))) == [("get_weather", {"city": "Lisbon"})]


async def test_no_tool_is_called_when_none_may_be() -> None:
    completion = await whole(asking("Lisbon", tool_choice="none"))
    assert completion["choices"][0]["message"]["content"] == "Lisbon"


async def test_several_tools_named_by_the_user_are_called_together_unless_forbidden() -> None:
    text = "get_weather and get_time, please"
    assert functions(await whole(asking(text))) == [("get_weather", {"city": text}), ("get_time", {})]
    assert len(functions(await whole(asking(text, parallel_tool_calls=False)))) == 1


async def test_a_tool_s_result_is_echoed_as_text() -> None:
    body = asking("Lisbon")
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": "21 °C"},
    ]
    completion = await whole(body)
    assert completion["choices"][0]["message"]["content"] == "21 °C"
    assert completion["choices"][0]["finish_reason"] == "stop"


async def test_streamed_tool_calls_add_up_to_the_whole_ones() -> None:
    body = asking("get_weather and get_time for 東京 😀", n=2)
    completion, streamed = await whole(body), await chunks(body)
    for index in (0, 1):
        calls: dict[int, dict[str, Any]] = {}
        deltas = [choice["delta"] for event in streamed for choice in event["choices"] if choice["index"] == index]
        assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
        for part in itertools.chain.from_iterable(delta.get("tool_calls", []) for delta in deltas):
            started = calls.setdefault(part["index"], {key: value for key, value in part.items() if key != "index"})
            if "id" not in part:
                started["function"]["arguments"] += part["function"]["arguments"]
        assert list(calls.values()) == completion["choices"][index]["message"]["tool_calls"]
    ids = [each["id"] for choice in completion["choices"] for each in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 4
    assert completion["usage"] == streamed[-1]["usage"]


async def test_a_limit_inside_the_arguments_cuts_them() -> None:
    completion = await whole(asking("get_weather and get_time"), max_tokens=4)
    (called,) = completion["choices"][0]["message"]["tool_calls"]
    assert '{"city":"get_weather and get_time"}'.startswith(called["function"]["arguments"])
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] <= 4


# Structured answers


async def test_a_json_object_is_answered_when_asked_for() -> None:
    completion = await whole({"messages": [{"role": "user", "content": 'say "hi"'}], "response_format": {"type": "json_object"}})
    assert json.loads(completion["choices"][0]["message"]["content"]) == {"echo": 'say "hi"'}


async def test_a_json_schema_is_answered_with_a_value_that_fits() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "reply": {"type": "string"}}, "required": ["ok", "reply"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "hello"}], "response_format": wanted}
    assert json.loads((await whole(body))["choices"][0]["message"]["content"]) == {"ok": False, "reply": "hello"}
    assert json.loads(text_of(await chunks(body))) == {"ok": False, "reply": "hello"}
