"""The bedrock dialect: recorded shapes of Converse and its stream as canonical answers, and what was sent to get them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering.usage import Usage, from_openai
from providers.bedrock_answer import Style
from providers.bedrock_events import Reader
from providers.bedrock_frames import FrameSplitter
from providers.provider import Event
from tests.providers.bedrock_sent import FORMAT, LLAMA
from tests.providers.bedrock_server import METADATA, START, STOP, USAGE, Server, answer, begun, call, ended, frames, grown, joined, serving

STREAM = (
    START,
    grown({"reasoningContent": {"text": "I add "}}),
    grown({"reasoningContent": {"text": "them up: é 漢 😀."}}),
    grown({"reasoningContent": {"signature": "EqQBCgIYAhIk"}}),
    ended(),
    grown({"reasoningContent": {"redactedContent": "aGlkZGVu"}}, 1),
    ended(1),
    grown({"text": "It is "}, 2),
    grown({"text": "5117."}, 2),
    ended(2),
    begun("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "save", 3),
    grown({"toolUse": {"input": ""}}, 3),
    grown({"toolUse": {"input": '{"sum": 51'}}, 3),
    grown({"toolUse": {"input": '17, "unit": "é"}'}}, 3),
    ended(3),
    begun("tooluse_2", "log", 4),
    ended(4),
    {"messageStop": {"stopReason": "tool_use", "p": "abc"}},
    METADATA,
)
JOINED: dict[str, Any] = {
    "content": "It is 5117.",
    "reasoning": "I add them up: é 漢 😀.",
    "tool_calls": [
        {
            "id": "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q",
            "type": "function",
            "function": {"name": "save", "arguments": '{"sum": 5117, "unit": "é"}'},
        },
        {"id": "tooluse_2", "type": "function", "function": {"name": "log", "arguments": "{}"}},
    ],
    "reasoning_details": [
        {"type": "reasoning.text", "text": "I add them up: é 漢 😀.", "signature": "EqQBCgIYAhIk", "format": FORMAT, "index": 0},
        {"type": "reasoning.encrypted", "data": "aGlkZGVu", "format": FORMAT, "index": 1},
    ],
    "finish_reason": "tool_calls",
    "native_finish_reason": "tool_use",
}
CONTENT = [
    {"reasoningContent": {"reasoningText": {"text": "I add them up: é 漢 😀.", "signature": "EqQBCgIYAhIk"}}},
    {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
    {"text": "It is "},
    {"citationsContent": {"content": [{"text": "5117."}], "citations": [{"title": "x"}]}},
    {"toolUse": {"toolUseId": "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "name": "save", "input": {"sum": 5117, "unit": "é"}}},
    {"toolUse": {"toolUseId": "tooluse_2", "name": "log", "input": {}}},
    {"ofTomorrow": 1},
]


def whole(content: list[Any] = CONTENT, stop: str = "tool_use", **fields: Any) -> dict[str, Any]:
    output = {"message": {"role": "assistant", "content": content}}
    return {"metrics": {"latencyMs": 551}, "output": output, "stopReason": stop, "usage": USAGE, **fields}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


async def test_a_stream_of_thoughts_text_and_calls_is_one_canonical_answer(server: Server) -> None:
    events = await answer(server, frames(*STREAM), call(server))
    assert joined(events) == JOINED
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert from_openai(events[-1]["usage"]) == Usage(prompt=20, cached_prompt=7, cache_write=2, completion=61)
    assert events[-1]["choices"] == []
    [(target, headers, _)] = server.sent
    assert target == "/prefix/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert headers["accept"] == "application/vnd.amazon.eventstream"


async def test_a_whole_answer_says_the_same_as_its_stream(server: Server) -> None:
    server.headers = {"content-type": "application/json"}
    [event] = await answer(server, whole(), call(server, stream=False))
    [choice] = event["choices"]
    message = choice.pop("message")
    assert message.pop("role") == "assistant"
    said = {**message, **choice, "index": None}
    for made in said["tool_calls"]:
        made["function"]["arguments"] = made["function"]["arguments"].replace('":', '": ').replace(",", ", ")
    assert said == {**JOINED, "index": None}
    assert from_openai(event["usage"]) == Usage(prompt=20, cached_prompt=7, cache_write=2, completion=61)
    assert server.sent[0][0].endswith("/converse")


def read(*pieces: bytes) -> list[Event]:
    splitter, reader = FrameSplitter(2**20), Reader(Style(FORMAT))
    events = [event for piece in pieces for frame in splitter.feed(piece) for event in reader.read(frame)]
    reader.check()
    return events


def test_every_cut_of_the_bytes_gives_the_same_events() -> None:
    raw = frames(*STREAM)
    expected = read(raw)
    assert joined(expected) == JOINED
    for at in range(len(raw) + 1):
        assert read(raw[:at], raw[at:]) == expected
    assert read(*(raw[at : at + 1] for at in range(len(raw)))) == expected


async def test_thoughts_of_other_models_have_no_format_of_their_own(server: Server) -> None:
    body = frames(START, grown({"reasoningContent": {"text": "Hm."}}), STOP, METADATA)
    said = joined(await answer(server, body, call(server, model=LLAMA)))
    assert said["reasoning_details"] == [{"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0}]


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        *(("end_turn", "stop"), ("stop_sequence", "stop"), ("tool_use", "tool_calls"), ("max_tokens", "length")),
        *(("model_context_window_exceeded", "length"), ("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter")),
        *(("malformed_model_output", "error"), ("malformed_tool_use", "error"), ("of_tomorrow", "stop")),
    ],
)
async def test_a_stop_reason_keeps_its_own_word_beside_ours(server: Server, reason: str, ours: str) -> None:
    said = joined(await answer(server, frames(START, {"messageStop": {"stopReason": reason}}, METADATA), call(server)))
    assert (said["finish_reason"], said["native_finish_reason"]) == (ours, reason)


async def test_a_message_of_calls_alone_has_no_content(server: Server) -> None:
    [event] = await answer(server, whole(CONTENT[4:5]), call(server, stream=False))
    assert event["choices"][0]["message"]["content"] is None
    [event] = await answer(server, whole([], "end_turn"), call(server, stream=False))
    assert event["choices"][0]["message"] == {"role": "assistant", "content": ""}


async def test_a_whole_answer_to_a_streamed_request_is_still_a_stream(server: Server) -> None:
    [event] = await answer(server, whole(), call(server))
    calls = event["choices"][0]["delta"]["tool_calls"]
    assert [each["index"] for each in calls] == [0, 1]


# What is sent


async def test_a_pair_of_keys_signs_with_the_dialects_clock(server: Server) -> None:
    await answer(server, frames(START, STOP, METADATA), call(server, api_key="AKIDEXAMPLE:secret:token"))
    [(_, headers, _)] = server.sent
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251124/us-east-1/bedrock/aws4_request, ")
    assert "SignedHeaders=accept;content-type;host;x-amz-date;x-amz-security-token, " in headers["authorization"]
    assert (headers["x-amz-date"], headers["x-amz-security-token"]) == ("20251124T160000Z", "token")


async def test_an_api_key_is_a_bearer_and_only_our_own_headers_are_sent(server: Server) -> None:
    await answer(server, frames(START, STOP, METADATA), call(server, api_key="bedrock-api-key-x"))
    [(_, headers, body)] = server.sent
    assert headers["authorization"] == "Bearer bedrock-api-key-x"
    assert headers.keys() == {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization"}
    assert body["messages"] == [{"role": "user", "content": [{"text": "Hello"}]}]
