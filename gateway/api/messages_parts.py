"""What a user or a tool says in a Messages request: text, images, documents and search results, as the parts of a canonical message."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.api import chat_checks
from gateway.errors import BadRequest
from providers.parts import IMAGE_TYPES

NESTED_MAX: Final = 4

Part = dict[str, Any]


class Source(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: "str | list[Block] | None" = None


class Block(msgspec.Struct):
    """Any content block: the fields of all kinds that can be passed on. Which of them a kind needs is checked where it is read."""

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    citations: Any = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    tool_name: str | None = None
    content: "str | list[Block] | dict[str, Any] | None" = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    cache_control: dict[str, Any] | None = None


def parts_of(block: Block, place: str, depth: int = 0) -> Iterator[Part]:
    """What a user or a tool may say. The mark of a cache stands on the last part. BadRequest names the block."""
    parts = list(_parts(block, place, depth))
    if block.cache_control is not None and parts:
        parts[-1]["cache_control"] = block.cache_control
    yield from parts


def nested(content: str | list[Block] | dict[str, Any] | None, place: str, depth: int) -> list[Part]:
    if isinstance(content, dict) or depth >= NESTED_MAX:
        raise refused(place, "must be a text or a list of blocks." if depth < NESTED_MAX else "is nested too deeply.")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [part for number, block in enumerate(content or ()) for part in parts_of(block, f"{place}[{number}]", depth + 1)]


def plain(parts: list[Part]) -> str | list[Part]:
    """One bare text is a string: some servers take nothing else from most roles."""
    if not parts:
        return ""
    bare = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return str(parts[0]["text"]) if bare else parts


def needed(block: Block, field: str, place: str) -> str:
    value = getattr(block, field)
    if not isinstance(value, str):
        raise refused(f"{place}.{field}", "is required.")
    return value


def refused(place: str, text: str) -> BadRequest:
    return BadRequest(f"{place}: {text}", param=place)


def _parts(block: Block, place: str, depth: int) -> Iterator[Part]:
    if block.type == "text":
        if text := needed(block, "text", place):
            yield {"type": "text", "text": text}
    elif block.type == "image":
        yield {"type": "image_url", "image_url": {"url": _image(_source(block, place), f"{place}.source")}}
    elif block.type == "document":
        yield from _document(block, place, depth)
    elif block.type == "search_result":
        texts = "\n".join(part["text"] for part in nested(block.content, f"{place}.content", depth) if part["type"] == "text")
        yield {"type": "text", "text": f"{needed(block, 'title', place)}\n{_link(block)}\n\n{texts}"}
    elif block.type == "tool_reference":
        yield {"type": "text", "text": needed(block, "tool_name", place)}
    else:
        raise refused(place, _UNKNOWN)


_UNKNOWN: Final = (
    "blocks of this type cannot be passed on here; use text, image, document, search_result and tool_result. Tools that run at Anthropic "
    "(server tools) and its files and containers are not offered."
)


def _source(block: Block, place: str) -> Source:
    if not isinstance(block.source, Source):
        raise refused(f"{place}.source", "is required: an object with a type.")
    return block.source


def _link(block: Block) -> str:
    return block.source if isinstance(block.source, str) else ""


def _image(source: Source, place: str) -> str:
    """A data URL or a URL."""
    if source.type == "url":
        return _url(source, place)
    if source.type != "base64":
        raise refused(f"{place}.type", "use base64 or url; files that are stored at a provider cannot be named here.")
    if source.media_type not in IMAGE_TYPES:
        raise refused(f"{place}.media_type", f"must be one of: {', '.join(sorted(IMAGE_TYPES))}.")
    data = _base64(source, place)
    if len(data) // 4 * 3 > chat_checks.IMAGE_BYTES_MAX:
        raise refused(f"{place}.data", f"the image is larger than {chat_checks.IMAGE_BYTES_MAX >> 20} MiB; send a smaller one, or its URL.")
    return f"data:{source.media_type};base64,{data}"


def _document(block: Block, place: str, depth: int) -> Iterator[Part]:
    """A PDF is a file. Text is text, which every model can read and which is counted as such, under its title and context."""
    source, at = _source(block, place), f"{place}.source"
    head = "\n".join(text for text in (block.title, block.context) if text)
    if source.type in ("base64", "url"):
        if block.context:
            yield {"type": "text", "text": block.context}
        yield {"type": "file", "file": {"filename": block.title or "document.pdf", "file_data": _pdf(source, at)}}
        return
    if head:
        yield {"type": "text", "text": f"{head}\n\n"}
    if source.type == "text":
        if source.data is None:
            raise refused(f"{at}.data", "is required.")
        if source.data:
            yield {"type": "text", "text": source.data}
    elif source.type == "content":
        yield from nested(source.content, f"{at}.content", depth)
    else:
        raise refused(f"{at}.type", "use base64, url, text or content; files that are stored at a provider cannot be named here.")


def _pdf(source: Source, place: str) -> str:
    if source.type == "url":
        return _url(source, place)
    if source.media_type != "application/pdf":
        raise refused(f"{place}.media_type", "must be application/pdf; send plain text with a source of type text.")
    return f"data:application/pdf;base64,{_base64(source, place)}"


def _url(source: Source, place: str) -> str:
    if source.url is None or not source.url.startswith(("https://", "http://")):
        raise refused(f"{place}.url", "must be a URL that begins with https://.")
    return source.url


def _base64(source: Source, place: str) -> str:
    if source.data is None or not chat_checks.whole(source.data):
        raise refused(f"{place}.data", "must be base64, whole, in one line and with its padding.")
    return source.data
