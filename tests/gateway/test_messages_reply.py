"""How an answer is written for Anthropic's clients: events in order, the same message streamed and whole, and a cut that looks like one."""

import asyncio
import json
import time
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.messages_reply import MessagesJson, MessagesStream
from gateway.errors import Problem
from gateway.streaming import Writer

LABELS = {"id": "gen-1795-abc", "model": "acme/fast-1", "provider": "Acme"}
USAGE: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cost": 0.5,
    "hold": 1,
    "is_byok": False,
    "usage_source": "provider",
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 5},
    "cost_details": {"upstream_inference_cost": 0.5},
}
TROUBLE = Problem(502, "Provider failed.", {"error_type": "provider_unavailable"}, headers={"retry-after": "3"})


def event(part: dict[str, Any] | None = None, finish: str | None = None, **said: Any) -> dict[str, Any]:
    """A chunk as the pipeline labels it."""
    choice = {"index": 0, "delta": part or {}, "finish_reason": finish, "native_finish_reason": finish, **said}
    return {**LABELS, "choices": [choice]}


def call(index: int, arguments: str, *, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    head = {"id": id, "type": "function"} if id else {}
    return {"tool_calls": [{"index": index, **head, "function": {"arguments": arguments, **({"name": name} if name else {})}}]}


async def told(*events: dict[str, Any], stops: tuple[str, ...] = (), fails: Problem | None = None, **ended: Any) -> tuple[int, bytes]:
    """Status and body of a stream of these events, each in a batch of its own, and its end."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    reply = MessagesStream(Writer(send, request_id="req_1"), stops)
    for each in events:
        await reply.events([each])
    if fails is None:
        await reply.finish(USAGE, {**LABELS, "choices": []}, ended.get("trace"))
    else:
        await reply.fail(fails, ended.get("labels"))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def whole(message: dict[str, Any], finish: str | None = "stop", stops: tuple[str, ...] = (), **said: Any) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    reply = MessagesJson(Writer(send), stops)
    choice = {"index": 0, "message": message, "finish_reason": finish, "native_finish_reason": finish, **said}
    await reply.events([{**LABELS, "choices": [choice]}])
    await reply.finish(USAGE, {**LABELS, "choices": []}, None)
    found: dict[str, Any] = json.loads(sent[1]["body"])
    return found


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Each has its name in `event:` and in its data."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        head, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert head == f"event: {found[-1]['type']}"
    return found


def by_sdk(body: bytes) -> dict[str, Any]:
    """The message that Anthropic's SDK puts together from a stream."""
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    transport = httpx2.MockTransport(lambda request: response)
    with (
        anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "?"}]) as stream,
    ):
        return stream.get_final_message().to_dict()


def shape(events: list[dict[str, Any]]) -> list[str]:
    """`text+2`: a block of this type with two deltas."""
    blocks: dict[int, list[Any]] = {}
    for each in events:
        if each["type"] == "content_block_start":
            assert each["index"] == len(blocks)
            blocks[each["index"]] = [each["content_block"]["type"], 0, False]
        elif each["type"] == "content_block_delta":
            assert not blocks[each["index"]][2]
            blocks[each["index"]][1] += 1
        elif each["type"] == "content_block_stop":
            blocks[each["index"]][2] = True
    assert all(ended for _, _, ended in blocks.values())
    return [f"{kind}+{deltas}" for kind, deltas, _ in blocks.values()]


async def test_events_come_in_anthropics_order_and_the_last_two_know_the_usage() -> None:
    status, body = await told(event({"content": "He"}), event({"content": "llo"}), event(finish="stop"))
    events = events_of(body)
    assert status == 200
    assert [each["type"] for each in events] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    start, *_, delta, _ = events
    assert (start["message"]["id"], start["message"]["model"], start["message"]["content"]) == ("msg_1795abc", "acme/fast-1", [])
    assert (start["message"]["usage"]["input_tokens"], start["message"]["stop_reason"]) == (0, None)
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None, "container": None}
    usage = delta["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (10, 60, 30)
    assert (usage["output_tokens"], usage["output_tokens_details"], usage["cost"]) == (20, {"thinking_tokens": 5}, 0.5)


async def test_an_answer_of_nothing_is_a_message_without_content() -> None:
    _, body = await told()
    assert [each["type"] for each in events_of(body)] == ["message_start", "message_delta", "message_stop"]
    assert by_sdk(body)["content"] == []


async def test_a_trace_stands_in_the_last_event() -> None:
    _, body = await told(event({"content": "x"}), trace={"way": 1})
    assert events_of(body)[-1] == {"type": "message_stop", "tollway_trace": {"way": 1}}


async def test_thoughts_text_and_calls_are_blocks_of_their_own_and_signed_at_their_end() -> None:
    claude = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    _, body = await told(
        event({"role": "assistant", "content": ""}),
        event({"reasoning": "Let", "reasoning_details": [{**claude, "text": "Let"}]}),
        event({"reasoning": " me", "reasoning_details": [{**claude, "text": " me"}]}),
        event({"reasoning_details": [{**claude, "text": "", "signature": "c2ln"}]}),
        event({"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZGF0YQ==", "format": "anthropic-claude-v1", "index": 1}]}),
        event({"content": "Wait."}),
        event(call(0, "", id="call_1", name="weather")),
        event(call(0, '{"city":')),
        event(call(0, '"Bern"}')),
        event(finish="tool_calls"),
    )
    assert shape(events_of(body)) == ["thinking+3", "redacted_thinking+0", "text+1", "tool_use+2"]
    message = by_sdk(body)
    assert message["content"] == [
        {"type": "thinking", "thinking": "Let me", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Wait."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}},
    ]
    assert message["stop_reason"] == "tool_use"


async def test_each_thought_is_a_block_with_its_own_signature_wherever_it_comes() -> None:
    first, second, third = (
        {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": index, "text": str(index), "signature": f"of {index}"}
        for index in range(3)
    )
    pieces = [{"reasoning_details": [first]}, {"reasoning_details": [second]}, {"content": "x"}, {"reasoning_details": [third]}]
    _, body = await told(*map(event, pieces))
    thoughts = [(block["thinking"], block["signature"]) for block in by_sdk(body)["content"] if block["type"] == "thinking"]
    assert thoughts == [("0", "of 0"), ("1", "of 1"), ("2", "of 2")]
    assert shape(events_of(body)) == ["thinking+2", "thinking+2", "text+1", "thinking+2"]


async def test_calls_whose_pieces_interleave_come_one_after_the_other() -> None:
    _, body = await told(
        event(call(0, "", id="a", name="one")), event(call(1, "", id="b", name="two")), event(call(0, '{"x"')), event(call(1, '{"y":{')),
        event(call(0, ":1}")), event(call(1, "}}")), event(finish="tool_calls"),
    )  # fmt: skip
    assert shape(events_of(body)) == ["tool_use+2", "tool_use+2"]
    assert [block["input"] for block in by_sdk(body)["content"]] == [{"x": 1}, {"y": {}}]


async def test_a_call_ends_as_soon_as_the_next_one_begins() -> None:
    """So that a client can run it while the others are still being written."""
    _, body = await told(event(call(0, '{"x":1}', id="a", name="one")), event(call(1, "", id="b", name="two")), fails=TROUBLE)
    kinds = [each["type"] for each in events_of(body)]
    assert kinds == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "content_block_start", "error",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "{}", id="a", name="one"), call(0, "{}", id="b", name="two")],
        [{"tool_calls": [{"id": "a", "function": {"name": "one", "arguments": {}}}, {"id": "b", "function": {"name": "two"}}]}],
        [call(0, "", id="a", name="one"), call(1, "", id="b", name="two"), {"content": ""}],
        [call(1, "", id="a"), {"tool_calls": [{"index": 1, "function": {"name": "one"}}]}, call(2, "{}", id="b", name="two")],
    ],
    ids=["all-numbered-0", "no-numbers", "no-arguments", "name-later"],
)
async def test_odd_ways_to_number_calls_are_understood(pieces: list[dict[str, Any]]) -> None:
    _, body = await told(*map(event, pieces), event(finish="tool_calls"))
    content = by_sdk(body)["content"]
    assert [(block["id"], block["name"], block["input"]) for block in content] == [("a", "one", {}), ("b", "two", {})]


async def test_text_after_calls_waits_for_none_of_them() -> None:
    _, body = await told(event(call(0, '{"x"', id="a", name="one")), event(call(1, "{}", id="b", name="two")), event({"content": "So."}))
    assert shape(events_of(body)) == ["tool_use+1", "tool_use+1", "text+1"]


@pytest.mark.parametrize(
    ("finish", "native", "said", "reason", "sequence"),
    [
        ("stop", "stop", {}, "end_turn", None),
        ("length", "length", {}, "max_tokens", None),
        ("length", "model_context_window_exceeded", {}, "model_context_window_exceeded", None),
        ("stop", "pause_turn", {}, "pause_turn", None),
        ("tool_calls", "tool_use", {}, "tool_use", None),
        ("content_filter", "SAFETY", {}, "refusal", None),
        ("stop", "stop_sequence", {}, "stop_sequence", None),
        ("stop", "stop_sequence", {"stop_sequence": "END"}, "stop_sequence", "END"),
        ("stop", "stop", {"stop_reason": "END"}, "stop_sequence", "END"),
        ("stop", "stop", {"stop_reason": 128001}, "end_turn", None),
        ("error", "malformed_function_call", {}, "refusal", None),
        (None, None, {}, "end_turn", None),
    ],
)
async def test_the_reason_is_anthropics(
    finish: str | None, native: str | None, said: dict[str, Any], reason: str, sequence: str | None
) -> None:
    given = {"native_finish_reason": native, **said}
    found = await whole({"content": "x"}, finish, ("END", "FIN"), **given)
    _, body = await told(event({"content": "x"}), event(finish=finish, **given), stops=("END", "FIN"))
    streamed = by_sdk(body)
    assert [(each["stop_reason"], each["stop_sequence"]) for each in (found, streamed)] == [(reason, sequence)] * 2
    assert found["stop_details"] == streamed["stop_details"]
    assert (found["stop_details"] is not None) == (finish == "error")


async def test_one_stop_sequence_needs_no_telling_which() -> None:
    found = await whole({"content": "x"}, "stop", ("END",), native_finish_reason="stop_sequence")
    assert found["stop_sequence"] == "END"


async def test_calls_mean_tool_use_and_a_refusal_refusal_whatever_the_reason_says() -> None:
    calls = [{"id": "a", "function": {"name": "one", "arguments": "{}"}}]
    assert (await whole({"tool_calls": calls}))["stop_reason"] == "tool_use"
    refused = await whole({"refusal": "I cannot."})
    assert (refused["stop_reason"], refused["content"]) == ("refusal", [{"type": "text", "text": "I cannot."}])


async def test_arguments_that_are_no_object_stay_readable() -> None:
    found = await whole({"tool_calls": [{"id": "a", "function": {"name": "one", "arguments": '{"x":'}}]}, "length")
    assert found["content"][0]["input"] == {"INVALID_JSON": '{"x":'}


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"), (403, "permission_error"),
        (404, "not_found_error"), (408, "timeout_error"), (409, "invalid_request_error"), (413, "request_too_large"),
        (422, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"), (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)  # fmt: skip
async def test_before_the_answer_an_error_has_its_status_and_anthropics_type(status: int, kind: str) -> None:
    found, body = await told(fails=Problem(status, "No.", {"error_type": "x"}, "model"))
    assert found == status
    assert json.loads(body) == {
        "type": "error", "error": {"type": kind, "message": "No.", "error_type": "x"}, "metadata": {"error_type": "x", "param": "model"},
        "request_id": "req_1",
    }  # fmt: skip


async def test_a_cut_stream_ends_with_an_error_that_says_what_it_cost_and_never_with_a_stop() -> None:
    status, body = await told(event({"content": "x"}), fails=TROUBLE, labels={**LABELS, "choices": [], "usage": USAGE})
    events = events_of(body)
    assert status == 200
    assert events[-1]["error"] == {"type": "api_error", "message": "Provider failed.", "error_type": "provider_unavailable"}
    assert events[-1]["usage"]["cost"] == 0.5
    assert not {"message_delta", "message_stop", "content_block_stop"} & {each["type"] for each in events}
    with pytest.raises(anthropic.APIStatusError, match="Provider failed"):
        by_sdk(body)


async def test_a_prompt_that_is_too_long_is_said_in_the_words_that_claude_code_knows() -> None:
    for message, said in (("Too much.", "prompt is too long: Too much."), ("Prompt is too long.", "Prompt is too long.")):
        _, body = await told(fails=Problem(400, message, {"error_type": "context_length_exceeded"}))
        assert json.loads(body)["error"]["message"] == said


# Streamed and whole are the same

WORDS = st.text('ab {}"\\é漢', min_size=1, max_size=12)
DETAIL = st.builds(
    lambda text, signature: {"text": text, "signature": signature, "type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0},
    WORDS, WORDS,
)  # fmt: skip
ARGUMENTS = st.dictionaries(WORDS, WORDS | st.integers() | st.dictionaries(WORDS, st.none(), max_size=2), max_size=3).map(json.dumps)
MESSAGES = st.fixed_dictionaries(
    {"content": st.none() | WORDS},
    optional={
        "reasoning_content": WORDS,
        "reasoning_details": st.lists(DETAIL, min_size=1, max_size=1),
        "tool_calls": st.lists(st.builds(lambda text: {"function": {"name": "f", "arguments": text}}, ARGUMENTS), max_size=3),
    },
)


def cut(message: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The deltas of a message, each of `size` characters; the calls' pieces interleave."""
    deltas: list[dict[str, Any]] = []
    for detail in message.get("reasoning_details", ()):
        same = {name: detail[name] for name in ("type", "format", "index")}
        deltas += [{"reasoning_details": [{**same, "text": text}]} for text in pieces(detail["text"], size)]
        deltas.append({"reasoning_details": [{**same, "signature": detail["signature"]}]})
    if not message.get("reasoning_details"):
        deltas += [{"reasoning_content": text} for text in pieces(message.get("reasoning_content") or "", size)]
    deltas += [{"content": text} for text in pieces(message["content"] or "", size)]
    calls = [(index, pieces(each["function"]["arguments"], size)) for index, each in enumerate(message.get("tool_calls", ()))]
    deltas += [call(index, "", id=f"call_{index}", name="f") for index, _ in calls]
    for turn in range(max((len(texts) for _, texts in calls), default=0)):
        deltas += [call(index, texts[turn]) for index, texts in calls if turn < len(texts)]
    return deltas


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@given(MESSAGES, st.integers(1, 7))
def test_a_streamed_message_is_the_whole_one_however_it_was_cut(message: dict[str, Any], size: int) -> None:
    numbered = [{**each, "id": f"call_{index}"} for index, each in enumerate(message.get("tool_calls", ()))]
    given = {**message, "tool_calls": numbered} if numbered else message
    said = asyncio.run(whole(given))
    _, body = asyncio.run(told(*map(event, cut(given, size)), event(finish="stop")))
    shape(events_of(body))
    streamed = by_sdk(body)
    assert streamed["content"] == said["content"]
    assert (streamed["id"], streamed["stop_reason"]) == (said["id"], said["stop_reason"])


async def test_an_event_costs_little() -> None:
    """Far below the 30 us over a chat that an event may cost; the bound is wide, for a machine that does other things."""
    reply = MessagesStream(Writer(_nowhere))
    events = [event({"content": " word"}) for _ in range(2000)]
    began = time.process_time()
    for each in events:
        await reply.events([each])
    assert (time.process_time() - began) / len(events) < 100e-6


async def _nowhere(message: dict[str, Any]) -> None:
    pass
