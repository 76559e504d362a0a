"""Recorded answers of the Messages API for tests, the dialect's reading of them, and what a client puts together from it."""

import asyncio
import json
from typing import Any

import msgspec

from providers.anthropic import AnthropicDialect
from providers.anthropic_events import Reader
from providers.errors import (
    ProviderError,
)
from providers.provider import Call, Event
from providers.sse import EventSplitter
from providers.wire import Bounds, Wire
from tests.providers.anthropic_sent import USER
from tests.providers.anthropic_sent import call as call_of
from tests.providers.test_openai import Server


def call(server: Server, *, stream: bool = True, **fields: Any) -> Call:
    """At the server's address, below a path of its own."""
    made, _ = call_of(USER, stream=stream, **fields)
    provider = msgspec.structs.replace(made.endpoint.provider, base_url=server.base_url.removesuffix("/v1") + "/proxy/")
    return msgspec.structs.replace(made, endpoint=msgspec.structs.replace(made.endpoint, provider=provider))


async def answer(server: Server, body: bytes | str | object, wanted: Call) -> list[Event]:
    """The events of one answer; nothing stays open."""
    server.body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    dialect = AnthropicDialect(Wire(Bounds()))
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()


def sse(*events: Any) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)


def start(**usage: Any) -> dict[str, Any]:
    figures = {"input_tokens": 25, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1, **usage}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude",
        "stop_reason": None,
        "usage": figures,
    }
    return {"type": "message_start", "message": {**message, "stop_sequence": None}}


def begin(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def grow(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def change(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 15, **usage}}


STOP: Any = {"type": "message_stop"}
PING: Any = {"type": "ping"}
TEXT = (
    start(),
    begin(0, "text", text=""),
    PING,
    grow(0, "text_delta", text="Héllo"),
    grow(0, "text_delta", text=" 漢😀"),
    end(0),
    change(),
    STOP,
)
TOOLS = (
    *(start(), begin(0, "text", text=""), grow(0, "text_delta", text="Okay."), end(0)),
    *(begin(1, "tool_use", id="toolu_1", name="get_weather", input={}), grow(1, "input_json_delta", partial_json="")),
    *(grow(1, "input_json_delta", partial_json='{"location":'), grow(1, "input_json_delta", partial_json=' "Zürich"}'), end(1)),
    *(begin(2, "tool_use", id="toolu_2", name="now", input={}), end(2), change("tool_use"), STOP),
)
THOUGHTS = (
    *(start(), begin(0, "thinking", thinking="", signature=""), grow(0, "thinking_delta", thinking="Let me")),
    *(grow(0, "thinking_delta", thinking=" think."), grow(0, "signature_delta", signature="EqQB"), end(0)),
    *(begin(1, "redacted_thinking", data="EmwK"), end(1), begin(2, "text", text=""), grow(2, "text_delta", text="27"), end(2)),
    *(change(output_tokens_details={"thinking_tokens": 9}), STOP),
)
RECORDED = {"text": TEXT, "tools": TOOLS, "thoughts": THOUGHTS}
BLOCKS: dict[str, list[dict[str, Any]]] = {
    "text": [{"type": "text", "text": "Héllo 漢😀"}],
    "tools": [
        {"type": "text", "text": "Okay."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Zürich"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ],
    "thoughts": [
        {"type": "thinking", "thinking": "Let me think.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "27", "citations": None},
    ],
}
REASONS = {"text": "end_turn", "tools": "tool_use", "thoughts": "end_turn"}


def whole(name: str, **more: Any) -> dict[str, Any]:
    usage = {**start()["message"]["usage"], "output_tokens": 15}
    if name == "thoughts":
        usage["output_tokens_details"] = {"thinking_tokens": 9}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": BLOCKS[name], "usage": usage}
    return {**message, "stop_reason": REASONS[name], "stop_sequence": None, **more}


def read(body: bytes, cuts: list[int]) -> list[Event]:
    reader, splitter, events = Reader(), EventSplitter(2**20), []
    for first, last in zip([0, *cuts], [*cuts, len(body)], strict=True):
        for frame in splitter.feed(body[first:last]):
            events += reader.read(frame)
    events += reader.last(splitter.rest())
    reader.check()
    assert reader.done
    return events


def joined(events: list[Event]) -> dict[str, Any]:
    """What a client puts together from a stream: the message, the reasons, the last usage."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "details": {}, "calls": {}}
    for choice in (choice for event in events for choice in event["choices"]):
        delta = choice.get("delta", {})
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning") or ""
        for detail in delta.get("reasoning_details", ()):
            kept = message["details"].setdefault(detail["index"], {**detail, "text": ""})
            kept |= {**detail, "text": kept["text"] + detail.get("text", "")}
        for made in delta.get("tool_calls", ()):
            kept = message["calls"].setdefault(made["index"], {"arguments": ""})
            kept |= {"id": made["id"], "name": made["function"]["name"]} if "id" in made else {}
            kept["arguments"] += made["function"]["arguments"]
        message |= {name: choice[name] for name in ("finish_reason", "native_finish_reason") if name in choice}
    return {**message, "usage": [event["usage"] for event in events if "usage" in event][-1], "id": events[0]["id"]}


async def until_it_broke(server: Server, body: str) -> tuple[list[Event], ProviderError]:
    """What came before the error, and the error."""
    events: list[Event] = []
    server.body = body.encode()
    dialect = AnthropicDialect(Wire(Bounds()))
    try:
        async for batch in dialect.stream(call(server)):
            events += batch
    except ProviderError as error:
        return events, error
    finally:
        await dialect.aclose()
    raise AssertionError("it did not break")


def parsed(message: dict[str, Any]) -> dict[str, Any]:
    """The arguments of its calls as what they say."""
    return {**message, "calls": [{**made, "arguments": json.loads(made["arguments"])} for _, made in sorted(message["calls"].items())]}
