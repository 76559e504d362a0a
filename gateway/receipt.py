"""The usage object that closes every answer: OpenRouter's superset of OpenAI's, with the cost in USD as a number with all its digits."""

from typing import Any

from metering.money import PICO_PER_NANO, json_usd
from metering.price import Cost
from metering.usage import PROMPT_UNITS, Usage


def usage_object(usage: Usage, cost: Cost, *, charge: int, held: int, source: str, own: bool = False) -> dict[str, Any]:
    """`cost` is what the ledger charged, `hold` what was held; `usage_source` says who counted (`provider`, `counted`, `estimated`).

    `own`: the customer's own key paid the provider, so what that costs upstream is the list price, whatever we charge.
    """
    prompt_pico = sum(line.total_pico for line in cost.lines if line.unit in PROMPT_UNITS)
    upstream = cost.listed if own else charge
    prompt_cost = json_usd(min(prompt_pico // PICO_PER_NANO, upstream))
    completion_cost = json_usd(max(0, upstream - prompt_pico // PICO_PER_NANO))
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": json_usd(charge),
        "hold": json_usd(held),
        "is_byok": own,
        "usage_source": source,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_prompt,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.audio,
            "image_tokens": usage.image,
            "video_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_completion,
            "image_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": json_usd(upstream),
            "upstream_inference_prompt_cost": prompt_cost,
            "upstream_inference_completions_cost": completion_cost,
        },
    }
