"""The anthropic dialect's answers: recorded shapes of the Messages API, in any cut of the bytes, and how it is asked."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from metering.usage import Usage, from_openai
from providers.errors import (
    ProviderUnavailable,
)
from tests.providers.anthropic_answers import (
    BLOCKS,
    RECORDED,
    STOP,
    TEXT,
    THOUGHTS,
    TOOLS,
    answer,
    begin,
    call,
    change,
    end,
    grow,
    joined,
    parsed,
    read,
    sse,
    start,
    until_it_broke,
    whole,
)
from tests.providers.test_openai import Server, serving

FORMAT = "anthropic-claude-v1"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


# Recorded shapes


async def test_a_recorded_stream_of_text_is_a_canonical_one(server: Server) -> None:
    usage = {"prompt_tokens": 25, "completion_tokens": 15, "total_tokens": 40}
    assert await answer(server, sse(*TEXT), call(server)) == [
        {
            "id": "msg_1",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}],
            "usage": {"prompt_tokens": 25, "completion_tokens": 0, "total_tokens": 25},
        },
        {"choices": [{"index": 0, "delta": {"content": "Héllo"}}]},
        {"choices": [{"index": 0, "delta": {"content": " 漢😀"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "end_turn"}], "usage": usage},
    ]


async def test_calls_have_their_own_numbers_and_always_arguments(server: Server) -> None:
    events = await answer(server, sse(*TOOLS), call(server))
    calls = [made for event in events for choice in event["choices"] for made in choice["delta"].get("tool_calls", ())]
    assert calls == [
        {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"location":'}},
        {"index": 0, "function": {"arguments": ' "Zürich"}'}},
        {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_thoughts_come_as_text_with_their_signatures_beside_them(server: Server) -> None:
    events = await answer(server, sse(*THOUGHTS), call(server))
    deltas = [choice["delta"] for event in events for choice in event["choices"]]

    def detail(**more: Any) -> dict[str, Any]:
        return {"type": "reasoning.text", "format": FORMAT, "index": 0, **more}

    assert deltas[1:-1] == [
        {"reasoning": "Let me", "reasoning_details": [detail(text="Let me")]},
        {"reasoning": " think.", "reasoning_details": [detail(text=" think.")]},
        {"reasoning_details": [detail(text="", signature="EqQB")]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "EmwK", "format": FORMAT, "index": 1}]},
        {"content": "27"},
    ]
    assert events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 9}


@pytest.mark.parametrize("name", RECORDED)
async def test_a_whole_answer_says_what_its_stream_says(server: Server, name: str) -> None:
    streamed = joined(await answer(server, sse(*RECORDED[name]), call(server)))
    [completion] = await answer(server, whole(name), call(server, stream=False))
    [choice] = completion["choices"]
    message = choice["message"]
    assert message["content"] == streamed["content"]
    assert (message.get("reasoning") or "") == streamed["reasoning"]
    assert [{"text": "", **detail} for detail in message.get("reasoning_details", ())] == list(streamed["details"].values())
    calls = {number: {"id": made["id"], **made["function"]} for number, made in enumerate(message.get("tool_calls", ()))}
    assert parsed({"calls": calls}) == parsed({"calls": streamed["calls"]})
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (streamed["finish_reason"], streamed["native_finish_reason"])
    assert (completion["usage"], completion["id"]) == (streamed["usage"], streamed["id"])


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_split_of_a_stream_gives_the_same_events(name: str, newline: str) -> None:
    body = sse(*RECORDED[name]).replace("\n", newline).encode()
    expected = read(body, [])
    for cut in range(len(body) + 1):
        assert read(body, [cut]) == expected
    assert read(body, list(range(1, len(body)))) == expected
    assert read(body.rstrip(), []) == expected, "only the last blank line is missing"


@pytest.mark.parametrize("name", RECORDED)
async def test_a_whole_answer_to_a_stream_becomes_one(server: Server, name: str) -> None:
    events = await answer(server, whole(name), call(server))
    assert parsed(joined(events)) == parsed(joined(await answer(server, sse(*RECORDED[name]), call(server))))


async def test_a_message_of_calls_alone_has_no_content(server: Server) -> None:
    alone = whole("tools", content=BLOCKS["tools"][1:2])
    [completion] = await answer(server, alone, call(server, stream=False))
    assert completion["choices"][0]["message"]["content"] is None


async def test_what_the_provider_did_by_itself_is_left_out(server: Server) -> None:
    searched = (
        *(start(), begin(0, "server_tool_use", id="srv_1", name="web_search", input={}), grow(0, "input_json_delta", partial_json="{}")),
        *(end(0), begin(1, "web_search_tool_result", tool_use_id="srv_1", content=[]), end(1), begin(2, "text", text="Acc")),
        *(grow(2, "citations_delta", citation={"type": "char_location"}), grow(2, "text_delta", text="ording"), end(2)),
        *({"type": "tomorrow", "odd": 1}, change(None), change(), STOP),
    )
    streamed = joined(await answer(server, sse(*searched), call(server)))
    assert (streamed["content"], streamed["calls"], streamed["finish_reason"]) == ("According", {}, "stop")
    blocks = [{"type": "web_search_tool_result"}, *BLOCKS["text"], {"type": ["odd"]}]
    [completion] = await answer(server, whole("text", content=blocks), call(server, stream=False))
    assert completion["choices"][0]["message"]["content"] == "Héllo 漢😀"


async def test_a_call_that_came_with_its_input_has_it(server: Server) -> None:
    early = (start(), begin(0, "tool_use", id="a", name="b", input={"c": 1}), change("tool_use"), STOP)
    assert joined(await answer(server, sse(*early), call(server)))["calls"][0]["arguments"] == '{"c":1}'


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
async def test_every_stop_reason_has_its_word(server: Server, native: str, reason: str) -> None:
    events = await answer(server, sse(start(), change(native), STOP), call(server))
    assert joined(events)["finish_reason"] == reason
    [completion] = await answer(server, whole("text", stop_reason=native), call(server, stream=False))
    assert completion["choices"][0]["finish_reason"] == reason
    assert completion["choices"][0]["native_finish_reason"] == native


# Usage

CACHED: Any = {"input_tokens": 5, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11}


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (CACHED, {}, Usage(prompt=5, cached_prompt=11, cache_write=7, completion=15)),
        (CACHED, CACHED, Usage(prompt=5, cached_prompt=11, cache_write=7, completion=15)),
        ({"input_tokens": 0}, CACHED, Usage(prompt=5, cached_prompt=11, cache_write=7, completion=15)),
        (CACHED, {"input_tokens": 0, "cache_read_input_tokens": None}, Usage(prompt=5, cached_prompt=11, cache_write=7, completion=15)),
        ({}, {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 8}}, Usage(prompt=25, completion=12, reasoning=8)),
        ({}, {"output_tokens_details": {"thinking_tokens": 99}}, Usage(prompt=25, reasoning=15)),
        ({"input_tokens": "9"}, {}, None),
        ({"input_tokens": -9}, {}, None),
        ({"input_tokens": 9.5}, {}, None),
        ({"input_tokens": 10**30}, {}, None),
        ({"output_tokens": None}, {"output_tokens": None}, None),
    ],
)
async def test_usage_is_what_the_api_reports_or_nothing(server: Server, first: Any, last: Any, expected: Usage | None) -> None:
    events = await answer(server, sse(start(**first), change(**last), STOP), call(server))
    assert from_openai(events[-1].get("usage")) == expected
    told = {**start(**first)["message"]["usage"], **{name: value for name, value in change(**last)["usage"].items() if value}}
    [completion] = await answer(server, whole("text", usage=told), call(server, stream=False))
    assert from_openai(completion.get("usage")) == expected


async def test_a_stream_that_breaks_has_told_its_prompt(server: Server) -> None:
    events, error = await until_it_broke(server, sse(start(**CACHED), begin(0, "text", text="a")))
    assert type(error) is ProviderUnavailable
    assert from_openai(events[0]["usage"]) == Usage(prompt=5, cached_prompt=11, cache_write=7)
    assert joined(events)["content"] == "a"


# What is sent


async def test_the_request_goes_below_the_base_url_with_the_api_s_headers(server: Server) -> None:
    await answer(server, sse(*TEXT), call(server))
    [(sent, body)] = server.sent
    assert sent.keys() == {
        *("host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "anthropic-version", "x-api-key")
    }
    assert body["stream"] is True
    assert server.targets == ["/proxy/v1/messages"]


async def test_a_request_with_media_is_the_same_and_made_beside_the_other_streams(server: Server) -> None:
    wanted = call(server)
    media = msgspec.structs.replace(wanted, request=msgspec.structs.replace(wanted.request, media=True))
    await answer(server, sse(*TEXT), wanted)
    await answer(server, sse(*TEXT), media)
    assert server.sent[0][1] == server.sent[1][1]
