"""Answers Anthropic's POST v1/messages with the chat fake's answers, faults and ledger.

Thoughts (fault `reasoning`) are shown only where `thinking` asks for them, and signed; a request that marks something with
`cache_control` writes WRITTEN tokens of its prompt into the cache. `error-midstream@code=overloaded_error` breaks with that type.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.fakes.anthropic_checks import SIGNATURE, complaints, refused_key, texts_of
from tests.fakes.chat import converse
from tests.fakes.events import Event, Kind
from tests.fakes.faults import Json
from tests.fakes.ledger import MAX_KEPT_BODY, Record
from tests.fakes.plans import Plans
from tests.fakes.sending import Exchange, send_json
from tests.fakes.tongue import Tongue

WRITTEN = 2
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def is_anthropic(path: str) -> bool:
    return path.endswith("/v1/messages")


async def answer_anthropic(x: Exchange, plans: Plans) -> bool:
    """Whether the connection may serve another request."""
    record, body = x.record, _parsed(x.request.body)
    record.model, record.stream = str(body.get("model")), body.get("stream") is True
    record.request_body = body if len(x.request.body) <= MAX_KEPT_BODY else None
    x = replace(x, tongue=AnthropicTongue(record, body))
    if refused := refused_key(x.request.headers):
        return await send_json(x, 401, {"error": {"message": refused}})
    for complaint in complaints(body, x.request.headers):
        return await send_json(x, 400, {"error": {"message": complaint}})
    return await converse(x, _chat(body), plans)


@dataclass
class Block:
    """One that was begun; `key` says what goes on in it: text, thinking, or the number of a tool call."""

    index: int
    key: Json
    grown: bool = False


@dataclass
class AnthropicTongue(Tongue):
    record: Record
    body: dict[str, Json]
    named: bool = True
    _open: list[Block] = field(default_factory=list)
    _begun: int = 0
    _finish: str | None = None

    @property
    def shows(self) -> bool:
        return self._thinking.get("type") in ("enabled", "adaptive")

    @property
    def _thinking(self) -> dict[str, Json]:
        return self.body.get("thinking") or {}

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        owed = 0
        for event in events:
            said = list(self._said(event))
            if said and event.tokens + owed:
                said[-1], owed = replace(said[-1], tokens=event.tokens + owed), 0
            elif not said:
                owed += event.tokens
            yield from said
        if self._finish is not None:
            yield self._delta(None)

    def completion(self, completion: dict[str, Json]) -> Json:
        row = completion["choices"][0] if completion["choices"] else {"message": {}, "finish_reason": None}
        content, message = [], row["message"]
        if message.get("reasoning_content") and self.shows:
            content.append({"type": "thinking", "thinking": message["reasoning_content"], "signature": self._signature()})
        content += [{"type": "text", "text": message[name]} for name in ("content", "refusal") if message.get(name)]
        for call in message.get("tool_calls") or []:
            given = _loaded(call["function"]["arguments"])
            content.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": given})
        return {
            **self._envelope(),
            "content": content if completion["choices"] else None,
            "stop_reason": REASONS.get(row["finish_reason"]),
            "stop_sequence": None,
            **({"usage": self._usage(completion["usage"])} if "usage" in completion else {}),
        }

    def refusal(self, status: int, body: Json) -> tuple[int, Json]:
        error = body.get("error", body) if isinstance(body, dict) else {}
        error = error if isinstance(error, dict) else {"message": error}
        code, message = error.get("code"), error.get("message")
        if code == "context_length_exceeded":
            message = "prompt is too long: 25 tokens > 10 maximum"
        kind = code if code in TYPES.values() else TYPES.get(status, "api_error" if status >= 500 or status == 200 else TYPES[400])
        return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_fake_{self.record.id}"}

    def _said(self, event: Event) -> Iterator[Event]:
        if event.kind is Kind.ACT or isinstance(event.data, str) or event.kind is Kind.ERROR:
            yield from self._unsaid(event)
        elif event.kind is Kind.ROLE:
            usage = {**self._usage({"prompt_tokens": self.record.terms.prompt, "completion_tokens": 1})}
            message = {**self._envelope(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
            yield Event(Kind.ROLE, {"type": "message_start", "message": message})
            yield Event(Kind.RAW, {"type": "ping"})
        elif event.kind is Kind.USAGE:
            yield self._delta(event.data["usage"])
        elif event.kind in (Kind.TOKEN, Kind.FINISH):
            row = event.data["choices"][0]
            yield from self._grown(row["delta"])
            if row["finish_reason"]:
                yield from self._close(self._open)
                self._finish = REASONS[row["finish_reason"]]
                if event.data.get("usage"):
                    yield self._delta(event.data["usage"])

    def _unsaid(self, event: Event) -> Iterator[Event]:
        if event.kind is Kind.ERROR:
            yield replace(event, data=self.refusal(200, event.data)[1])
        elif event.kind is not Kind.DONE:
            yield event
        elif self.record.outcome is None:
            if self._finish is not None:
                yield self._delta(None)
            yield Event(Kind.DONE, {"type": "message_stop"})

    def _delta(self, usage: Json) -> Event:
        delta, self._finish = {"stop_reason": self._finish, "stop_sequence": None}, None
        told = {} if usage is None else {"usage": self._usage(usage)}
        return Event(Kind.FINISH, {"type": "message_delta", "delta": delta, **told})

    def _grown(self, delta: dict[str, Json]) -> Iterator[Event]:
        for name in ("content", "refusal"):
            if delta.get(name):
                yield from self._grow("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": delta[name]})
        if delta.get("reasoning_content") and self.shows:
            shown = "" if self._thinking.get("display") == "omitted" else delta["reasoning_content"]
            start = {"type": "thinking", "thinking": "", "signature": ""}
            yield from self._grow("thinking", start, {"type": "thinking_delta", "thinking": shown})
        for call in delta.get("tool_calls", []):
            start = {"type": "tool_use", "id": call.get("id"), "name": call["function"].get("name"), "input": {}}
            more = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
            yield from self._grow(call["index"], start, more)

    def _grow(self, key: Json, start: Json, more: Json) -> Iterator[Event]:
        """Calls come one after the other, or letter by letter: then their blocks stay open beside each other."""
        block = next((block for block in self._open if block.key == key), None)
        if block is None:
            yield from self._close([block for block in self._open if block.grown or not isinstance(key, int)])
            block = Block(self._begun, key)
            self._begun += 1
            self._open.append(block)
            yield Event(Kind.RAW, {"type": "content_block_start", "index": block.index, "content_block": start})
            if isinstance(key, int):
                return
        block.grown = True
        yield Event(Kind.TOKEN, {"type": "content_block_delta", "index": block.index, "delta": more})

    def _close(self, blocks: list[Block]) -> Iterator[Event]:
        for block in list(blocks):
            if block.key == "thinking":
                signed = {"type": "signature_delta", "signature": self._signature()}
                yield Event(Kind.RAW, {"type": "content_block_delta", "index": block.index, "delta": signed})
            yield Event(Kind.RAW, {"type": "content_block_stop", "index": block.index})
            self._open.remove(block)

    def _envelope(self) -> dict[str, Json]:
        return {"id": f"msg_{self.record.id}", "type": "message", "role": "assistant", "model": self.body["model"]}

    def _signature(self) -> str:
        return f"{SIGNATURE}{self.record.id}"

    def _usage(self, usage: Json) -> Json:
        """The input's figures exclude what the cache gave and took."""
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            return usage
        cached = self.record.terms.cached
        written = min(WRITTEN, usage["prompt_tokens"]) if '"cache_control"' in json.dumps(self.body) else 0
        told = {
            "input_tokens": usage["prompt_tokens"] - cached - written,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
            "output_tokens": usage["completion_tokens"],
        }
        thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
        return {**told, **({"output_tokens_details": {"thinking_tokens": thoughts}} if thoughts else {})}


def _chat(body: dict[str, Json]) -> dict[str, Json]:
    """The chat request that asks for the same."""
    choice = body.get("tool_choice") or {"type": "auto"}
    named = {"type": "function", "function": {"name": choice.get("name")}}
    wanted = (body.get("output_config") or {}).get("format")
    system = [{"role": "system", "content": " ".join(texts_of(body["system"]))}] if "system" in body else []
    return {
        "model": body["model"],
        "messages": system + [_message(message) for message in body["messages"]],
        "stream_options": {"include_usage": True},
        "max_tokens": body["max_tokens"],
        "tools": [{"type": "function", "function": {**tool, "parameters": tool["input_schema"]}} for tool in body.get("tools", [])],
        "tool_choice": named if choice["type"] == "tool" else CHOICES[choice["type"]],
        **({"response_format": {"type": "json_schema", "json_schema": {"schema": wanted["schema"]}}} if wanted else {}),
    }


def _message(message: Json) -> Json:
    blocks = message["content"] if isinstance(message["content"], list) else []
    answers = bool(blocks) and blocks[-1]["type"] == "tool_result"
    return {"role": "tool" if answers else message["role"], "content": " ".join(texts_of(message["content"]))}


def _parsed(body: bytes) -> dict[str, Json]:
    value = _loaded(body)
    return value if isinstance(value, dict) else {}


def _loaded(text: str | bytes) -> Json:
    """Arguments that a limit cut off are none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}
