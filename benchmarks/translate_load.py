"""The requests of each client API and the answers of each dialect that `translate` measures: the same words in all."""

import itertools
import json
from collections.abc import Callable
from typing import Any, Final

from gateway.api import chat, completions, embeddings, messages, responses
from gateway.api.inference import ClientApi
from tests.fakes.bedrock_frames import event as frame

DIALECTS: Final = ("openai", "anthropic", "gemini", "bedrock")
VECTORS: Final = ("openai", "gemini", "bedrock")
API: Final[dict[str, ClientApi]] = {
    "chat": chat.API,
    "completions": completions.API,
    "responses": responses.API,
    "messages": messages.API,
    "embeddings": embeddings.API,
}
APIS: Final = tuple(API)
DIMENSIONS: Final = 256
SYSTEM, QUESTION = "You are brief and kind. " * 8, "Which of the three reports names the harbour's northern quay, and why? " * 8
PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
ARGUMENTS, RESULT = {"city": "Zürich", "days": 3}, "Twelve degrees, a light wind from the west, and rain towards the evening."
PLACES: Final = (0, 1)


def asked(api: str, *, stream: bool) -> bytes:
    """A conversation of four turns with a tool, two parallel calls and their results; one text where the API knows no more."""
    body = {"chat": _chat, "responses": _responses, "messages": _messages}.get(api, dict)()
    if api == "completions":
        body = {"prompt": SYSTEM + QUESTION}
    if api == "embeddings":
        return json.dumps({"model": "a/b", "input": QUESTION}).encode()
    limit = "max_output_tokens" if api == "responses" else "max_tokens"
    return json.dumps({"model": "a/b", "stream": stream, "temperature": 0.5, limit: 800, **body}).encode()


def _chat() -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps(ARGUMENTS)}
    calls = [{"id": f"call_{place}", "type": "function", "function": function} for place in PLACES]
    results = [{"role": "tool", "tool_call_id": f"call_{place}", "content": RESULT} for place in PLACES]
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    tool = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}}
    return {"messages": [*turns, {"role": "assistant", "content": "Wait.", "tool_calls": calls}, *results], "tools": [tool]}


def _responses() -> dict[str, Any]:
    called = [
        {"type": "function_call", "call_id": f"call_{place}", "name": "weather", "arguments": json.dumps(ARGUMENTS)} for place in PLACES
    ]
    results = [{"type": "function_call_output", "call_id": f"call_{place}", "output": RESULT} for place in PLACES]
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Wait."}]
    tool = {"type": "function", "name": "weather", "description": "The weather.", "parameters": PARAMETERS}
    return {"instructions": SYSTEM, "input": [*turns, *called, *results], "tools": [tool]}


def _messages() -> dict[str, Any]:
    uses = [{"type": "tool_use", "id": f"call_{place}", "name": "weather", "input": ARGUMENTS} for place in PLACES]
    results = [{"type": "tool_result", "tool_use_id": f"call_{place}", "content": RESULT} for place in PLACES]
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": [{"type": "text", "text": "Wait."}, *uses]}]
    tool = {"name": "weather", "description": "The weather.", "input_schema": PARAMETERS}
    return {"system": SYSTEM, "messages": [*turns, {"role": "user", "content": results}], "tools": [tool]}


def stream(dialect: str, events: int) -> list[bytes]:
    """Text events of five characters, each in a read of its own, between what the provider says before and after."""
    return {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini, "bedrock": _bedrock}[dialect](events)


def answer(dialect: str, api: str) -> bytes:
    """The same said whole."""
    said = "word " * 40
    if api == "embeddings":
        return json.dumps(_vectors(dialect)).encode()
    wholes: dict[str, Callable[[], Any]] = {
        "openai": lambda: {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130},
        },
        "anthropic": lambda: {
            **_MESSAGE,
            "content": [{"type": "text", "text": said}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 90, "output_tokens": 40},
        },
        "gemini": lambda: {**_candidate(said, "STOP"), "usageMetadata": _COUNTS},
        "bedrock": lambda: {
            "output": {"message": {"role": "assistant", "content": [{"text": said}]}},
            "stopReason": "end_turn",
            "usage": _USED,
            "metrics": {"latencyMs": 9},
        },
    }
    return json.dumps(wholes[dialect]()).encode()


_MESSAGE: Any = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
_COUNTS: Any = {"promptTokenCount": 90, "candidatesTokenCount": 40, "totalTokenCount": 130}
_USED: Any = {"inputTokens": 90, "outputTokens": 40, "totalTokens": 130}


def _vectors(dialect: str) -> Any:
    vector = [number / 997 for number in range(DIMENSIONS)]
    if dialect == "gemini":
        return {"embeddings": [{"values": vector}], "usageMetadata": {"promptTokenCount": 9}}
    if dialect == "bedrock":
        return {"embedding": vector, "inputTextTokenCount": 9}
    return {"object": "list", "data": [{"index": 0, "embedding": vector}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}


def _sse(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _openai(events: int) -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    usage = _sse({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130}})
    said = [chunk({"content": "word "})] * events
    return [chunk({"role": "assistant", "content": ""}), *said, chunk({}, "stop"), usage, b"data: [DONE]\n\n"]


def _anthropic(events: int) -> list[bytes]:
    def told(**fields: Any) -> bytes:
        return _sse(fields, fields["type"])

    usage = {"input_tokens": 90, "output_tokens": 1}
    start = told(type="message_start", message={**_MESSAGE, "content": [], "stop_reason": None, "usage": usage})
    begin = told(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
    said = [told(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})] * events
    change = told(type="message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 40})
    return [start, begin, *said, told(type="content_block_stop", index=0), change, told(type="message_stop")]


def _candidate(text: str, finish: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "mAitaLmkHPPlz7IP"}


def _gemini(events: int) -> list[bytes]:
    last = {**_candidate("", "STOP"), "usageMetadata": _COUNTS}
    return [*([_sse({**_candidate("word "), "usageMetadata": _COUNTS})] * events), _sse(last)]


def _bedrock(events: int) -> list[bytes]:
    said = [frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "word "}, "p": "abcdefgh"})] * events
    stop, used = frame("messageStop", {"stopReason": "end_turn"}), frame("metadata", {"usage": _USED, "metrics": {"latencyMs": 9}})
    return list(
        itertools.chain(
            [frame("messageStart", {"role": "assistant"})], said, [frame("contentBlockStop", {"contentBlockIndex": 0})], [stop, used]
        )
    )
