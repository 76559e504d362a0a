"""Composes the answer to a chat request: per choice a row of pieces, one token each, the same with and without stream."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.fakes.faults import Json
from tests.fakes.plans import Plan
from tests.fakes.schema import instance
from tests.fakes.usage import text_of

MAX_SAID = 200_000
MAX_CHOICES = 16
MULTI_BYTE = "Hello é 漢 😀 wörld"
THOUGHTS = ("Let", " me", " think.")
LOOKUP = {"name": "lookup", "arguments": {"city": "Zürich 漢 😀", "days": 2}}


@dataclass(frozen=True)
class Piece:
    """A delta, and the tokens it stands for; `text` is what log-probabilities are given for."""

    delta: dict[str, Json]
    tokens: int = 1
    text: str | None = None


@dataclass
class Choice:
    """`finish` is right once `play` has ended."""

    index: int
    pieces: Iterable[Piece]
    limit: int | None
    finish: str = "stop"

    def play(self) -> Iterator[Piece]:
        left = self.limit
        for piece in self.pieces:
            if left is not None:
                if piece.tokens > left:
                    self.finish = "length"
                    return
                left -= piece.tokens
            yield piece


@dataclass(frozen=True)
class Step:
    """One piece of a choice, or its end when there is no piece."""

    choice: Choice
    piece: Piece | None


@dataclass(frozen=True)
class Wish:
    """A chat request, read leniently."""

    body: dict[str, Json]
    plan: Plan
    serial: int
    messages: list[Json] = field(default_factory=list)

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def last_user_text(self) -> str:
        users = [message for message in self.messages if isinstance(message, dict) and message.get("role") == "user"]
        return text_of(users[-1]) if users else ""

    def whole(self, name: str) -> int | None:
        value = self.body.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def steps(wish: Wish) -> Iterator[Step]:
    """All choices, round robin; the fault `n2` goes backwards."""
    live = [(choice, choice.play()) for choice in choices(wish)]
    while live:
        for pair in list(live):
            choice, pieces = pair
            piece = next(pieces, None)
            yield Step(choice, piece)
            if piece is None:
                live.remove(pair)


def choices(wish: Wish) -> list[Choice]:
    number = min(wish.whole("n") or 1, MAX_CHOICES)
    indices = list(range(max(number, 2)))[::-1] if wish.plan.has("n2") else list(range(number))
    limit = wish.whole("max_completion_tokens") or wish.whole("max_tokens")
    limit = None if wish.plan.has("endless", "ignore-max-tokens") else limit
    return [_choice(wish, index, limit) for index in indices]


def _choice(wish: Wish, index: int, limit: int | None) -> Choice:
    thoughts = [Piece({"reasoning_content": text}) for text in THOUGHTS] if wish.plan.has("reasoning") else []
    if calls := _tool_calls(wish):
        return Choice(index, [*thoughts, *calls], limit, "tool_calls")
    if wish.plan.has("refusal"):
        return Choice(index, [Piece({"refusal": text}) for text in _tokens("I cannot help with that.")], limit)
    if wish.plan.has("content-filter"):
        return Choice(index, [content(text) for text in _tokens("Hello from")], limit, "content_filter")
    return Choice(index, itertools.chain(thoughts, map(content, _words(wish))), limit)


def content(text: str) -> Piece:
    return Piece({"content": text}, text=text)


def _words(wish: Wish) -> Iterable[str]:
    plan, body = wish.plan, wish.body
    if plan.has("empty-content"):
        return []
    if plan.has("endless"):
        return itertools.repeat("word ") if not plan.number("tokens") else itertools.repeat("word ", plan.number("tokens"))
    if plan.has("huge-event", "big-event"):
        return ["Hello", " " + "x" * plan.number("bytes"), " end."]
    if plan.number("tokens"):
        return itertools.repeat("word ", plan.number("tokens"))
    if said := re.fullmatch(r"\s*say (\d{1,9})\s*", wish.last_user_text):
        return itertools.repeat("word ", min(int(said[1]), MAX_SAID))
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_schema", "json_object"):
        schema = (wanted.get("json_schema") or {}).get("schema", {}) if isinstance(wanted.get("json_schema"), dict) else {}
        return _cut(_dumps(instance(schema) if schema else {"answer": "Hello"}), 4)
    default = MULTI_BYTE if plan.has("split-bytes", "split-at") else f"Hello from {wish.model}."
    return _tokens(plan.text("text", default))


def _tool_calls(wish: Wish) -> list[Piece]:
    """Two calls where the last user message says "parallel"; none where a tool has just answered."""
    named = [_named(tool) for tool in _offered(wish)]
    if wish.plan.has("tool-split"):
        one, two = (named or [LOOKUP])[0], (named or [LOOKUP])[-1]
        rows = [_call(wish, index, tool, 1) for index, tool in enumerate((one, two))]
        return [piece for pair in itertools.zip_longest(*rows) for piece in pair if piece]
    if not named:
        return []
    called = [named[0], named[-1]] if "parallel" in wish.last_user_text else [named[0]]
    return [piece for index, tool in enumerate(called) for piece in _call(wish, index, tool, 4)]


def _offered(wish: Wish) -> list[dict[str, Json]]:
    tools, choice = wish.body.get("tools"), wish.body.get("tool_choice")
    functions = [tool["function"] for tool in tools if _is_function(tool)] if isinstance(tools, list) else []
    last = wish.messages[-1] if wish.messages else None
    if choice == "none" or (isinstance(last, dict) and last.get("role") == "tool"):
        return []
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return [function for function in functions if function.get("name") == choice["function"].get("name")]
    return functions


def _is_function(tool: Json) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict)


def _named(function: dict[str, Json]) -> dict[str, Json]:
    return {"name": str(function.get("name")), "arguments": instance(function.get("parameters") or {"type": "object"}, full=True)}


def _call(wish: Wish, index: int, tool: dict[str, Json], size: int) -> list[Piece]:
    function = {"name": tool["name"], "arguments": ""}
    call = {"index": index, "id": f"call_{wish.serial}_{index}", "type": "function", "function": function}
    arguments = _cut(_dumps(tool["arguments"]), size)
    return [Piece({"tool_calls": [call]}, tokens=0), *(_argument(index, text) for text in arguments)]


def _argument(index: int, text: str) -> Piece:
    return Piece({"tool_calls": [{"index": index, "function": {"arguments": text}}]})


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _dumps(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
