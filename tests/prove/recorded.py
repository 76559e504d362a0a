"""What the parser fuzz starts from: streams, whole answers and refusals of every dialect, and valid requests of every client API."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from metering.price import Price
from providers.content import Content
from providers.provider import Call, ChatRequest, Endpoint, Model, Provider
from tests.fakes.bedrock_frames import message
from tests.gateway import responses_asked
from tests.gateway.test_messages_body import CACHE, PNG, USE, WEATHER
from tests.providers import anthropic_answers, test_bedrock, test_gemini, test_openai

SONNET: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TITAN: Final = "amazon.titan-embed-text-v2:0"
BASES: Final = {"gemini": "https://example.com/v1beta", "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com"}
DIALECTS: Final = ("openai", "anthropic", "gemini", "bedrock")


@dataclass(frozen=True)
class Frame:
    """`data` is JSON or a word such as [DONE]; `name` stands beside it where the dialect has names."""

    data: bytes
    name: str = ""


@dataclass(frozen=True)
class Recorded:
    """`end`: the frame without which a stream must not end cleanly; None where the answer's status or text is an error anyway."""

    id: str
    call: Call
    frames: tuple[Frame, ...]
    join: Callable[[list[Frame]], bytes]
    end: int | None = None
    status: int = 200

    @property
    def dialect(self) -> str:
        return self.call.endpoint.provider.dialect

    def bytes(self) -> bytes:
        return self.join(list(self.frames))

    @property
    def end_at(self) -> int:
        """How many bytes a stream must have to be whole."""
        assert self.end is not None
        return len(self.join(list(self.frames[: self.end + 1])).rstrip(b"\r\n"))


def sse(frames: list[Frame]) -> bytes:
    return b"".join((f"event: {each.name}\n".encode() if each.name else b"") + b"data: " + each.data + b"\n\n" for each in frames)


def crlf(frames: list[Frame]) -> bytes:
    return b"".join(b"data: " + each.data + b"\r\n\r\n" for each in frames)


def event_stream(frames: list[Frame]) -> bytes:
    """Checksums are right, so that what is wrong inside gets past them. `!` before a name makes an exception."""
    told = b""
    for each in frames:
        kind = "exception" if each.name.startswith("!") else "event"
        name = each.name.removeprefix("!")[:255] or "x"
        told += message({f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}, each.data)
    return told


def plain(frames: list[Frame]) -> bytes:
    return b"".join(each.data for each in frames)


def call_of(dialect: str, *, stream: bool = True, n: int = 1, embeds: bool = False, model: str = "some-model") -> Call:
    body = {"model": "a/b", "input": ["a", "b"]} if embeds else {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], "n": n}
    request = ChatRequest(
        body=Content(body),
        operation="embeddings" if embeds else "chat",
        model="a/b",
        stream=stream,
        include_usage=False,
        max_tokens=None,
        n=n,
        prompt_tokens_max=10,
    )
    return asking(dialect, request, model)


def asking(dialect: str, request: ChatRequest, model: str = "some-model") -> Call:
    provider = Provider(slug="a", name="A", dialect=dialect, base_url=BASES.get(dialect, "https://example.com/v1"))
    made = Model(id="a/b", name="B", company="a", context_length=100_000)
    price = Price(prompt=1, completion=1)
    endpoint = Endpoint(
        id="a/a/b",
        model=made,
        provider=provider,
        upstream_model={"bedrock": TITAN if request.operation == "embeddings" else SONNET}.get(dialect, model),
        price=price,
        price_id=price.id,
        context_length=100_000,
        capabilities=frozenset({"text", "tools", "json_schema"}),
    )
    return Call(request=request, endpoint=endpoint, api_key="k:s" if dialect == "bedrock" else "k", max_tokens=800, generation_id="gen-1")


def answers() -> list[Recorded]:
    return [*_openai(), *_anthropic(), *_gemini(), *_bedrock(), *_refusals()]


def _frames(*events: Any) -> tuple[Frame, ...]:
    return tuple(Frame(each.encode() if isinstance(each, str) else msgspec.json.encode(each)) for each in events)


def _whole(id: str, call: Call, body: Any) -> Recorded:
    """A whole answer, also as the answer to a streamed request; torn, neither is one."""
    return Recorded(id, call, _frames(body), plain, end=0)


def _openai() -> Iterator[Recorded]:
    chunk, usage = test_openai.chunk, test_openai.USAGE
    calls = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}]
    more = [{"index": 0, "function": {"arguments": '{"city":"Zürich"}'}}]
    thought = {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "s", "index": 0}]}
    deltas = [{"role": "assistant", "content": ""}, thought, {"content": "Héllo 漢😀"}, {"tool_calls": calls}, {"tool_calls": more}]
    said = [{"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    streamed = call_of("openai")
    yield Recorded("openai tools", streamed, _frames(*said, chunk(finish="tool_calls"), usage, "[DONE]"), sse, end=5)
    yield Recorded("openai crlf", streamed, _frames(chunk("a"), chunk("b"), "[DONE]"), crlf, end=2)
    two = _frames(chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk(finish="stop", index=1), usage)
    yield Recorded("openai two choices", call_of("openai", n=2), two, sse, end=3)
    yield Recorded("openai error", streamed, _frames(chunk("a"), {"error": {"message": "no", "code": 429}}), sse)
    message = {**thought, "role": "assistant", "content": "Hi", "tool_calls": [{**calls[0], "function": {"name": "f", "arguments": "{}"}}]}
    whole = {"id": "c-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage["usage"]}
    yield _whole("openai whole", call_of("openai", stream=False), whole)
    yield _whole("openai whole for a stream", streamed, whole)
    data = [{"object": "embedding", "index": index, "embedding": [0.5, index]} for index in range(2)]
    vectors = {"object": "list", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    yield _whole("openai embeddings", call_of("openai", stream=False, embeds=True), vectors)


def _anthropic() -> Iterator[Recorded]:
    for name, events in anthropic_answers.RECORDED.items():
        frames = tuple(Frame(msgspec.json.encode(event), event["type"]) for event in events)
        yield Recorded(f"anthropic {name}", call_of("anthropic"), frames, sse, end=len(frames) - 1)
        yield _whole(f"anthropic whole {name}", call_of("anthropic", stream=False), anthropic_answers.whole(name))
    yield _whole("anthropic whole for a stream", call_of("anthropic"), anthropic_answers.whole("tools"))
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    begun = [Frame(msgspec.json.encode(event), str(event["type"])) for event in (anthropic_answers.start(), error)]
    yield Recorded("anthropic error", call_of("anthropic"), tuple(begun), sse)


def _gemini() -> Iterator[Recorded]:
    events = test_gemini.STREAM
    streamed = call_of("gemini", model="gemini-3-flash")
    finish = next(place for place, event in enumerate(events) if "finishReason" in event["candidates"][0])
    yield Recorded("gemini stream", streamed, _frames(*events), crlf, end=finish)
    whole = {**events[-1], "candidates": [{**events[-1]["candidates"][0], "finishReason": "STOP"}]}
    yield _whole("gemini whole", call_of("gemini", stream=False), whole)
    yield _whole("gemini list for a stream", streamed, [*events])
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    yield Recorded("gemini blocked", streamed, _frames(blocked), crlf)
    vectors = {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, 2]}], "usageMetadata": {"promptTokenCount": 4}}
    yield _whole("gemini embeddings", call_of("gemini", stream=False, embeds=True), vectors)


def _bedrock() -> Iterator[Recorded]:
    named = [next(iter(event.items())) for event in test_bedrock.STREAM]
    frames = tuple(Frame(msgspec.json.encode(fields), name) for name, fields in named)
    end = next(place for place, frame in enumerate(frames) if frame.name == "messageStop")
    yield Recorded("bedrock stream", call_of("bedrock"), frames, event_stream, end=end)
    broken = (Frame(b'{"role":"assistant"}', "messageStart"), Frame(b'{"message":"slow"}', "!throttlingException"))
    yield Recorded("bedrock exception", call_of("bedrock"), broken, event_stream)
    yield _whole("bedrock whole", call_of("bedrock", stream=False), test_bedrock.whole())
    yield _whole("bedrock whole for a stream", call_of("bedrock"), test_bedrock.whole())
    yield _whole("bedrock embeddings", call_of("bedrock", stream=False, embeds=True), {"embedding": [0.5, 1], "inputTextTokenCount": 3})


def _refusals() -> Iterator[Recorded]:
    google = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    bodies = {
        "openai": {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
        "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "no"}},
        "gemini": {"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED", "details": google}},
        "bedrock": {"__type": "ValidationException", "message": "Input is too long for requested model."},
    }
    for dialect, body in bodies.items():
        for status in (400, 429, 500):
            yield Recorded(f"{dialect} refusal {status}", call_of(dialect), _frames(body), plain, status=status)


def requests() -> dict[str, list[bytes]]:
    """By client API; `count` is messages/count_tokens."""
    user = {"role": "user", "content": "Hello"}
    chat: list[dict[str, Any]] = [{"messages": [user]}, {"messages": _turns(), **_settings()}]
    completions: list[dict[str, Any]] = [
        {"prompt": "Once upon"},
        {"prompt": ["Once upon"], "max_tokens": 9, "n": 2, "stop": ["."], "stream": True, "suffix": ""},
    ]
    embeddings: list[dict[str, Any]] = [{"input": "a"}, {"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64", "user": "u"}]
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hm."}]}
    image = {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": responses_asked.PIXEL}]}
    items = [responses_asked.USER, image, said, responses_asked.CALL, responses_asked.RESULT]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    schema = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}}
    tools = [responses_asked.TOOL, responses_asked.CLOCK]
    responses: list[dict[str, Any]] = [
        {"input": "Hello"},
        {"input": [*items, thought], "tools": tools, "text": schema, "stream": True, "reasoning": {"effort": "low"}, "instructions": "Be."},
    ]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "See"}, picture],
        "cache_control": CACHE,
    }
    thinking = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "So."}, USE]
    turns = [user, {"role": "assistant", "content": thinking}, {"role": "user", "content": [result, {"type": "text", "text": "Go."}]}]
    messages: list[dict[str, Any]] = [
        {"max_tokens": 9, "messages": [user]},
        {"max_tokens": 9, "messages": turns, "tools": [WEATHER], "system": [{"type": "text", "text": "S"}], "tool_choice": {"type": "any"}},
    ]
    bodies: dict[str, list[dict[str, Any]]] = {
        "chat": chat,
        "completions": completions,
        "embeddings": embeddings,
        "responses": responses,
        "messages": messages,
    }
    bodies["count"] = messages
    return {api: [json.dumps({"model": "a/b", **body}).encode() for body in each] for api, each in bodies.items()}


def _turns() -> list[dict[str, Any]]:
    url = {"url": f"data:image/png;base64,{PNG}"}
    parts = [{"type": "text", "text": "What?", "cache_control": CACHE}, {"type": "image_url", "image_url": url}]
    called = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}} for n in (1, 2)]
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": called, "reasoning_details": details},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "And?"},
    ]


def _settings() -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object", "properties": {}}}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    limits = {"max_tokens": 99, "temperature": 0.5, "top_p": 0.5, "top_k": 5, "stop": ["END"], "seed": 7, "stream": True}
    choice = {"tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning": {"effort": "low"}}
    return (
        {"tools": [tool], "response_format": schema, "provider": {"order": ["a"]}, "stream_options": {"include_usage": True}}
        | limits
        | choice
    )
