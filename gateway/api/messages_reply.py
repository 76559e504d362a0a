"""How an answer is written for Anthropic's clients: one message, or its events; and their errors.

Shapes as in Anthropic's API reference and SDK, with OpenRouter's additions (cost in `usage`, `provider`, `error_type`). The last two
events leave after the settle, so their usage is what was charged; a cut stream ends with an error event and never with message_stop.
"""

import re
from typing import Any, Final

from gateway.api.messages_blocks import Origin, renamed
from gateway.api.messages_stream import Blocks, content_of
from gateway.errors import Problem
from gateway.streaming import Streamed, Whole, Writer, encode
from providers.provider import Event

TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
NATIVE: Final = frozenset({"end_turn", "max_tokens", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"})
"""Stop reasons that Claude itself gave."""
TOO_LONG: Final = "prompt is too long"
"""Anthropic's words, by which Claude Code knows that it must shorten the conversation, whatever the status and type are."""
NOWHERE: Final[list[Origin]] = []
_WORD: Final = re.compile(r"[A-Za-z_]{1,32}", re.ASCII)


class Ended:
    """Why the message stopped, from the canonical reason of its only choice. `stops` are the client's stop sequences."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._reason: str | None = None
        self._native = ""
        self._matched: str | None = None

    def see(self, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason") is None:
            return
        self._reason, self._native = choice["finish_reason"], str(choice.get("native_finish_reason") or "")
        matched = choice.get("stop_sequence") or choice.get("stop_reason")  # Anthropic's word, and vLLM's
        self._matched = matched if matched in self._stops else None
        if self._matched is None and self._native == "stop_sequence" and len(self._stops) == 1:
            self._matched = self._stops[0]

    def fields(self, *, called: bool, refused: bool) -> dict[str, Any]:
        reason, details = REASONS.get(self._reason or "stop", "end_turn"), None
        if self._reason == "error":  # no clean end, and none that a client should ask for again
            reason, said = "refusal", self._native if _WORD.fullmatch(self._native) else "error"
            details = {"type": "refusal", "category": None, "explanation": f"The provider ended its answer with an error ({said})."}
        elif self._matched is not None or self._native == "stop_sequence":
            reason = "stop_sequence"
        elif self._native in NATIVE:
            reason = self._native
        if reason == "end_turn" and (called or refused):  # OpenAI says "stop" where it was told which tool to call
            reason = "tool_use" if called else "refusal"
        return {"stop_reason": reason, "stop_sequence": self._matched, "stop_details": details}


class MessagesJson(Whole):
    """The message with its usage, once it has been charged."""

    def __init__(self, writer: Writer, stops: tuple[str, ...] = (), origins: list[Origin] = NOWHERE) -> None:
        super().__init__(writer)
        self._ended = Ended(stops)
        self._origins = origins

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        event = self.completion or labels
        choice: dict[str, Any] = next((choice for choice in event["choices"] if choice["index"] == 0), {})
        said = choice.get("message") or {}
        self._ended.see(choice)
        content = content_of(said, event["id"])
        called = any(block["type"] == "tool_use" for block in content)
        message = {
            **message_of(event),
            "content": content,
            **self._ended.fields(called=called, refused=bool(said.get("refusal"))),
            "usage": usage_of(usage),
        }
        if trace is not None:
            message["tollway_trace"] = trace
        await self.send(200, message, {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        body = error_body(renamed(problem, self._origins), self._writer.request_id)
        await self.send(problem.status, body, problem.headers)


class MessagesStream(Streamed):
    """message_start, the blocks one after the other, message_delta with the usage, message_stop."""

    def __init__(self, writer: Writer, stops: tuple[str, ...] = (), origins: list[Origin] = NOWHERE) -> None:
        super().__init__(writer)
        self._ended = Ended(stops)
        self._origins = origins
        self._blocks: Blocks | None = None

    async def events(self, events: list[Event]) -> None:
        out = [] if self._blocks else self._begin(events[0])
        assert self._blocks is not None
        for event in events:
            for choice in event["choices"]:
                if choice["index"] == 0:
                    out += self._blocks.take(choice.get("delta") or {})
                    self._ended.see(choice)
        if out:
            await self.write(b"".join(out), more=True)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        out = [] if self._blocks else self._begin(labels)
        assert self._blocks is not None
        out += self._blocks.close()
        delta = {**self._ended.fields(called=self._blocks.called, refused=self._blocks.refused), "container": None}
        out.append(_event("message_delta", delta=delta, usage=usage_of(usage)))
        out.append(_event("message_stop") if trace is None else _event("message_stop", tollway_trace=trace))
        await self.write(b"".join(out), more=False)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        """Before the headers: a true status. After them: an error event, beside it what was charged, and nothing more."""
        body = error_body(renamed(problem, self._origins), self._writer.request_id)
        if not self.started:
            await self.refuse(problem.status, body, problem.headers)
            return
        if labels and isinstance(labels.get("usage"), dict):
            body["usage"] = usage_of(labels["usage"])
        await self.write(_event("error", **body), more=False)

    def _begin(self, event: Event) -> list[bytes]:
        """The usage is not known yet; message_delta has all of it."""
        self._blocks = Blocks(event["id"])
        usage = {**NOTHING_USED, "output_tokens_details": None}
        stop = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        return [_event("message_start", message={**message_of(event), "content": [], **stop, "usage": usage})]


NOTHING_USED: Final[dict[str, Any]] = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
    "cache_creation": None,
    "server_tool_use": None,
    "service_tier": None,
    "inference_geo": None,
}


def message_of(event: Event) -> dict[str, Any]:
    """What every message has from its start; its id is the generation's."""
    id = f"msg_{event['id'].removeprefix('gen-').replace('-', '')}"
    return {"id": id, "type": "message", "role": "assistant", "model": event["model"], "provider": event["provider"], "container": None}


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """Anthropic counts what was read from a cache or written to one beside `input_tokens`, not in it. Costs as in a chat."""
    of_prompt, of_completion = usage["prompt_tokens_details"], usage["completion_tokens_details"]
    read, written = of_prompt["cached_tokens"], of_prompt["cache_write_tokens"]
    return {
        **NOTHING_USED,
        "input_tokens": usage["prompt_tokens"] - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": of_completion["reasoning_tokens"]},
        **{name: usage[name] for name in ("cost", "hold", "is_byok", "usage_source", "cost_details")},
    }


def error_body(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """`request_id` is the answer's x-request-id, which clients name in their errors."""
    kind = TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "api_error")
    metadata = problem.metadata if problem.param is None else {**problem.metadata, "param": problem.param}
    error_type, message = problem.metadata.get("error_type"), problem.message
    if error_type == "context_length_exceeded" and TOO_LONG not in message.lower():
        message = f"{TOO_LONG}: {message}"
    error = {"type": kind, "message": message, "error_type": error_type}
    return {"type": "error", "error": error, "metadata": metadata, "request_id": request_id}


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
