"""Canonical messages as Anthropic takes them: a system prompt, then turns that alternate, each a list of blocks, tool results first."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from providers.errors import Inexpressible
from providers.parts import IMAGE_TYPES, Media, Text, cache_of, parts, tool_calls

FORMAT: Final = "anthropic-claude-v1"
IMAGE_CHARACTERS_MAX: Final = 10 * 2**20
"""Anthropic's limit for one image, counted in base64 (platform.claude.com/docs/en/build-with-claude/vision)."""
ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
ALIASES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}
TEXTUAL: Final = frozenset({"application/json", "application/xml", "application/yaml"})

Block = dict[str, Any]


class Conversation:
    """`system` and `turns` as they are sent. Inexpressible names the message and part; `adjust` hears of what changed its place."""

    def __init__(self, messages: list[dict[str, Any]], adjust: Callable[[str], None]) -> None:
        self.system: list[Block] = []
        self.turns: list[Block] = []
        self.tools_used: set[str] = set()
        self._adjust = adjust
        self._ids: set[str] = set()
        self._waiting: dict[str, str] = {}
        for number, message in enumerate(messages):
            self._add(message, f"messages[{number}]")
        for turn in self.turns:
            if turn["role"] == "user":
                turn["content"].sort(key=lambda block: block["type"] != "tool_result")
        self._trim_prefill()

    @property
    def prefilled(self) -> bool:
        """The answer is to go on from an assistant's words."""
        return bool(self.turns) and self.turns[-1]["role"] == "assistant"

    @property
    def thoughts_lost(self) -> bool:
        """Tools are being used, and the turn that called them came back without its thoughts."""
        if len(self.turns) < 2 or self.turns[-1]["content"][0]["type"] != "tool_result":
            return False
        return "thinking" not in self.turns[-2]["content"][0]["type"]

    def _add(self, message: dict[str, Any], place: str) -> None:
        role = message["role"]
        if role in ("system", "developer"):
            self._instruct(message, place)
        elif role == "user":
            self._say("user", map(_block, parts(message, place)))
        elif role == "assistant":
            self._say("assistant", self._said(message, place))
        elif role == "tool":
            self._say("user", [self._result(message, place)])
        else:
            raise Inexpressible(f"{place}.role", "messages of this role cannot be passed to this provider; use tools and tool messages.")
        if message.get("name") and role != "tool":
            self._adjust("name")

    def _instruct(self, message: dict[str, Any], place: str) -> None:
        if self.turns:
            self._adjust("messages")  # the one place for instructions is the beginning
        self.system += [block for block in map(_words, parts(message, place)) if _says_something(block)]

    def _say(self, role: str, blocks: Iterable[Block]) -> None:
        said = [block for block in blocks if _says_something(block)]
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += said
        elif said:
            self.turns.append({"role": role, "content": said})

    def _said(self, message: dict[str, Any], place: str) -> Iterator[Block]:
        if message.get("function_call") or message.get("audio"):
            name = "function_call" if message.get("function_call") else "audio"
            raise Inexpressible(f"{place}.{name}", "cannot be passed to this provider; use tool_calls and text.")
        if not self.turns or self.turns[-1]["role"] != "assistant":
            self._waiting = {}
        yield from thoughts(message.get("reasoning_details"))
        yield from map(_words, parts(message, place))
        for call in tool_calls(message, place):
            self._waiting[call.id] = self._fresh(call.id)
            self.tools_used.add(call.name)
            yield {"type": "tool_use", "id": self._waiting[call.id], "name": call.name, "input": call.arguments}

    def _result(self, message: dict[str, Any], place: str) -> Block:
        id = self._waiting.pop(str(message.get("tool_call_id")), None)
        if id is None:
            text = "answers no tool call of the assistant's message right before it; send each result once, after the message that called."
            raise Inexpressible(f"{place}.tool_call_id", text)
        content = [_block(part) for part in parts(message, place)]
        caches = [cache for block in content if (cache := block.pop("cache_control", None))] or [cache_of(message)]
        said = [block for block in content if _says_something(block)]
        return {"type": "tool_result", "tool_use_id": id, **({"content": said} if said else {}), **_cached(caches[-1])}

    def _fresh(self, id: str) -> str:
        """The id itself where Anthropic takes it: of these characters, and once in a conversation."""
        if not ID.fullmatch(id) or id in self._ids:
            id = f"tollway_{len(self._ids)}"
        self._ids.add(id)
        return id

    def _trim_prefill(self) -> None:
        """The last words of an answer to go on with may not end with a blank."""
        block = self.turns[-1]["content"][-1] if self.prefilled else {}
        if block.get("type") == "text" and block["text"] != block["text"].rstrip():
            block["text"] = block["text"].rstrip()
            self._adjust("messages")


def thoughts(details: object) -> Iterator[Block]:
    """The thinking blocks that stand in `reasoning_details`, also where their pieces came one by one; unsigned thoughts are left out."""
    text, index = "", None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict) or detail.get("format") != FORMAT:
            continue
        if detail.get("type") == "reasoning.encrypted" and _is_text(detail.get("data")):
            yield {"type": "redacted_thinking", "data": detail["data"]}
        elif detail.get("type") == "reasoning.text":
            if detail.get("index") != index:
                text, index = "", detail.get("index")
            text += detail["text"] if _is_text(detail.get("text")) else ""
            if _is_text(detail.get("signature")):
                yield {"type": "thinking", "thinking": text, "signature": detail["signature"]}
                text = ""


def _says_something(block: Block) -> bool:
    """A blank text is refused."""
    return block["type"] != "text" or bool(block["text"].strip())


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _words(part: Text | Media) -> Block:
    """For the roles that have nothing but text."""
    if isinstance(part, Media):
        raise Inexpressible(part.place, f"{part.kind} content is possible only in user and tool messages at this provider.")
    return {"type": "text", "text": part.text, **_cached(part.cache)}


def _block(part: Text | Media) -> Block:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **_cached(part.cache)}
    if part.file_id is not None:
        raise Inexpressible(part.place, "a file_id of another provider means nothing here; send the file's data or its URL.")
    media_type = ALIASES.get(part.media_type or "", part.media_type)
    if part.kind == "image" or (part.kind == "file" and media_type in IMAGE_TYPES):
        return {"type": "image", "source": _image(part, media_type), **_cached(part.cache)}
    if part.kind == "file":
        title = {"title": part.name} if part.name else {}
        return {"type": "document", "source": _document(part, media_type), **title, **_cached(part.cache)}
    raise Inexpressible(part.place, f"{part.kind} content cannot be passed to this provider; use text, images or files.")


def _image(part: Media, media_type: str | None) -> Block:
    if part.data is None:
        return {"type": "url", "url": part.url}
    if media_type not in IMAGE_TYPES:
        raise Inexpressible(part.place, "an image must be PNG, JPEG, GIF or WebP at this provider.")
    if len(part.data) > IMAGE_CHARACTERS_MAX:
        raise Inexpressible(part.place, f"an image may have {IMAGE_CHARACTERS_MAX >> 20} MiB of base64 at this provider.")
    return {"type": "base64", "media_type": media_type, "data": part.data}


def _document(part: Media, media_type: str | None) -> Block:
    if part.data is None:
        return {"type": "url", "url": part.url}
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": part.data}
    if media_type in TEXTUAL or (media_type or "").startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _decoded(part)}
    raise Inexpressible(part.place, "a file must be a PDF or plain text at this provider.")


def _decoded(part: Media) -> str:
    try:
        return base64.b64decode(part.data or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Inexpressible(part.place, "the file's data must be UTF-8 text in base64.") from None


def _cached(cache: dict[str, str] | None) -> Block:
    return {"cache_control": cache} if cache else {}
