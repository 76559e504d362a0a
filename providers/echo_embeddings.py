"""What the echo provider gives for a text to embed: a vector of length 1 that only the text decides, so that equal texts are equal."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

from metering.tokens import tokenizer
from providers.echo_answer import ENCODING
from providers.errors import Inexpressible
from providers.provider import Call, Event
from providers.vectors import Vector

DIMENSIONS: Final = 256
DIMENSIONS_MAX: Final = 3072
"""Those of the largest embeddings in wide use."""
NUMBERS_MAX: Final = 2**20
"""In one answer: 2,048 texts may ask for 512 dimensions each. More would be memory for nothing."""
WORD_BYTES: Final = 4


def embeddings_for(call: Call) -> Event:
    """The canonical completion. Counts every text, so it may take a while: not for the event loop. Inexpressible for too many numbers."""
    body = call.request.body.reveal()
    inputs: list[Any] = body["input"]
    dimensions = body.get("dimensions") or DIMENSIONS
    if dimensions > DIMENSIONS_MAX or dimensions * len(inputs) > NUMBERS_MAX:
        text = f"this provider gives at most {DIMENSIONS_MAX} for each text and {NUMBERS_MAX} in all; ask for fewer, or send fewer texts."
        raise Inexpressible("dimensions", text)
    message = {"role": "assistant", "embeddings": [_vector(each, dimensions) for each in inputs]}
    tokens = _tokens(inputs)
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def _vector(text: str | Sequence[int], dimensions: int) -> Vector:
    seed = text.encode("utf-8", "replace") if isinstance(text, str) else repr(text).encode()
    drawn = hashlib.shake_256(seed).digest(WORD_BYTES * dimensions)
    half = 1 << (8 * WORD_BYTES - 1)
    numbers = [int.from_bytes(drawn[at : at + WORD_BYTES]) - half for at in range(0, len(drawn), WORD_BYTES)]
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


def _tokens(inputs: list[Any]) -> int:
    counter = tokenizer(ENCODING)
    return sum(counter.count(each) if isinstance(each, str) else len(each) for each in inputs)
