"""Embeddings of the `bedrock` dialect: InvokeModel in the words of Titan, a call per text, or of Cohere, a call per 96 texts."""

from typing import Any, Final

import msgspec

from providers.dropping import report_dropped
from providers.errors import Inexpressible, ProviderInvalidAnswer
from providers.provider import Call, Event

CALLS_MAX: Final = 96
"""So many calls may one request become."""
COHERE_TEXTS_MAX: Final = 96
"""Cohere's limit for one call (docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html)."""
KEPT: Final = frozenset({"dimensions", "encoding_format", "input_type"})
"""In which encoding the client gets its numbers is not the provider's affair."""
INPUT_TYPE: Final = "search_document"
"""Cohere insists on one; OpenAI's API has none."""
INLINE_BYTES_MAX: Final = 256 * 1024
"""A larger answer is read in a thread, so that other streams have their turn."""
TOKENS_HEADER: Final = "x-amzn-bedrock-input-token-count"


class _Answer(msgspec.Struct):
    """Titan has one `embedding`, Cohere a list, or a list for each type of number."""

    embedding: list[float] | None = None
    embeddings: list[list[float]] | dict[str, Any] | None = None
    inputTextTokenCount: int | None = None  # noqa: N815 - as Amazon spells it


_DECODER: Final = msgspec.json.Decoder(_Answer)
_LISTS: Final = list[list[float]]


class Vectors(msgspec.Struct):
    """What one call gave. `tokens` None = it was not said."""

    vectors: list[list[float]]
    tokens: int | None


def calls(call: Call) -> list[tuple[bytes, int]]:
    """(body, number of its texts) of every call, in order. Inexpressible for tokens, for too many texts, and for other models."""
    asked, model = call.request.body.reveal(), call.endpoint.upstream_model.lower()
    texts: list[Any] = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise Inexpressible(f"input[{number}]", "only text can be passed to this provider; send text instead of tokens.")
    bodies, kept = _bodies(texts, asked, model)
    if len(bodies) > CALLS_MAX:
        raise Inexpressible("input", f"has too many texts for this model; send {CALLS_MAX} at a time.")
    report_dropped(asked, kept, call.adjust)
    return [(msgspec.json.encode(body), count) for body, count in bodies]


def read(raw: bytes, wanted: int, headers: dict[str, str]) -> Vectors:
    """The answer to one call with `wanted` texts. ProviderInvalidAnswer."""
    try:
        answer = _DECODER.decode(raw)
        given = answer.embeddings
        vectors = msgspec.convert(given.get("float"), _LISTS) if isinstance(given, dict) else given or [answer.embedding or []]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderInvalidAnswer("the provider's answer has no embeddings") from None
    if len(vectors) != wanted or not all(vectors):
        raise ProviderInvalidAnswer(f"the provider did not answer {wanted} texts with as many embeddings")
    said = headers.get(TOKENS_HEADER, "")
    tokens = answer.inputTextTokenCount if not said.isdecimal() or len(said) > 9 else int(said)
    return Vectors(vectors, tokens)


def completion(answers: list[Vectors]) -> Event:
    """The canonical completion of all calls. Usage only if every one reported it."""
    vectors = [vector for answer in answers for vector in answer.vectors]
    if len({len(vector) for vector in vectors}) > 1:
        raise ProviderInvalidAnswer("the provider's embeddings are not of one length")
    event: Event = {"choices": [{"index": 0, "message": {"role": "assistant", "embeddings": vectors}, "finish_reason": "stop"}]}
    counts = [answer.tokens for answer in answers if answer.tokens is not None]
    if len(counts) == len(answers):
        tokens = sum(counts)
        event["usage"] = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return event


def _bodies(texts: list[str], asked: dict[str, Any], model: str) -> tuple[list[tuple[dict[str, Any], int]], frozenset[str]]:
    """(the bodies, what of the request they keep)."""
    dimensions = asked.get("dimensions")
    if "titan-embed-text-v2" in model:
        size = {} if dimensions is None else {"dimensions": dimensions}
        return [({"inputText": text, **size}, 1) for text in texts], KEPT - {"input_type"}
    if "titan-embed" in model:
        return [({"inputText": text}, 1) for text in texts], KEPT - {"input_type", "dimensions"}
    if "cohere.embed" in model:
        kept = KEPT if "embed-v4" in model else KEPT - {"dimensions"}
        more = {"input_type": asked.get("input_type") or INPUT_TYPE}
        more |= {"output_dimension": dimensions} if "dimensions" in kept and dimensions is not None else {}
        batches = [texts[start : start + COHERE_TEXTS_MAX] for start in range(0, len(texts), COHERE_TEXTS_MAX)]
        return [({"texts": batch, **more}, len(batch)) for batch in batches], kept
    raise Inexpressible("model", "this provider's model gives embeddings in a form that is not known here; choose a Titan or Cohere model.")
