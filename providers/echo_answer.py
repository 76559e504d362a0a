"""What the echo provider answers: the last message's text, a value that fits the asked schema, or tool calls; and what that used."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from metering.tokens import Piece, Tokenizer, tokenizer
from providers.echo_schema import instance
from providers.provider import Call

ENCODING: Final = "o200k_base"
TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_REPLY: Final = 3
"""As OpenAI's cookbook counts chat messages for its models: 3 around each message, and 3 that prime the answer."""

TOKENS_PER_IMAGE: Final = 85
"""OpenAI's price of an image in low detail."""

SHAPING: Final = frozenset({"type", "const", "enum", "$ref", "allOf", "anyOf", "oneOf"})
IMAGE_PARTS: Final = frozenset({"image_url", "input_image", "image"})


class ToolCall(msgspec.Struct, frozen=True):
    """A call of the function `name`; the arguments are JSON text in pieces. `tokens` are those of the name."""

    name: str
    tokens: int
    arguments: list[Piece]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One choice; all choices are alike, and `completion_tokens` are those of one."""

    content: list[Piece]
    calls: list[ToolCall]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def answer_to(call: Call) -> Answer:
    """Counts the whole prompt, so it may take a while: not for the event loop."""
    body, counter = call.request.body.reveal(), tokenizer(ENCODING)
    messages = [message for message in body.get("messages") or [] if isinstance(message, dict)]
    limit = call.endpoint.max_output_tokens if call.max_tokens is None else call.max_tokens
    budget = _Budget(limit)
    tools = _tools_to_call(body, messages)
    calls = list(_calls(tools, _text(_spoken(messages)), counter, budget))
    content = [] if tools else list(budget.spend(counter.pieces(_content(body, messages))))
    return Answer(
        content=content,
        calls=calls,
        finish_reason="length" if budget.exceeded else "tool_calls" if calls else "stop",
        prompt_tokens=_prompt_tokens(messages, counter),
        completion_tokens=budget.spent,
    )


class _Budget:
    """Lets tokens through until the limit (None = none); what does not fit whole is dropped, as is all that follows."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.spent = 0
        self.exceeded = False

    def take(self, tokens: int) -> bool:
        self.exceeded = self.exceeded or (self.limit is not None and self.spent + tokens > self.limit)
        self.spent += 0 if self.exceeded else tokens
        return not self.exceeded

    def spend(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        return itertools.takewhile(lambda piece: self.take(piece.tokens), pieces)


def _prompt_tokens(messages: list[dict[str, Any]], counter: Tokenizer) -> int:
    texts = sum(counter.count(text) for message in messages for text in _texts(message))
    images = sum(part.get("type") in IMAGE_PARTS for message in messages for part in _parts(message))
    return texts + TOKENS_PER_IMAGE * images + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_REPLY


# Text


def _content(body: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    text = _text(_spoken(messages))
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        text = _json({"echo": text})
    if kind == "json_schema" and isinstance(wanted, dict):
        described = wanted.get("json_schema")
        text = _json(_object(described.get("schema") if isinstance(described, dict) else None, text))
    return _stopped(text, body.get("stop"))


def _spoken(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A tool's result if that came last, else what the user said last."""
    if messages and messages[-1].get("role") in ("tool", "function"):
        return messages[-1]
    return next((message for message in reversed(messages) if message.get("role") == "user"), messages[-1] if messages else {})


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join("[image]" if part.get("type") in IMAGE_PARTS else _part_text(part) for part in _parts(message))


def _texts(message: dict[str, Any]) -> list[str]:
    content = message.get("content")
    return [content] if isinstance(content, str) else [_part_text(part) for part in _parts(message)]


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _part_text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _stopped(text: str, stop: object) -> str:
    """`text` up to the first of the stop sequences, of which there may be one, a list or none."""
    sequences = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    ends = [text.find(sequence) for sequence in sequences if isinstance(sequence, str) and sequence]
    return text[: min((end for end in ends if end >= 0), default=len(text))]


# Tools


def _tools_to_call(body: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The functions to call now: the chosen one, those that the user named if several, else the first; none but for a user."""
    choice = body.get("tool_choice")
    functions = _functions(body.get("tools"))
    if not functions or choice == "none" or messages[-1:] == [] or messages[-1].get("role") != "user":
        return []
    chosen = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(chosen, dict):
        return [function for function in functions if function["name"] == chosen.get("name")][:1] or functions[:1]
    text = _text(messages[-1])
    named = [function for function in functions if re.search(rf"(?<!\w){re.escape(function['name'])}(?!\w)", text)]
    return named if len(named) > 1 and body.get("parallel_tool_calls") is not False else functions[:1]


def _functions(tools: object) -> list[dict[str, Any]]:
    described = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [function for function in described if isinstance(function, dict) and isinstance(function.get("name"), str)]


def _calls(functions: list[dict[str, Any]], text: str, counter: Tokenizer, budget: _Budget) -> Iterator[ToolCall]:
    for function in functions:
        name_tokens = counter.count(function["name"])
        if not budget.take(name_tokens):
            return
        arguments = _json(_object(function.get("parameters"), text))
        yield ToolCall(function["name"], name_tokens, list(budget.spend(counter.pieces(arguments))))


def _object(schema: object, text: str) -> Any:
    """Arguments and structured answers are objects where their schema does not say what they are."""
    described = schema if isinstance(schema, dict) else {}
    return instance(described if described.keys() & SHAPING else {**described, "type": "object"}, text)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
