"""What a log holds -> what a page shows of it: who said what, in order, whatever shape a client or a provider gave it. Nothing is trusted.

A page shows at most `CHARACTERS_MAX` in all; the rest is in the file that can be taken along.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

CHARACTERS_MAX: Final = 30_000
RAW_MAX: Final = 10_000
WORD_MAX: Final = 100
ENDPOINT_FIELDS: Final = ("messages", "prompt", "input", "system", "instructions")


class Part(msgspec.Struct, frozen=True):
    """`code` is shown as it is written, `note` names what is not text, as an image."""

    kind: Literal["text", "code", "note"]
    text: str
    title: str = ""


class Said(msgspec.Struct, frozen=True):
    role: str
    parts: list[Part]


class Shown(msgspec.Struct, frozen=True):
    """`settings` is the request without its words, `raw` everything; both JSON. `cut`: something was too long to be shown whole."""

    asked: list[Said]
    answered: list[Said]
    error: str
    settings: str
    raw: str
    cut: bool


def shown(content: dict[str, Any]) -> Shown:
    """`content` as `policy/content_store.py` keeps it."""
    asked, answered = list(_asked(_object(content.get("input")))), list(_answered(_object(content.get("output"))))
    room = _Room(CHARACTERS_MAX)
    asked, answered = room.fitted(asked), room.fitted(answered)
    settings = {name: value for name, value in _object(content.get("input")).items() if name not in ENDPOINT_FIELDS}
    error, raw = content.get("error"), _json(content)
    return Shown(
        asked, answered, "" if error is None else _json(error)[:RAW_MAX], _json(settings)[:RAW_MAX], raw[:RAW_MAX],
        room.cut or len(raw) > RAW_MAX,
    )  # fmt: skip


class _Room:
    """How many characters may still be shown."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.cut = False

    def fitted(self, said: list[Said]) -> list[Said]:
        found = [Said(each.role, [fit for part in each.parts if (fit := self._fit(part))]) for each in said if self._left > 0]
        self.cut = self.cut or len(found) < len(said)
        return found

    def _fit(self, part: Part) -> Part | None:
        text, self._left = part.text[: max(0, self._left)], self._left - len(part.text) - len(part.title) - WORD_MAX
        self.cut = self.cut or len(text) < len(part.text)
        return Part(part.kind, text, part.title[:WORD_MAX]) if text or not part.text else None


def _asked(body: dict[str, Any]) -> Iterator[Said]:
    for name in ("system", "instructions"):
        if name in body:
            yield Said("system", list(_parts(body[name])))
    for message in _list(body.get("messages")):
        yield _message(message)
    for name in ("prompt", "input"):
        if name in body:
            yield Said(name, list(_parts(body[name])))


def _answered(output: dict[str, Any]) -> Iterator[Said]:
    choices = _list(output.get("choices"))
    for number, choice in enumerate(choices):
        role = "assistant" if len(choices) == 1 else f"assistant, choice {number + 1}"
        yield _message({"role": role, **_object(choice)})


def _message(message: Any) -> Said:
    if not isinstance(message, dict):
        return Said("message", list(_parts(message)))
    parts = [Part("text", text, "reasoning") for text in (message.get("reasoning"),) if isinstance(text, str) and text]
    parts += _parts(message.get("content"))
    parts += [Part("text", text, "refusal") for text in (message.get("refusal"),) if isinstance(text, str) and text]
    parts += [_call(call) for call in _list(message.get("tool_calls"))]
    role, answers = str(message.get("role", "message"))[:WORD_MAX], message.get("tool_call_id")
    return Said(f"{role} to {str(answers)[:WORD_MAX]}" if answers else role, parts)


def _parts(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        yield Part("text", content)
        return
    for part in content if isinstance(content, list) else [] if content is None else [content]:
        if isinstance(part, str):
            yield Part("text", part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield Part("text", part["text"])
        elif isinstance(part, dict) and isinstance(part.get("type"), str):
            yield Part("note", f"{part['type'][:WORD_MAX]}, {len(_json(part)):,} characters: see the whole of it below.")
        else:
            yield Part("code", _json(part))


def _call(call: Any) -> Part:
    """As a request has it, with a function inside, or as an answer is kept."""
    held = _object(call)
    function = _object(held.get("function")) or held
    arguments = function.get("arguments")
    title = f"calls {function.get('name') or 'a tool'}" + (f" ({held['id']})" if held.get("id") else "")
    return Part("code", _pretty(arguments) if isinstance(arguments, str) else _json(arguments if arguments is not None else held), title)


def _pretty(text: str) -> str:
    try:
        return _json(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return text


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
