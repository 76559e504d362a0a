"""How large a prompt is: a bound by size before anything is counted, and a count by the model's tokenizer where it matters."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from metering.tokens import Tokenizer

TOKENS_PER_MESSAGE: Final = 3
"""OpenAI's published overhead: three tokens around each message, three to open the answer."""
BOUND_PER_MESSAGE: Final = 16
IMAGE_TOKENS: Final = 4096
"""Bound for one image: above what the large providers count for the largest one at high detail."""
AUDIO_BYTES_PER_TOKEN: Final = 256
INLINE_CHARACTERS_MAX: Final = 8 * 1024


def bound(body: dict[str, Any], raw_bytes: int) -> int:
    """An upper bound for the prompt tokens of a chat request of `raw_bytes`: fixed bounds for media, and one token per byte of text.

    No tokenizer makes more of it, and "1 2 3 4" makes as much; ordinary English is a quarter. Who cannot afford it is counted exactly.
    """
    media_bytes = media_tokens = 0
    for part in _media(body):
        size = _size(part)
        media_bytes += size
        media_tokens += size // AUDIO_BYTES_PER_TOKEN + 64 if part.get("type") == "input_audio" else IMAGE_TOKENS
    text_bytes = max(0, raw_bytes - media_bytes)
    return text_bytes + BOUND_PER_MESSAGE * len(body["messages"]) + media_tokens


async def count(body: dict[str, Any], tokenizer: Tokenizer) -> int:
    """The prompt's tokens by this tokenizer, images at their bound; long texts are counted in a thread."""
    counted = list(_counted(body))
    media = sum(IMAGE_TOKENS for _ in _media(body))
    fixed = TOKENS_PER_MESSAGE * (len(body["messages"]) + 1) + media
    if sum(map(len, counted)) <= INLINE_CHARACTERS_MAX:
        return fixed + sum(map(tokenizer.count, counted))
    return fixed + await asyncio.to_thread(lambda: sum(map(tokenizer.count, counted)))


def texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys included, in any order: what a provider serialises into the prompt. Flat, whatever the depth."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _counted(body: dict[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if isinstance(part.get("text"), str):
                yield part["text"]
        for call in message.get("tool_calls") or ():
            yield from texts(call)
    for name in ("tools", "functions", "response_format"):
        yield from texts(body.get(name))


def _media(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") in ("image_url", "input_audio", "file", "video_url"):
                yield part


def _size(part: dict[str, Any]) -> int:
    """Bytes of the data inside a media part."""
    return sum(map(len, texts(part)))
