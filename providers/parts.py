"""The parts of a canonical message, read for dialects that must translate them: text, media and tool calls, each with its place.

A place reads like `messages[2].content[1]`, so that a refusal names what the client can mend.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from providers.errors import Inexpressible

_DATA_URL: Final = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?;base64,", re.ASCII)
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
AUDIO_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "aac": "audio/aac"}


Cache = dict[str, str] | None


class Text(msgspec.Struct, frozen=True):
    """`cache`: Anthropic's `cache_control`, where the client asked for a provider-side cache up to here."""

    place: str
    text: str
    cache: Cache = None


class Media(msgspec.Struct, frozen=True):
    """An image, video, audio or file: either `data` (base64) with its media type, or a `url`, or a provider's `file_id`."""

    place: str
    kind: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    cache: Cache = None


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is the parsed object."""

    place: str
    id: str
    name: str
    arguments: dict[str, Any]


def parts(message: dict[str, Any], place: str) -> Iterable[Text | Media]:
    """What a message's content holds, in order; empty texts are left out. Inexpressible for a part of a type that nobody knows."""
    content = message.get("content")
    if isinstance(content, str):
        return (Text(f"{place}.content", content, cache_of(message)),) if content else ()
    return (read for number, part in enumerate(content or ()) for read in _part(part, f"{place}.content[{number}]"))


def tool_calls(message: dict[str, Any], place: str) -> Iterator[ToolCall]:
    """The tool calls of an assistant's message. Inexpressible where the arguments are no JSON object."""
    for number, call in enumerate(message.get("tool_calls") or ()):
        function, where = call.get("function"), f"{place}.tool_calls[{number}]"
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Inexpressible(where, "only calls of functions can be passed to this provider; each needs a function with a name.")
        yield ToolCall(where, str(call.get("id") or f"call_{number}"), function["name"], _arguments(function.get("arguments"), where))


def cache_of(holder: dict[str, Any]) -> Cache:
    """The `cache_control` of a part, a message or a tool, as Anthropic reads it; None if there is none.

    Always of five minutes: writing for an hour costs more, and there is one price for cache writes.
    """
    return {"type": "ephemeral"} if isinstance(holder.get("cache_control"), dict) else None


def text_of(message: dict[str, Any], place: str) -> str:
    """The texts of a message whose role takes nothing else. Inexpressible names the part that is not text."""
    texts = []
    for part in parts(message, place):
        if isinstance(part, Media):
            raise Inexpressible(part.place, f"{part.kind} content is not possible in a {message.get('role')} message at this provider.")
        texts.append(part.text)
    return "".join(texts)


def _part(part: dict[str, Any], place: str) -> Iterator[Text | Media]:
    cache, kind = cache_of(part), part.get("type")
    if kind in ("text", "refusal"):
        text = part.get("text") if kind == "text" else part.get("refusal")
        if isinstance(text, str) and text:
            yield Text(place, text, cache)
    elif kind in ("image_url", "video_url"):
        image = part.get(kind)
        url = image.get("url") if isinstance(image, dict) else image
        yield _from_url(kind.removesuffix("_url"), _needed(url, place, f"{kind}.url"), place, cache=cache)
    elif kind == "input_audio":
        yield _audio(part.get("input_audio"), place, cache=cache)
    elif kind == "file":
        yield _file(part.get("file"), place, cache=cache)
    else:
        raise Inexpressible(place, "parts of this type cannot be passed to this provider; use text, image_url, input_audio or file.")


def _from_url(kind: str, url: str, place: str, *, cache: Cache, name: str | None = None) -> Media:
    if not url.startswith("data:"):
        return Media(place, kind, url=url, name=name, cache=cache)
    head = _DATA_URL.match(url)
    if head is None:
        raise Inexpressible(place, "a data URL must read data:<media type>;base64,<data>.")
    return Media(place, kind, media_type=head["type"] or "text/plain", data=url[head.end() :], name=name, cache=cache)


def _audio(audio: object, place: str, *, cache: Cache) -> Media:
    fields = audio if isinstance(audio, dict) else {}
    media_type = AUDIO_TYPES.get(str(fields.get("format")))
    if media_type is None:
        raise Inexpressible(place, f"input_audio.format must be one of: {', '.join(AUDIO_TYPES)}.")
    return Media(place, "audio", media_type=media_type, data=_needed(fields.get("data"), place, "input_audio.data"), cache=cache)


def _file(file: object, place: str, *, cache: Cache) -> Media:
    fields = file if isinstance(file, dict) else {}
    name = fields.get("filename")
    name = name if isinstance(name, str) else None
    if isinstance(fields.get("file_id"), str):
        return Media(place, "file", file_id=fields["file_id"], name=name, cache=cache)
    return _from_url("file", _needed(fields.get("file_data"), place, "file.file_data"), place, cache=cache, name=name)


def _needed(value: object, place: str, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise Inexpressible(place, f"{field} is missing.")
    return value


def _arguments(arguments: object, place: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(arguments or "{}") if isinstance(arguments, str) else arguments or {}
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Inexpressible(f"{place}.function.arguments", "must be a JSON object in text.")
    return value
