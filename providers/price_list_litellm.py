"""One row of LiteLLM's price list (`model_prices_and_context_window.json`) as an offer."""

import datetime
import re
from typing import Any, Final

from providers.catalog_rows import MODEL_ID, SLUG
from providers.price_offer import Offer, Skipped, Unusable, charged, context, known, last_day, rates, tokens, usd_per_token

SLUGS: Final = {
    "azure_ai": "azure",
    "bedrock": "amazon-bedrock",
    "bedrock_converse": "amazon-bedrock",
    "cohere_chat": "cohere",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "friendliai": "friendli",
    "gemini": "google-ai-studio",
    "together_ai": "together",
    "xiaomi_mimo": "xiaomi",
}
"""LiteLLM's names of providers -> our slugs, where they differ."""
COMPANIES: Final = {
    "alibaba": "qwen",
    "google-ai-studio": "google",
    "mistral": "mistralai",
    "moonshot": "moonshotai",
    "xai": "x-ai",
    "zai": "z-ai",
    "deepseek-ai": "deepseek",
    "meta-models": "meta",
    "minimaxai": "minimax",
    "xiaomimimo": "xiaomi",
    "stepfun-ai": "stepfun",
    "zai-org": "z-ai",
}
"""Who makes the models of a provider that names only its own, and other spellings of makers."""
UNITS: Final = {
    "prompt": "input_cost_per_token",
    "completion": "output_cost_per_token",
    "cached_prompt": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
    "audio": "input_cost_per_audio_token",
    "audio_completion": "output_cost_per_audio_token",
}
STEP: Final = re.compile(r"_cost(?:_per_token)?_above_(\d{1,6})k_tokens\Z")


def offer_of(name: str, row: dict[str, Any], today: datetime.date) -> Offer | Skipped:
    provider, mode = slug_of(row), row.get("mode")
    if not provider:
        raise Unusable("it names no provider")
    if not isinstance(mode, str):
        raise Unusable("it has no mode")
    if mode not in ("chat", "embedding"):
        return Skipped(name, provider, f"its mode is {mode[:40]!r}, not chat or embedding", elsewhere=True)
    upstream = name.removeprefix(f"{row['litellm_provider']}/")
    if upstream.startswith("ft:") or (provider == "amazon-bedrock" and "/" in upstream):
        return Skipped(name, provider, "it is the price of a fine-tuned model or of another region", elsewhere=True)
    ended = last_day(row.get("deprecation_date"))
    if ended is not None and ended < today:
        raise Unusable(f"it ended on {ended}")
    prices = _dearest(row)
    embeds = mode == "embedding"
    found = rates({**prices, UNITS["completion"]: 0} if embeds else prices, UNITS)
    flags = {"images": bool(row.get("supports_vision")), "tools": bool(row.get("supports_function_calling")),
             "json_schema": bool(row.get("supports_response_schema"))}  # fmt: skip
    return Offer(
        name=name,
        provider=provider,
        upstream_model=upstream,
        model=_model(provider, upstream),
        context_length=context(tokens(row.get("max_input_tokens"), "max_input_tokens"), _steps(row)),
        max_output_tokens=None if embeds else tokens(row.get("max_output_tokens"), "max_output_tokens"),
        rates=charged(found),
        capabilities=("embeddings",) if embeds else ("text", *known(flags, flags)),
        input_modalities=("text", "image") if flags["images"] and not embeds else ("text",),
        output_modalities=("embeddings",) if embeds else ("text",),
        deprecated=ended,
    )


def slug_of(row: Any) -> str:
    """Our slug of the provider that a row of LiteLLM's names, or ""."""
    theirs = row.get("litellm_provider") if isinstance(row, dict) else None
    slug = SLUGS.get(theirs, theirs) if isinstance(theirs, str) else ""
    return slug if re.match(SLUG, slug) else ""


def _dearest(row: dict[str, Any]) -> dict[str, Any]:
    """The row's prices; of a price in steps (`tiered_pricing`) the dearest step."""
    steps = row.get("tiered_pricing")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return row
    prices = dict(row)
    for name in UNITS.values():
        stated = [usd_per_token(step[name], name) for step in steps if step.get(name) is not None]
        if stated:
            prices[name] = max(stated)
    return prices


def _steps(row: dict[str, Any]) -> list[int]:
    """Where the list's price rises, in tokens."""
    return [int(found[1]) * 1000 for name in row if isinstance(name, str) and (found := STEP.search(name))]


def _model(provider: str, upstream: str) -> str:
    """The public id that the row would have here. Unusable if none can be made of its name."""
    tail = upstream.lower().removeprefix("accounts/fireworks/models/")
    maker, _, model = tail.partition("/") if "/" in tail else (provider, "", tail)
    id = f"{COMPANIES.get(maker, maker)}/{model}"
    if not re.match(MODEL_ID, id):
        raise Unusable("its name makes no id company/model")
    return id
