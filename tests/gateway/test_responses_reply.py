"""A Responses answer as the client sees it: the events in OpenAI's order, put together by OpenAI's own code, and the same in one piece."""

import json
from typing import Any

import pytest

from gateway.api import responses_body
from gateway.api.responses_reply import ResponsesStream
from tests.gateway.responses_told import (
    BODY,
    CALLS,
    DETAILS,
    ENCRYPTED,
    ID,
    LABELS,
    THOUGHT,
    TOOL,
    USAGE,
    chunk,
    from_pieces,
    kinds,
    plain,
    put_together,
    reply_of,
    said,
    streamed,
    whole,
)

# Order


async def test_text_is_told_in_openai_s_order() -> None:
    events = await streamed(
        [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")]
    )
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert (events[0]["response"]["status"], events[0]["response"]["output"], events[0]["response"]["usage"]) == ("in_progress", [], None)
    assert events[6]["text"] == "Hello"
    assert from_pieces(events) == events[-1]["response"]["output"]


async def test_reasoning_text_and_interleaved_calls_are_told_in_openai_s_order() -> None:
    one, two = ({"index": number, **CALLS[number]} for number in range(2))
    pieces = [
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "function": {"arguments": '{"b"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
        {"index": 1, "function": {"arguments": ":2}"}},
    ]
    named = [{**call, "function": {"name": call["function"]["name"], "arguments": ""}} for call in (one, two)]
    chunks = [chunk({"reasoning": "Hm"}), chunk({"content": "Let me look."}), *(chunk({"tool_calls": [each]}) for each in named)]
    chunks += [chunk({"tool_calls": [piece]}) for piece in pieces]
    events = await streamed([*chunks, chunk({}, "tool_calls")])
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "output_item.added", *["function_call_arguments.delta"] * 4),
        *(["function_call_arguments.done", "output_item.done"] * 2),
        "completed",
    ]
    output = events[-1]["response"]["output"]
    assert from_pieces(events) == output
    assert [(item["type"], item["status"]) for item in output] == [
        *(("reasoning", "completed"), ("message", "completed"), ("function_call", "completed"), ("function_call", "completed")),
    ]
    assert [item["arguments"] for item in output[2:]] == ['{"a":1}', '{"b":2}']
    assert len({item["id"] for item in output}) == 4


async def test_a_refusal_is_a_part_of_its_own() -> None:
    events = await streamed([chunk({"content": "Well."}), chunk({"refusal": "I "}), chunk({"refusal": "cannot."}), chunk({}, "stop")])
    assert kinds(events)[4:-2] == [
        *("output_text.delta", "output_text.done", "content_part.done"),
        *("content_part.added", "refusal.delta", "refusal.delta", "refusal.done", "content_part.done"),
    ]
    (message,) = events[-1]["response"]["output"]
    assert message["content"][1] == {"type": "refusal", "refusal": "I cannot."}
    assert put_together(events)["output"][0]["content"][1]["refusal"] == "I cannot."


async def test_text_that_goes_on_after_a_call_is_another_message() -> None:
    call = {"index": 0, **CALLS[0]}
    events = await streamed([chunk({"content": "One"}), chunk({"tool_calls": [call]}), chunk({"content": "Two"}), chunk({}, "stop")])
    assert [item["type"] for item in from_pieces(events)] == ["message", "function_call", "message"]
    put_together(events)


# The same in one piece


@pytest.mark.parametrize("fields", [{}, ENCRYPTED], ids=["plain", "encrypted"])
@pytest.mark.parametrize("many", [True, False], ids=["a batch each", "one batch"])
async def test_the_stream_put_together_is_the_answer_in_one_piece(fields: dict[str, Any], many: bool) -> None:
    text = "Hello é 漢 😀 wörld, again."
    calls = [{"index": number, **call} for number, call in enumerate(CALLS)]
    deltas = [*THOUGHT, *({"content": piece} for piece in text), *({"tool_calls": [call]} for call in calls)]
    chunks = [*(chunk(delta) for delta in deltas), chunk({}, "tool_calls")]
    if not many:
        reply, client = reply_of(ResponsesStream, **fields)
        await reply.events(chunks)
        await reply.finish(USAGE, {**LABELS, "choices": []}, None)
        events = client.events
    else:
        events = await streamed(chunks, **fields)
    message = {"role": "assistant", "content": text, "reasoning": "Let me", "reasoning_details": DETAILS, "tool_calls": CALLS}
    once = await whole(message, "tool_calls", **fields)
    together = put_together(events)
    assert plain(together) == plain(once)
    assert plain(from_pieces(events)) == plain(once["output"])
    assert [item["type"] for item in once["output"]] == ["reasoning", "message", "function_call", "function_call"]


async def test_the_object_says_what_was_asked_who_answered_and_what_it_cost() -> None:
    answer = await whole({"role": "assistant", "content": "Hello"})
    assert (answer["id"], answer["object"], answer["created_at"], answer["status"]) == (ID, "response", 1_700_000_000, "completed")
    assert (answer["model"], answer["provider"], answer["store"], answer["previous_response_id"]) == (
        "acme/fast-1",
        "Acme Cloud",
        False,
        None,
    )
    assert (answer["instructions"], answer["temperature"], answer["top_p"], answer["metadata"]) == ("Be brief.", 0.5, None, {"a": "b"})
    assert (answer["tools"], answer["tool_choice"], answer["parallel_tool_calls"]) == ([{**TOOL, "description": None}], "auto", True)
    assert (answer["text"], answer["truncation"]) == ({"format": {"type": "text"}}, "disabled")
    assert (answer["error"], answer["incomplete_details"]) == (None, None)
    assert answer["output"][0]["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    usage = answer["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 7, 14)
    assert usage["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 4}
    assert (usage["cost"], usage["hold"], usage["is_byok"]) == (0.000001234, 0.000009, False)
    assert usage["cost_details"].keys() == {f"upstream_inference_{kind}cost" for kind in ("", "input_", "output_")}


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
async def test_the_finish_reason_is_the_status(reason: str, status: str, details: object) -> None:
    events = await streamed([chunk({"content": "Hel"}), chunk({}, reason)])
    last = events[-1]
    assert (last["type"], last["response"]["status"], last["response"]["incomplete_details"]) == (f"response.{status}", status, details)
    assert last["response"]["output"][0]["status"] == status
    assert last["response"]["usage"]["cost"] == 0.000001234
    assert (await whole({"content": "Hel"}, reason))["status"] == status


async def test_logprobs_are_complete_for_the_sdks() -> None:
    one, two = (
        {"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "x", "logprob": -1.0}]} for token in ("Hel", "lo")
    )
    events = await streamed([chunk({"content": "Hel"}, None, {"content": [one]}), chunk({"content": "lo"}, "stop", {"content": [two]})])
    (message,) = events[-1]["response"]["output"]
    assert [entry["token"] for entry in message["content"][0]["logprobs"]] == ["Hel", "lo"]
    assert message["content"][0]["logprobs"][0]["top_logprobs"][0]["bytes"] == []
    put_together(events)


async def test_an_answer_of_nothing_has_no_items() -> None:
    assert (await whole({"content": None}))["output"] == []
    assert kinds(await streamed([chunk({"content": ""}, "stop")])) == ["created", "in_progress", "completed"]
    assert kinds(await streamed([])) == ["created", "in_progress", "completed"]


# Reasoning


async def test_reasoning_is_encrypted_only_where_that_was_asked_for() -> None:
    (shown,) = (await whole({"reasoning": "Let me", "reasoning_details": DETAILS}))["output"]
    assert shown == {"id": shown["id"], "type": "reasoning", "status": "completed", "summary": [{"type": "summary_text", "text": "Let me"}]}
    assert (await whole({"reasoning_details": DETAILS[1:]}))["output"] == []
    (hidden,) = (await whole({"reasoning_details": DETAILS[1:]}, **ENCRYPTED))["output"]
    assert (hidden["summary"], hidden["encrypted_content"][:4]) == ([], "tw1.")


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning": "Let me", "reasoning_details": DETAILS},
        {"reasoning_details": DETAILS},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": text} for text in ("One.", "Two.")]},
        {"reasoning": "plain"},
        {"reasoning_content": "DeepSeek's name for it"},
    ],
)
async def test_reasoning_comes_back_as_the_provider_gave_it(message: dict[str, Any]) -> None:
    """What a chat client would send back: the details, or the text under its own name where there are none."""
    output = (await whole({"content": "So.", **message}, **ENCRYPTED))["output"]
    request, _ = responses_body.parse(json.dumps({**BODY, "input": [*output, {"role": "user", "content": "Go on."}]}).encode())
    _, assistant, _ = request.body.reveal()["messages"]
    back = {"reasoning_details": message["reasoning_details"]} if "reasoning_details" in message else message
    assert assistant == {"role": "assistant", "content": "So.", **back}


async def test_two_signed_thoughts_of_a_stream_stay_two() -> None:
    pieces = [("One", None), (".", None), (None, "sig 1"), ("Two.", None), (None, "sig 2")]
    chunks = [chunk({"reasoning_details": [{"type": "reasoning.text", "text": text, "signature": sign}]}) for text, sign in pieces]
    thought, _ = (await streamed([*chunks, chunk({"content": "So."}, "stop")], **ENCRYPTED))[-1]["response"]["output"]
    two = [{"type": "reasoning.text", "text": text, "signature": sign} for text, sign in (("One.", "sig 1"), ("Two.", "sig 2"))]
    assert plain(thought["encrypted_content"]) == {"reasoning_details": two}
    assert said(thought) == "One.Two."


async def test_streamed_reasoning_comes_back_whole_even_when_its_end_comes_late() -> None:
    call = chunk({"tool_calls": [{"index": 0, **CALLS[0]}]})
    *first, last = (chunk(delta) for delta in THOUGHT)
    output = (await streamed([*first, call, last, chunk({}, "tool_calls")], **ENCRYPTED))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call", "reasoning"]
    answer = {"type": "function_call_output", "call_id": "call_1", "output": "12"}
    request, _ = responses_body.parse(json.dumps({**BODY, "input": [*output, answer]}).encode())
    _, assistant, tool = request.body.reveal()["messages"]
    assert assistant == {"role": "assistant", "content": None, "tool_calls": CALLS[:1], "reasoning_details": DETAILS}
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "12"}
