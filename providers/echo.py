"""The wire dialect of the built-in demo provider: repeats what it is told, counted in real tokens, without network or key."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from metering.tokens import Piece
from providers.echo_answer import Answer, ToolCall, answer_to
from providers.echo_embeddings import embeddings_for
from providers.provider import Call, Event, Events

SECONDS_PER_TOKEN: Final = 0.01


def machine_clock() -> int:
    return int(time.time())


class EchoDialect:
    """`clock` gives Unix seconds. A streamed answer takes `seconds_per_token` per token, one that is not streamed no time."""

    def __init__(self, clock: Callable[[], int] = machine_clock, *, seconds_per_token: float = SECONDS_PER_TOKEN) -> None:
        self._clock = clock
        self._seconds_per_token = seconds_per_token

    async def stream(self, call: Call) -> Events:
        if call.request.operation == "embeddings":
            yield [await asyncio.to_thread(embeddings_for, call)]
            return
        answer = await asyncio.to_thread(answer_to, call)
        kind = "chat.completion.chunk" if call.request.stream else "chat.completion"
        frame = {"id": call.generation_id, "object": kind, "created": self._clock(), "model": call.endpoint.upstream_model}
        if not call.request.stream:
            yield [{**frame, "choices": _whole_choices(answer, call), "usage": _usage(answer, call)}]
            return
        for step in _steps(answer, call):
            for choice in step:
                yield [{**frame, "choices": [choice]}]
            await asyncio.sleep(self._seconds_per_token)
        yield [{**frame, "choices": [], "usage": _usage(answer, call)}]

    async def aclose(self) -> None:
        """Nothing is ever open."""


def _whole_choices(answer: Answer, call: Call) -> list[Event]:
    return [_whole_choice(index, answer, call) for index in range(call.request.n)]


def _whole_choice(index: int, answer: Answer, call: Call) -> Event:
    content = None if answer.calls else _joined(answer.content)
    message: Event = {"role": "assistant", "content": content, "refusal": None}
    if answer.calls:
        calls = enumerate(answer.calls)
        message["tool_calls"] = [_tool_call(call, index, number, called, _joined(called.arguments)) for number, called in calls]
    logprobs = _logprobs(answer.content, call)
    return {"index": index, "message": message, "finish_reason": answer.finish_reason, "logprobs": logprobs}


def _steps(answer: Answer, call: Call) -> Iterator[list[Event]]:
    """The chunks' choices, token by token; the choices take turns."""
    indexes = range(call.request.n)
    opening = {"role": "assistant", "content": None if answer.calls else "", "refusal": None}
    yield [_chunk_choice(index, opening) for index in indexes]
    for piece in answer.content:
        yield [_chunk_choice(index, {"content": piece.text}, logprobs=_logprobs([piece], call)) for index in indexes]
    for number, called in enumerate(answer.calls):
        yield [
            _chunk_choice(index, {"tool_calls": [{"index": number, **_tool_call(call, index, number, called, "")}]}) for index in indexes
        ]
        for piece in called.arguments:
            delta = {"tool_calls": [{"index": number, "function": {"arguments": piece.text}}]}
            yield [_chunk_choice(index, delta) for index in indexes]
    yield [_chunk_choice(index, {}, finish_reason=answer.finish_reason) for index in indexes]


def _chunk_choice(index: int, delta: Event, *, finish_reason: str | None = None, logprobs: Event | None = None) -> Event:
    return {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}


def _tool_call(call: Call, index: int, number: int, called: ToolCall, arguments: str) -> Event:
    return {
        "id": f"call_{call.generation_id}_{index}_{number}",
        "type": "function",
        "function": {"name": called.name, "arguments": arguments},
    }


def _logprobs(content: list[Piece], call: Call) -> Event | None:
    """Every token is certain. A character that takes several tokens is one entry."""
    body = call.request.body.reveal()
    if body.get("logprobs") is not True:
        return None
    entries = [_logprob(piece.text) for piece in content]
    alternatives = bool(body.get("top_logprobs"))
    return {"content": [{**entry, "top_logprobs": [entry] if alternatives else []} for entry in entries], "refusal": None}


def _logprob(text: str) -> dict[str, Any]:
    return {"token": text, "logprob": 0.0, "bytes": list(text.encode())}


def _joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _usage(answer: Answer, call: Call) -> Event:
    completion_tokens = answer.completion_tokens * call.request.n
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": answer.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
