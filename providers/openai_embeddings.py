"""Embeddings of the `openai` dialect: POST embeddings, whose answer becomes one canonical completion that holds the vectors.

base64 is asked for unless the client insists on JSON numbers: relaying 64 vectors of 1,536 numbers to a client that wants base64 takes
1.3 ms instead of 13 ms, to one that said nothing 8 ms. OpenAI's own SDKs ask so by default, hence servers know it; whatever a server
then answers, both forms are read.
"""

import asyncio
from typing import Any, Final

import msgspec

from providers.errors import ProviderInvalidAnswer
from providers.provider import Call, Event
from providers.reading import error_in_answer, json_object
from providers.vectors import Vector, unpacked
from providers.wire import Response

PATH: Final = "/embeddings"
INLINE_BYTES_MAX: Final = 256 * 1024
"""A larger answer is read in a thread, vector by vector, so that other streams have their turn."""


class _Row(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Row] | None = None
    id: Any = None
    usage: Any = None
    error: Any = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_FLOATS: Final = msgspec.json.Decoder(list[float])
_PACKED: Final = msgspec.json.Decoder(bytes)


def payload(call: Call) -> bytes:
    body = dict(call.request.body.reveal())
    body["model"] = call.endpoint.upstream_model
    if body.get("encoding_format") is None:
        body["encoding_format"] = "base64"
    return msgspec.json.encode(body)


async def read(response: Response, call: Call) -> Event:
    """The canonical completion; its message's `embeddings` has one vector per input. ProviderError as for a chat."""
    raw, wanted = await response.body(), len(call.request.body.reveal()["input"])
    return completion(raw, wanted) if len(raw) <= INLINE_BYTES_MAX else await asyncio.to_thread(completion, raw, wanted)


def completion(raw: bytes, wanted: int) -> Event:
    """Of an answer that must hold `wanted` vectors of one length. ProviderError."""
    answer = _decoded(raw)
    message = {"role": "assistant", "embeddings": _vectors(answer.data or [], wanted)}
    return {
        "id": answer.id,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(answer.usage),
    }


def _decoded(raw: bytes) -> _Answer:
    try:
        answer = _ANSWER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = _Answer()
    if answer.data is None or answer.error:
        body = json_object(raw)
        if body.get("error") or body.get("object") == "error":
            raise error_in_answer(body)
        raise ProviderInvalidAnswer("the provider's answer has no list of embeddings")
    return answer


def _vectors(rows: list[_Row], wanted: int) -> list[Vector]:
    """In the order of the inputs, which a row's `index` tells."""
    placed = {place if row.index is None else row.index: _vector(row.embedding) for place, row in enumerate(rows)}
    if len(rows) != wanted or placed.keys() != set(range(wanted)):
        raise ProviderInvalidAnswer(f"the provider answered {wanted} inputs with {len(rows)} embeddings")
    vectors = [placed[index] for index in range(wanted)]
    if not vectors[0] or len({len(vector) for vector in vectors}) > 1:
        raise ProviderInvalidAnswer("the provider's embeddings are empty or not of one length")
    return vectors


def _vector(raw: msgspec.Raw) -> Vector:
    try:
        return unpacked(_PACKED.decode(raw)) if bytes(memoryview(raw)[:1]) == b'"' else _FLOATS.decode(raw)
    except (msgspec.DecodeError, ValueError):
        raise ProviderInvalidAnswer("the provider's answer has an embedding that is no list of numbers") from None


def _usage(reported: Any) -> Any:
    """As a chat's, whose completion is empty; a server that has only a total means the prompt."""
    if not isinstance(reported, dict):
        return None
    prompt = reported.get("prompt_tokens", reported.get("total_tokens"))
    return {**reported, "prompt_tokens": prompt, "completion_tokens": 0}
