"""How a Responses answer fails, and what becomes of an answer that its provider should not have given."""

import json
from typing import Any

import pytest

from gateway.api.responses_reply import ResponsesStream
from gateway.errors import Problem, credits_exhausted
from tests.gateway.responses_told import (
    BROKEN,
    CALLS,
    ENCRYPTED,
    EVENT,
    ID,
    LABELS,
    USAGE,
    chunk,
    from_pieces,
    kinds,
    put_together,
    reply_of,
    said,
    streamed,
    whole,
)

# Failures


async def test_a_failure_before_the_answer_is_json_with_its_status() -> None:
    reply, client = reply_of(ResponsesStream)
    await reply.fail(Problem(404, "messages[1].content[0]: no.", {}, "messages[1].content[0]", {"retry-after": "3"}), None)
    assert client.status == 404
    assert json.loads(client.body)["error"]["param"] == "input"
    assert (b"retry-after", b"3") in client.messages[0]["headers"]


async def test_a_broken_stream_ends_in_failed_and_error_and_never_looks_complete() -> None:
    reply, client = reply_of(ResponsesStream)
    await reply.events([chunk({"content": "Hel"})])
    await reply.fail(BROKEN, {**LABELS, "choices": [], "usage": USAGE})
    assert client.complete
    *_, failed, error = events = client.events
    assert kinds(events)[-2:] == ["failed", "error"]
    assert not {"completed", "incomplete", "output_item.done", "output_text.done"} & set(kinds(events))
    response = failed["response"]
    assert (response["status"], response["error"]) == ("failed", {"code": "server_error", "message": BROKEN.message})
    assert (response["error_type"], response["usage"]["cost"]) == ("provider_unavailable", 0.000001234)
    assert (response["output"][0]["status"], response["output"][0]["content"][0]["text"]) == ("incomplete", "Hel")
    assert (error["code"], error["message"], error["error"]["code"], error["error"]["status"]) == (
        *("server_error", BROKEN.message, "server_error", 502),
    )
    for event in events:
        EVENT.validate_json(json.dumps(event), strict=True)


async def test_a_failure_after_nothing_but_a_comment_still_begins_the_response() -> None:
    reply, client = reply_of(ResponsesStream)
    reply.comment(0.0)
    await reply.fail(BROKEN, None)
    client.messages[1]["body"] = client.messages[1]["body"].removeprefix(b": TOLLWAY PROCESSING\n\n")
    assert kinds(client.events) == ["created", "in_progress", "failed", "error"]
    assert {event["response"]["id"] for event in client.events[:3]} == {ID}


async def test_the_end_of_the_credits_is_told_after_the_cut_answer() -> None:
    reply, client = reply_of(ResponsesStream)
    await reply.events([chunk({"content": "Hel"})])
    await reply.events([chunk({}, "length")])
    await reply.fail(credits_exhausted(), {**LABELS, "choices": [], "usage": USAGE})
    failed, error = client.events[-2:]
    assert (failed["response"]["error"]["code"], error["error"]["metadata"]["reason"]) == ("insufficient_quota", "insufficient_credits")
    assert failed["response"]["output"][0]["status"] == "incomplete"


async def test_an_end_that_the_provider_calls_an_error_is_a_failure() -> None:
    events = await streamed([chunk({"content": "Hel"}), chunk({}, "error")])
    assert kinds(events)[-2:] == ["failed", "error"]
    assert events[-2]["response"]["usage"]["cost"] == 0.000001234
    assert (await whole({"content": "Hel"}, "error"))["status"] == "failed"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Problem(429, "x", {}), "rate_limit_exceeded"),
        (Problem(402, "x", {}), "insufficient_quota"),
        (Problem(400, "x", {}), "invalid_prompt"),
        (Problem(400, "x", {"provider_code": "context_length_exceeded"}), "context_length_exceeded"),
        (Problem(504, "x", {}), "server_error"),
    ],
)
async def test_the_code_of_a_failure_is_in_the_words_of_this_api(problem: Problem, code: str) -> None:
    reply, client = reply_of(ResponsesStream)
    await reply.events([chunk({"content": "Hel"})])
    await reply.fail(problem, None)
    assert client.events[-2]["response"]["error"]["code"] == client.events[-1]["code"] == code


# What providers send that they should not


@pytest.mark.parametrize(
    "delta",
    [
        {"content": 5},
        {"content": {"a": 1}},
        {"content": [{"type": "text"}, 7, None]},
        {"reasoning": ["x", 1], "reasoning_details": "x"},
        {"reasoning_details": [None, 1, {"type": 5}, {"type": "reasoning.text", "text": 7}]},
        {"tool_calls": "x"},
        {
            "tool_calls": [
                None,
                1,
                {},
                {"function": "x"},
                {"function": {}},
                {"function": {"name": 5}},
                {"index": [], "function": {"name": ""}},
            ]
        },
        {"refusal": {}},
    ],
)
async def test_rubbish_is_left_out(delta: dict[str, Any]) -> None:
    put_together(await streamed([chunk(delta), chunk({"content": "So."}, "stop")], **ENCRYPTED))
    await whole({**delta, "role": "assistant"}, **ENCRYPTED)


async def test_text_in_parts_is_text() -> None:
    assert said((await whole({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}))["output"][0]) == "Hello"


async def test_calls_that_all_have_index_0_are_told_apart_by_their_ids() -> None:
    events = await streamed([chunk({"tool_calls": [{"index": 0, **call}]}) for call in CALLS])
    output = from_pieces(events)
    assert [(item["call_id"], item["name"]) for item in output] == [("call_1", "weather"), ("call_2", "clock")]


async def test_a_call_without_arguments_or_id_can_still_be_made() -> None:
    events = await streamed([chunk({"tool_calls": [{"index": 0, "function": {"name": "now"}}]}), chunk({}, "tool_calls")])
    (call,) = from_pieces(events)
    assert (call["arguments"], call["name"], bool(call["call_id"])) == ("{}", "now", True)
    (call,) = (await whole({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}))["output"]
    assert call["arguments"] == '{"a":1}'


async def test_another_choice_than_the_first_is_not_shown() -> None:
    events = await streamed([chunk({"content": "no"}, index=1), chunk({"content": "yes"}), chunk({}, "stop"), chunk({}, "length", index=1)])
    assert said(events[-1]["response"]["output"][0]) == "yes"
    assert events[-1]["type"] == "response.completed"
