"""The messages of a canonical request as Gemini's `contents`: turns of `user` and `model` in parts, and instructions apart from them."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.errors import Inexpressible
from providers.parts import Media, Text, parts, text_of, tool_calls

Part = dict[str, Any]

FORMAT: Final = "google-gemini-v1"
UNSIGNED: Final = "skip_thought_signature_validator"
"""What Google's guide to thought signatures gives a function call that came from another model, or from a client that lost them."""

_SAME: Final = {
    "image": ("png", "jpeg", "webp", "gif", "heic", "heif"),
    "audio": ("wav", "mp3", "aac", "ogg", "flac", "aiff", "m4a"),
    "video": ("mp4", "mpeg", "webm", "wmv", "avi"),
    "text": ("html", "csv", "xml", "rtf"),
    "application": ("pdf", "json"),
}
_OTHER: Final = {
    "jpg": "image/jpeg",
    "mpg": "video/mpeg",
    "mov": "video/quicktime",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
    "txt": "text/plain",
    "md": "text/markdown",
}
MIME_TYPES: Final = {ending: f"{kind}/{ending}" for kind, endings in _SAME.items() for ending in endings} | _OTHER
"""The media that the guides name, by the ending of a URL's path."""
RENAMED: Final = {"audio/mpeg": "audio/mp3"}
KNOWN_THERE: Final = re.compile(r"https://(?:generativelanguage\.googleapis\.com|(?:www\.|m\.)?youtube\.com|youtu\.be)/")
"""Google's own files and videos need no type."""


def contents(messages: list[dict[str, Any]], *, signed: bool) -> tuple[list[Part], list[dict[str, Any]]]:
    """(parts of the instructions, turns). `signed`: the model insists on signatures, so what has none is marked as such.

    Inexpressible names the message, and the part if it has some.
    """
    system: list[Part] = []
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    shown: list[Part] = []
    for number, message in enumerate(messages):
        place, role = f"messages[{number}]", message.get("role")
        if role != "tool":
            _add(turns, "user", shown)
            shown = []
        if role in ("system", "developer"):
            text = text_of(message, place)
            system += [{"text": text}] if text else []
        elif role == "user":
            _add(turns, "user", [_part(part) for part in parts(message, place)])
        elif role == "assistant":
            _add(turns, "model", list(_said(message, place, names, signed=signed)))
        elif role == "tool":
            result, *media = _result(message, place, names)
            _add(turns, "user", [result])
            shown += media  # after all results: they answer the calls one for one
        else:
            raise Inexpressible(
                f"{place}.role", "functions of the old kind cannot be passed to this provider; use tools and tool messages."
            )
    _add(turns, "user", shown)
    return system, turns


def _add(turns: list[dict[str, Any]], role: str, said: list[Part]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["parts"] += said
    elif said:
        turns.append({"role": role, "parts": said})


def _said(message: dict[str, Any], place: str, names: dict[str, str], *, signed: bool) -> Iterator[Part]:
    """The model's turn with its signatures where they were: on the function call that they name, else on its text."""
    of_calls, of_text = _signatures(message)
    spoken = [_part(part) for part in parts(message, place)]
    if spoken and of_text:
        spoken[-1]["thoughtSignature"] = of_text.pop(0)
    yield from spoken
    for signature in of_text:
        yield {"text": "", "thoughtSignature": signature}
    for number, call in enumerate(tool_calls(message, place)):
        names[call.id] = call.name
        part: Part = {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}
        proof = of_calls.get(call.id) or (UNSIGNED if signed and number == 0 else None)
        yield {**part, "thoughtSignature": proof} if proof else part


def _signatures(message: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """By the id of their function call, and those of no call."""
    of_calls: dict[str, str] = {}
    of_text: list[str] = []
    details = message.get("reasoning_details")
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict) or detail.get("type") != "reasoning.encrypted" or detail.get("format") != FORMAT:
            continue
        data, call_id = detail.get("data"), detail.get("id")
        if isinstance(data, str) and data:
            if isinstance(call_id, str):
                of_calls[call_id] = data
            else:
                of_text.append(data)
    return of_calls, of_text


def _result(message: dict[str, Any], place: str, names: dict[str, str]) -> Iterator[Part]:
    """The response, and the media that came with it."""
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in names:
        raise Inexpressible(f"{place}.tool_call_id", "no assistant message before it has a tool call with this id; send that message too.")
    said = list(parts(message, place))
    text = "".join(part.text for part in said if isinstance(part, Text))
    yield {"functionResponse": {"id": call_id, "name": names[call_id], "response": _response(text)}}
    yield from (_part(part) for part in said if isinstance(part, Media))


def _response(text: str) -> dict[str, Any]:
    """A result must be an object there. A number stays text: it would lose digits as a double."""
    value: object = text
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            value = text
    return value if isinstance(value, dict) else {"result": value}


def _part(part: Text | Media) -> Part:
    if isinstance(part, Text):
        return {"text": part.text}
    if part.file_id is not None:
        raise Inexpressible(part.place, "a file_id names a file at another provider; send the file itself as file.file_data.")
    if part.data is not None:
        media_type = part.media_type or ""
        return {"inlineData": {"mimeType": RENAMED.get(media_type, media_type), "data": part.data}}
    url = part.url or ""
    if not url.startswith(("https://", "gs://")):
        raise Inexpressible(part.place, "a URL must begin with https:// or gs:// here; or send a data URL.")
    if KNOWN_THERE.match(url):
        return {"fileData": {"fileUri": url}}
    ending = url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    if ending not in MIME_TYPES:
        raise Inexpressible(part.place, "this URL does not tell its media type; send a data URL, or one that ends like .png, .mp3 or .pdf.")
    return {"fileData": {"fileUri": url, "mimeType": MIME_TYPES[ending]}}
