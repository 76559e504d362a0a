"""What the tests of Responses answers share: replies that write to a client that keeps it, and ways to put the events together."""

import base64
import json
from typing import Any

from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.api import responses_body
from gateway.api.responses_reply import ResponsesJson, ResponsesStream
from gateway.errors import Problem
from gateway.receipt import usage_object
from gateway.streaming import Writer
from metering.price import Cost
from metering.usage import Usage

ID = "gen-1700000000-abcdefghij0123456789"
LABELS = {"id": ID, "created": 1_700_000_000, "model": "acme/fast-1", "provider": "Acme Cloud", "system_fingerprint": None}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
BODY = {"model": "acme/fast-1", "input": "Hello", "instructions": "Be brief.", "temperature": 0.5, "tools": [TOOL], "metadata": {"a": "b"}}
USAGE = usage_object(
    Usage(prompt=5, cached_prompt=2, completion=3, reasoning=4), Cost(0, 0, 0, ()), charge=1_234, held=9_000, source="provider"
)
BROKEN = Problem(502, "Provider failed: it hung up.", {"error_type": "provider_unavailable"})
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ENCRYPTED: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}

TEXT = {"type": "reasoning.text", "format": "f", "index": 0}
THOUGHT: list[dict[str, Any]] = [
    {"reasoning": "Let", "reasoning_details": [{**TEXT, "text": "Let"}]},
    {"reasoning": " me", "reasoning_details": [{**TEXT, "text": " me"}]},
    {"reasoning_details": [{**TEXT, "signature": "sig"}]},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "opaque", "format": "f", "index": 1}]},
]
DETAILS: list[dict[str, Any]] = [
    {"type": "reasoning.text", "text": "Let me", "signature": "sig", "format": "f", "index": 0},
    {"type": "reasoning.encrypted", "data": "opaque", "format": "f", "index": 1},
]
CALLS: list[dict[str, Any]] = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich 漢 😀"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
]


class Client:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def complete(self) -> bool:
        return self.messages[-1].get("more_body") is False

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = [block.split("\n") for block in self.body.decode().split("\n\n") if block]
        events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
        assert [name.removeprefix("event: ") for name, _ in blocks] == [event["type"] for event in events]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        return events


def chunk(delta: dict[str, Any], reason: str | None = None, logprobs: object = None, index: int = 0) -> dict[str, Any]:
    return {**LABELS, "choices": [{"index": index, "delta": delta, "finish_reason": reason, "logprobs": logprobs}]}


def reply_of(kind: type[Any], **fields: object) -> tuple[Any, Client]:
    client = Client()
    _, echo = responses_body.parse(json.dumps({**BODY, **fields}).encode())
    return kind(Writer(client.send, [(b"x-generation-id", ID.encode())]), echo), client


async def streamed(chunks: list[dict[str, Any]], **fields: object) -> list[dict[str, Any]]:
    """One batch per chunk, then the end."""
    reply, client = reply_of(ResponsesStream, **fields)
    for each in chunks:
        await reply.events([each])
    await reply.finish(USAGE, {**LABELS, "choices": []}, None)
    assert client.complete
    return client.events


async def whole(message: dict[str, Any], reason: str = "stop", logprobs: object = None, **fields: object) -> dict[str, Any]:
    reply, client = reply_of(ResponsesJson, **fields)
    await reply.events([{**LABELS, "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": logprobs}]}])
    await reply.finish(USAGE, {**LABELS, "choices": []}, None)
    assert (client.status, client.complete) == (200, True)
    Response.model_validate_json(client.body, strict=True)
    return dict(json.loads(client.body))


def put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """By the accumulator of OpenAI's SDK, after each event was held against its strict type."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        EVENT.validate_json(json.dumps(event), strict=True)
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=event))  # type: ignore[arg-type]
    completed = state._completed_response
    assert completed is not None
    return dict(json.loads(completed.to_json(exclude_unset=True)))


def from_pieces(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output items out of nothing but the first and the last word on each, and the deltas between them."""
    items: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, place = event["type"], event.get("output_index", -1)
        if kind == "response.output_item.added":
            assert place == len(items)
            items[place] = {"added": event["item"], "said": "", "done": None}
        elif kind.endswith(".delta"):
            assert event["item_id"] == items[place]["added"]["id"]
            assert items[place]["done"] is None
            items[place]["said"] += event["delta"]
        elif kind == "response.output_item.done":
            items[place]["done"] = event["item"]
    for item in items.values():
        assert item["said"] == said(item["done"])
        assert (item["added"]["id"], item["added"]["type"]) == (item["done"]["id"], item["done"]["type"])
    return [item["done"] for item in items.values()]


def said(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    parts: list[dict[str, str]] = item["content"] if item["type"] == "message" else item["summary"]
    return "".join(part.get("text") or part["refusal"] for part in parts)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def plain(value: Any) -> Any:
    """Without what the SDK adds and the time of the end; what is sealed is opened, for its fields have no order."""
    if isinstance(value, str) and value.startswith("tw1."):
        return json.loads(base64.urlsafe_b64decode(value[4:]))
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name not in ("parsed", "parsed_arguments", "completed_at")}
    return [plain(each) for each in value] if isinstance(value, list) else value
