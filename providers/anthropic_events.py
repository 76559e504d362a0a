"""A Messages API stream as canonical events: content blocks that open, grow and close become deltas of one choice."""

from typing import Any, Final

import msgspec

from providers.anthropic_errors import error_in
from providers.anthropic_messages import FORMAT
from providers.errors import ProviderInvalidAnswer, ProviderUnavailable
from providers.provider import Event
from providers.reading import json_object, json_or_none

REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
FIGURES: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
DELTAS: Final = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("tool_use", "partial_json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
}
"""A delta's type -> the block that it may stand in, and the field of its text. Others, such as citations, are left out."""


class Block:
    """One that is open. `place` is its number among the tool calls or the thoughts, `input` what a tool call came with."""

    __slots__ = ("grown", "input", "kind", "place")

    def __init__(self, kind: str, place: int, input: object) -> None:
        self.kind, self.place, self.input, self.grown = kind, place, input, False


class Reader:
    """An event that the API does not allow is ProviderInvalidAnswer; unknown types are left out."""

    def __init__(self) -> None:
        self.done = False
        self._started = False
        self._stopped = False
        self._open: dict[int, Block] = {}
        self._calls = self._thoughts = 0
        self._figures: dict[str, int] = {}
        self._reads = {
            "content_block_delta": self._grow,
            "content_block_start": self._begin,
            "content_block_stop": self._end,
            "message_start": self._start,
            "message_delta": self._change,
            "message_stop": self._stop,
        }

    def read(self, frame: bytes) -> list[Event]:
        event = json_object(frame)
        kind = event.get("type")
        if not isinstance(kind, str):
            raise _invalid("an event without a type")
        if kind == "error":
            raise error_in(event)
        known = self._reads.get(kind)
        if known is None:
            return []
        if not self._started and kind != "message_start":
            raise _invalid("an event before the message")
        return known(event)

    def last(self, rest: bytes) -> list[Event]:
        """The last event if only its blank line is missing; a torn one does not count."""
        return self.read(rest) if isinstance(json_or_none(rest), dict) else []

    def check(self) -> None:
        if not self._started:
            raise _invalid("an empty stream")
        if not self.done:
            raise ProviderUnavailable("the provider's stream ended in the middle of the answer")

    def _start(self, event: Event) -> list[Event]:
        message = event.get("message")
        if self._started or not isinstance(message, dict):
            raise _invalid("a message that cannot begin")
        self._started = True
        count(self._figures, message.get("usage"))
        first = {"id": message.get("id"), **chunk({"role": "assistant", "content": ""})}
        return [{**first, **usage_of({**self._figures, "output_tokens": 0})}]

    def _begin(self, event: Event) -> list[Event]:
        index, block = event.get("index"), event.get("content_block")
        if type(index) is not int or index in self._open or not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise _invalid("a content block that cannot begin")
        kind, place = block["type"], 0
        events: list[Event] = []
        if kind == "tool_use":
            place, self._calls = self._calls, self._calls + 1
            function = {"name": text(block, "name"), "arguments": ""}
            events = [chunk({"tool_calls": [{"index": place, "id": text(block, "id"), "type": "function", "function": function}]})]
        elif kind in ("thinking", "redacted_thinking"):
            place, self._thoughts = self._thoughts, self._thoughts + 1
            if kind == "redacted_thinking":
                events = [chunk({"reasoning_details": [hidden(text(block, "data"), place)]})]
        opened = self._open[index] = Block(kind, place, block.get("input"))
        for field in ("text", "thinking", "signature"):
            if block.get(field):
                events += self._more(opened, field, text(block, field))
        return events

    def _grow(self, event: Event) -> list[Event]:
        index, delta = event.get("index"), event.get("delta")
        block = self._open.get(index) if type(index) is int else None
        if block is None or not isinstance(delta, dict) or not isinstance(delta.get("type"), str):
            raise _invalid("a delta without its content block")
        kind, field = DELTAS.get(delta["type"], (None, ""))
        if kind is None or block.kind not in ("text", "tool_use", "thinking"):
            return []
        if block.kind != kind:
            raise _invalid("a delta of another kind than its content block")
        more = text(delta, field)
        return self._more(block, field, more) if more else []

    def _more(self, block: Block, field: str, more: str) -> list[Event]:
        if field == "text":
            return [chunk({"content": more})]
        if field == "partial_json":
            block.grown = True
            return [_arguments(block, more)]
        if field == "signature":
            return [chunk({"reasoning_details": [thought("", block.place, more)]})]
        return [chunk({"reasoning": more, "reasoning_details": [thought(more, block.place)]})]

    def _end(self, event: Event) -> list[Event]:
        index = event.get("index")
        block = self._open.pop(index, None) if type(index) is int else None
        if block is None:
            raise _invalid("the end of a content block that had not begun")
        return _ended(block)

    def _change(self, event: Event) -> list[Event]:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            raise _invalid("a change of nothing")
        count(self._figures, event.get("usage"))
        choices: list[dict[str, Any]] = []
        events: list[Event] = []
        if delta.get("stop_reason") is not None:
            self._stopped = True
            events = [each for block in self._open.values() for each in _ended(block)]
            self._open.clear()
            choices = [{"index": 0, "delta": {}, **finish(delta)}]
        return [*events, {"choices": choices, **usage_of(self._figures)}]

    def _stop(self, event: Event) -> list[Event]:
        if not self._stopped:
            raise _invalid("an end without a reason")
        self.done = True
        return []


def chunk(delta: dict[str, Any]) -> Event:
    return {"choices": [{"index": 0, "delta": delta}]}


def thought(said: str, index: int, signature: str | None = None) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": said, "format": FORMAT, "index": index}
    return {**detail, "signature": signature} if signature else detail


def hidden(data: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": index}


def finish(said: dict[str, Any]) -> dict[str, str]:
    """OpenAI's word for a `stop_reason`, and Anthropic's."""
    reason = text(said, "stop_reason")
    return {"finish_reason": REASONS.get(reason, "stop"), "native_finish_reason": reason}


def count(figures: dict[str, int], usage: object) -> None:
    """Takes the figures of a `usage` over. They are running totals, so where one stands twice the larger counts."""
    if not isinstance(usage, dict):
        return
    details = usage.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    for name, value in (*((name, usage.get(name)) for name in FIGURES), ("thinking_tokens", thinking)):
        if type(value) is int and value >= 0:
            figures[name] = max(value, figures.get(name, 0))


def usage_of(figures: dict[str, int]) -> dict[str, Any]:
    """The canonical `usage`, in which the prompt includes what the cache gave and took; nothing if the prompt's size was not said."""
    if "input_tokens" not in figures or "output_tokens" not in figures:
        return {}
    read, written = figures.get("cache_read_input_tokens", 0), figures.get("cache_creation_input_tokens", 0)
    prompt, completion = figures["input_tokens"] + read + written, figures["output_tokens"]
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if read or written:
        usage["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": written}
    if thinking := min(figures.get("thinking_tokens", 0), completion):
        usage["completion_tokens_details"] = {"reasoning_tokens": thinking}
    return {"usage": usage}


def text(holder: dict[str, Any], field: str) -> str:
    value = holder.get(field)
    if not isinstance(value, str):
        raise _invalid("an answer with something else where a text belongs")
    return value


def _arguments(block: Block, more: str) -> Event:
    return chunk({"tool_calls": [{"index": block.place, "function": {"arguments": more}}]})


def _ended(block: Block) -> list[Event]:
    """A call whose input did not come in pieces brought it along: most often none."""
    if block.kind != "tool_use" or block.grown:
        return []
    return [_arguments(block, msgspec.json.encode(block.input if isinstance(block.input, dict) else {}).decode())]


def _invalid(what: str) -> ProviderInvalidAnswer:
    return ProviderInvalidAnswer(f"the provider sent {what}")
