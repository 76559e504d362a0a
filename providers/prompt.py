"""How large a prompt is: a bound by size before anything is counted, and a count by the model's tokenizer where it matters."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from metering.tokens import Tokenizer
from providers.provider import ChatRequest, Endpoint

TOKENS_PER_MESSAGE: Final = 3
"""OpenAI's published overhead: three tokens around each message, three to open the answer."""
BOUND_PER_MESSAGE: Final = 16
IMAGE_TOKENS_BOUND: Final = 4096
"""What is held for one image; most models count less, and a settle above the hold extends it."""
IMAGE_TOKENS: Final = 85
"""What is charged for one image where the provider reports no usage: OpenAI's figure for low detail, the least any model counts."""
BYTES_PER_TOKEN_OF_FILES: Final = 16
AUDIO_BYTES_PER_TOKEN: Final = 256
REMOTE_FILE_TOKENS: Final = 10_000_000
"""A file or video behind a URL may be of any size: the rest of the context is held for it."""
PROMPT_OVERHEAD_TOKENS: Final = 4096
"""What a provider's chat template and tool instructions may add to a prompt of text."""
INLINE_CHARACTERS_MAX: Final = 8 * 1024


def bound(body: dict[str, Any], raw_bytes: int) -> int:
    """An upper bound for the prompt tokens of a chat request of `raw_bytes`: fixed bounds for media, and one token per byte of text.

    No tokenizer makes more of it, and "1 2 3 4" makes as much; ordinary English is a quarter. Who cannot afford it is counted exactly.
    """
    media_bytes = media_tokens = 0
    for part in _media(body):
        size = _size(part)
        media_bytes += size
        media_tokens += _media_bound(part, size)
    text_bytes = max(0, raw_bytes - media_bytes)
    return text_bytes + BOUND_PER_MESSAGE * len(body.get("messages", ())) + media_tokens


def most(request: ChatRequest, endpoint: Endpoint) -> int:
    """The most prompt tokens that the request can have here: its bound by size, within the context, which each text to embed has anew."""
    if request.operation == "embeddings":
        return request.prompt_tokens_max
    return min(request.prompt_tokens_max, endpoint.context_length)


def reported_max(request: ChatRequest, endpoint: Endpoint) -> int:
    """The most prompt tokens that a provider is believed to have seen."""
    if request.media:
        return endpoint.context_length
    believed = request.prompt_tokens_max + PROMPT_OVERHEAD_TOKENS
    return believed if request.operation == "embeddings" else min(believed, endpoint.context_length)


async def count(body: dict[str, Any], tokenizer: Tokenizer) -> int:
    """The prompt's tokens by this tokenizer, media at the least they can be; long texts are counted in a thread.

    Of an embeddings request: those of its `input`, texts or the tokens themselves.
    """
    counted = list(_counted(body))
    media = sum(IMAGE_TOKENS for _ in _media(body))
    fixed = TOKENS_PER_MESSAGE * (len(body["messages"]) + 1) + media if "messages" in body else _tokens_given(body)
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


def _tokens_given(body: dict[str, Any]) -> int:
    return sum(len(each) for each in body.get("input", ()) if isinstance(each, list))


def _counted(body: dict[str, Any]) -> Iterator[str]:
    yield from texts(body.get("input"))
    for message in body.get("messages", ()):
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
    for message in body.get("messages", ()):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") in ("image_url", "input_audio", "file", "video_url"):
                yield part


def _media_bound(part: dict[str, Any], size: int) -> int:
    kind = part.get("type")
    if kind == "image_url":
        return IMAGE_TOKENS_BOUND
    if kind == "input_audio":
        return size // AUDIO_BYTES_PER_TOKEN + 64
    remote = kind == "video_url" and not any(text.startswith("data:") for text in texts(part))
    return REMOTE_FILE_TOKENS if remote else size // BYTES_PER_TOKEN_OF_FILES + IMAGE_TOKENS_BOUND


def _size(part: dict[str, Any]) -> int:
    """Bytes of the data inside a media part."""
    return sum(map(len, texts(part)))
