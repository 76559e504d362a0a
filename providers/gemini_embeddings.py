"""Embeddings of the `gemini` dialect: POST batchEmbedContents, in as many requests as its limit of 100 texts needs."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.dropping import report_dropped
from providers.errors import Inexpressible, ProviderInvalidAnswer
from providers.gemini_errors import error_of
from providers.provider import Call, Event

METHOD: Final = "batchEmbedContents"
TEXTS_MAX: Final = 100
KEPT: Final = frozenset({"dimensions", "encoding_format"})
"""In which encoding the client gets its numbers is not the provider's affair."""
INLINE_BYTES_MAX: Final = 256 * 1024
"""A larger answer is read in a thread: a hundred vectors of 3,072 numbers take some 10 ms."""


class _Embedding(msgspec.Struct):
    values: list[float]


class Vectors(msgspec.Struct):
    """The answer to one batch."""

    embeddings: list[_Embedding] | None = None
    usageMetadata: Any = None  # noqa: N815 - as Google spells it
    error: Any = None


_DECODER: Final = msgspec.json.Decoder(Vectors)


def batches(call: Call) -> Iterator[list[dict[str, Any]]]:
    """The `requests` to send, in order. Inexpressible for tokens in place of text."""
    body = call.request.body.reveal()
    report_dropped(body, KEPT, call.adjust)
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise Inexpressible(f"input[{number}]", "only text can be passed to this provider; send text instead of tokens.")
    more = {"outputDimensionality": body["dimensions"]} if body.get("dimensions") is not None else {}
    model = f"models/{call.endpoint.upstream_model}"
    requests = [{"model": model, "content": {"parts": [{"text": text}]}, **more} for text in texts]
    for start in range(0, len(requests), TEXTS_MAX):
        yield requests[start : start + TEXTS_MAX]


async def read(raw: bytes, wanted: int) -> Vectors:
    """The answer to `wanted` texts. ProviderError."""
    return _read(raw, wanted) if len(raw) <= INLINE_BYTES_MAX else await asyncio.to_thread(_read, raw, wanted)


def completion(answers: list[Vectors]) -> Event:
    """The canonical completion of all batches. Usage only if every one reported it."""
    vectors = [embedding.values for answer in answers for embedding in answer.embeddings or ()]
    message = {"role": "assistant", "embeddings": vectors}
    event: Event = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    counts = [_prompt_tokens(answer.usageMetadata) for answer in answers]
    known = [count for count in counts if count is not None]
    if len(known) == len(counts):
        event["usage"] = {"prompt_tokens": sum(known), "completion_tokens": 0}
    return event


def _read(raw: bytes, wanted: int) -> Vectors:
    try:
        answer = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderInvalidAnswer("the provider's answer has no list of embeddings") from None
    if answer.error:
        raise error_of(None, {"error": answer.error})
    vectors = answer.embeddings or []
    if len(vectors) != wanted or not all(embedding.values for embedding in vectors):
        raise ProviderInvalidAnswer(f"the provider did not answer {wanted} texts with as many embeddings")
    return answer


def _prompt_tokens(reported: object) -> int | None:
    count = reported.get("promptTokenCount") if isinstance(reported, dict) else None
    return count if type(count) is int and count >= 0 else None
