"""One row of the answer of OpenRouter's `GET /models` as an offer of OpenRouter itself."""

import datetime
import re
from typing import Any, Final

from providers.catalog_rows import MODEL_ID
from providers.price_offer import Offer, Skipped, Unusable, charged, context, known, last_day, rates, tokens, usd_each

SLUG: Final = "openrouter"
UNITS: Final = {
    "prompt": "prompt",
    "completion": "completion",
    "cached_prompt": "input_cache_read",
    "cache_write": "input_cache_write",
    "reasoning": "internal_reasoning",
    "image": "image_token",
    "audio": "audio",
    "audio_completion": "audio_output",
}


def offer_of(name: str, row: dict[str, Any], today: datetime.date) -> Offer | Skipped:
    prices, top = _object(row.get("pricing")), _object(row.get("top_provider"))
    shape = _object(row.get("architecture"))
    inputs, outputs = _names(shape.get("input_modalities")), _names(shape.get("output_modalities"))
    if outputs not in ((), ("text",), ("embeddings",)):
        return Skipped(
            name, SLUG, f"it answers with {', '.join(map(repr, outputs))[:80]}, not with text or embeddings alone", elsewhere=True
        )
    if not re.match(MODEL_ID, name):
        raise Unusable("its id is not company/model")
    ended = last_day(row.get("expiration_date"))
    if ended is not None and ended < today:
        raise Unusable(f"it ended on {ended}")
    steps = _overrides(prices)
    embeds, parameters = outputs == ("embeddings",), _names(row.get("supported_parameters"))
    found = rates({**prices, "completion": 0} if embeds else prices, UNITS)
    if prices.get("request") is not None:
        found["request"] = usd_each(prices["request"], "request")
    # A price for each image cannot be said in a price for its tokens, so images are not offered there.
    images = "image" in inputs and usd_each(prices.get("image") or 0, "image") == "0"
    flags = {"images": images, "tools": "tools" in parameters, "json_schema": "structured_outputs" in parameters}
    title = row.get("name")
    return Offer(
        name=name,
        provider=SLUG,
        upstream_model=name,
        model=name,
        title=title[:200] if isinstance(title, str) and title.strip() else None,
        context_length=context(tokens(row.get("context_length"), "context_length"), steps),
        max_output_tokens=None if embeds else tokens(top.get("max_completion_tokens"), "max_completion_tokens"),
        rates=charged(found),
        capabilities=("embeddings",) if embeds else ("text", *known(flags, flags)),
        input_modalities=("text", "image") if images and not embeds else ("text",),
        output_modalities=("embeddings",) if embeds else ("text",),
        deprecated=ended,
    )


def _overrides(prices: dict[str, Any]) -> list[int]:
    """Where OpenRouter's price changes with the length. A price that changes with the hour cannot be said at all."""
    stated = prices.get("overrides")
    overrides = [each for each in stated if isinstance(each, dict)] if isinstance(stated, list) else []
    lengths = [tokens(each.get("min_prompt_tokens"), "min_prompt_tokens") for each in overrides]
    if None in lengths:
        raise Unusable("its price changes with the hour")
    return [length for length in lengths if length is not None]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(value: object) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()
