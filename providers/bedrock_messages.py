"""Canonical messages as Bedrock's Converse takes them: instructions apart, then turns that alternate, each a list of content blocks.

The rules are those of the API reference (docs.aws.amazon.com/bedrock/latest/APIReference, Message and ContentBlock): images and documents
only from the user and as bytes, a document only beside a text, and the results of tools in the turn right after their calls.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from providers.anthropic_messages import thoughts
from providers.errors import Inexpressible
from providers.parts import Cache, Media, Text, cache_of, parts, tool_calls

Block = dict[str, Any]

IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/markdown": "md",
    **dict.fromkeys(("text/plain", "text/xml", "application/json", "application/xml", "application/yaml"), "txt"),
}
BYTES_MAX: Final = {"image": 3_932_160, "document": 4_718_592}
"""3.75 and 4.5 MB: Bedrock's limits for one of them."""
EMPTY_RESULT: Final = "(empty)"
"""A result of a tool must have a block, and a blank text is refused."""
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}", re.ASCII)
_UNNAMEABLE: Final = re.compile(r"[^A-Za-z0-9()\[\]-]+")
NAME_CHARACTERS_MAX: Final = 180


class Conversation:
    """`system` and `turns` as they are sent; `tools_used` are the names of the tools that were called, in order.

    Inexpressible names the message and part. `adjust` hears of what changed its place. `cached`: the model has a cache to mark points for.
    `claude`: its signed thoughts go back to it.
    """

    def __init__(self, messages: list[dict[str, Any]], adjust: Callable[[str], None], *, cached: bool, claude: bool) -> None:
        self.system: list[Block] = []
        self.turns: list[Block] = []
        self.tools_used: dict[str, None] = {}
        self._adjust = adjust
        self._cached = cached
        self._claude = claude
        self._ids: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._names: set[str] = set()
        for number, message in enumerate(messages):
            self._add(message, f"messages[{number}]")
        self._check()

    @property
    def prefilled(self) -> bool:
        """The answer is to go on from an assistant's words."""
        return bool(self.turns[-1]["role"] == "assistant")

    @property
    def thoughts_lost(self) -> bool:
        """Tools are being used, and the turn that called them came back without its thoughts."""
        if len(self.turns) < 2 or not any("toolResult" in block for block in self.turns[-1]["content"]):
            return False
        return "reasoningContent" not in self.turns[-2]["content"][0]

    def _add(self, message: dict[str, Any], place: str) -> None:
        role = message.get("role")
        if role in ("system", "developer"):
            self._instruct(message, place)
        elif role == "user":
            self._say("user", place, self._heard(message, place))
        elif role == "assistant":
            self._say("assistant", place, self._said(message, place))
        elif role == "tool":
            self._say("user", place, self._result(message, place))
        else:
            raise Inexpressible(f"{place}.role", "messages of this role cannot be passed to this provider; use tools and tool messages.")
        if message.get("name") and role != "tool":
            self._adjust("name")

    def _instruct(self, message: dict[str, Any], place: str) -> None:
        if self.turns:
            self._adjust("messages")  # the one place for instructions is the beginning
        for part in parts(message, place):
            self.system += self._words(part)

    def _heard(self, message: dict[str, Any], place: str) -> Iterator[Block]:
        for part in parts(message, place):
            yield from self._words(part) if isinstance(part, Text) else self._marked([self._media(part)], part.cache)

    def _said(self, message: dict[str, Any], place: str) -> Iterator[Block]:
        if not self.turns or self.turns[-1]["role"] != "assistant":
            self._waiting = {}
        if self._claude and (details := message.get("reasoning_details")):
            yield from map(_thought, thoughts(details))
        for part in parts(message, place):
            yield from self._words(part)
        for call in tool_calls(message, place):
            self.tools_used[call.name] = None
            self._waiting[call.id] = self._fresh(call.id)
            yield {"toolUse": {"toolUseId": self._waiting[call.id], "name": call.name, "input": call.arguments}}

    def _result(self, message: dict[str, Any], place: str) -> list[Block]:
        id = self._waiting.pop(str(message.get("tool_call_id")), None)
        if id is None:
            text = "answers no tool call of the assistant's message right before it; send each result once, after the message that called."
            raise Inexpressible(f"{place}.tool_call_id", text)
        said: list[Block] = []
        cache = cache_of(message)
        for part in parts(message, place):
            block: Block = {"text": part.text} if isinstance(part, Text) else self._media(part)
            if not _blank(block):
                said.append(block)
            cache = part.cache or cache
        return self._marked([{"toolResult": {"toolUseId": id, "content": said or [{"text": EMPTY_RESULT}]}}], cache)

    def _fresh(self, id: str) -> str:
        """The id itself where Bedrock takes it: of these characters, and once in a conversation."""
        if not _ID.fullmatch(id) or id in self._ids:
            id = f"tollway_{len(self._ids)}"
        self._ids.add(id)
        return id

    def _say(self, role: str, place: str, blocks: Iterable[Block]) -> None:
        said = list(blocks)
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += said
        elif said:
            if role == "assistant" and not self.turns:
                raise Inexpressible(f"{place}.role", "a conversation must begin with a user's message at this provider.")
            self.turns.append({"role": role, "content": said})

    def _words(self, part: Text | Media) -> list[Block]:
        """For what may have text only. A blank one is refused there, so it is left out."""
        if isinstance(part, Media):
            raise Inexpressible(part.place, f"{part.kind} content is possible only in user and tool messages at this provider.")
        block = {"text": part.text}
        return [] if _blank(block) else self._marked([block], part.cache)

    def _marked(self, blocks: list[Block], cache: Cache) -> list[Block]:
        if cache is None:
            return blocks
        if not self._cached:
            self._adjust("cache_control")
            return blocks
        return [*blocks, cache_point(cache)]

    def _media(self, part: Media) -> Block:
        if part.data is None:
            raise Inexpressible(part.place, "this provider fetches nothing; send the data itself, as a data URL or file_data.")
        if part.kind == "image" or part.media_type in IMAGES:
            return {"image": {"format": _format(part, IMAGES, "an image must be PNG, JPEG, GIF or WebP"), "source": _bytes(part, "image")}}
        if part.kind != "file":
            raise Inexpressible(part.place, f"{part.kind} content cannot be passed to this provider; use text, images or files.")
        format = _format(part, DOCUMENTS, f"a file must be one of: {', '.join(sorted(set(DOCUMENTS.values())))}")
        return {"document": {"format": format, "name": self._name(part, format), "source": _bytes(part, "document")}}

    def _name(self, part: Media, format: str) -> str:
        """The file's name in the characters that Bedrock takes, once in a conversation."""
        base = _UNNAMEABLE.sub(" ", (part.name or "").removesuffix(f".{format}")).strip()[:NAME_CHARACTERS_MAX] or "document"
        name = base if base not in self._names else f"{base} {len(self._names) + 1}"
        self._names.add(name)
        return name

    def _check(self) -> None:
        """Instructions alone become the user's words; a document stands beside a text; a last answer to go on with ends in no blank."""
        if not self.turns:
            if not self.system:
                raise Inexpressible("messages", "hold no text; this provider needs some.")
            self.system, self.turns = [], [{"role": "user", "content": self.system}]
        for turn in self.turns if self._names else ():
            if any("document" in block for block in turn["content"]) and not any("text" in block for block in turn["content"]):
                raise Inexpressible("messages", "a file needs a text beside it at this provider; say in the same message what it is for.")
        last = self.turns[-1]["content"][-1]
        if self.prefilled and "text" in last and last["text"] != last["text"].rstrip():
            last["text"] = last["text"].rstrip()
            self._adjust("messages")


def cache_point(cache: dict[str, str]) -> Block:
    """Of five minutes, which goes without saying."""
    return {"cachePoint": {"type": "default"}}


def _thought(block: Block) -> Block:
    if block["type"] == "redacted_thinking":
        return {"reasoningContent": {"redactedContent": block["data"]}}
    return {"reasoningContent": {"reasoningText": {"text": block["thinking"], "signature": block["signature"]}}}


def _blank(block: Block) -> bool:
    return "text" in block and not block["text"].strip()


def _format(part: Media, formats: dict[str, str], rule: str) -> str:
    """By the media type, else by the ending of the file's name."""
    ending = (part.name or "").rpartition(".")[2].lower()
    format = formats.get((part.media_type or "").lower()) or (ending if ending in formats.values() else None)
    if format is None:
        raise Inexpressible(part.place, f"{rule} at this provider.")
    return format


def _bytes(part: Media, kind: str) -> Block:
    data = part.data or ""
    if len(data) // 4 * 3 - data.count("=", -2) > BYTES_MAX[kind]:
        raise Inexpressible(part.place, f"{kind} data may have {BYTES_MAX[kind]:,} bytes at this provider; send less.")
    return {"bytes": data}
