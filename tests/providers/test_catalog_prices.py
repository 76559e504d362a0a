"""Twenty prices of the built-in catalog against their source, written down by hand as the source writes them: USD per token.

The source is LiteLLM's published price list, package litellm 1.109.1 (MIT), file model_prices_and_context_window.json, read on 2026-11-22;
beside each endpoint stands the name of its row there. Two prices are not that list's but those that Google's page
(https://ai.google.dev/gemini-api/docs/pricing) names for the time after an introductory price.
"""

from decimal import Decimal

import pytest

from providers.catalog import load
from providers.provider import Endpoint

# (endpoint, row of the list, prompt, completion, cached prompt)
LISTED = [
    ("openai/openai/gpt-6-sol", "gpt-6-sol", "2e-06", "1e-05", "2e-07"),
    ("openai/openai/gpt-4o-mini", "gpt-4o-mini", "1.5e-07", "6e-07", "7.5e-08"),
    ("openai/openai/text-embedding-3-small", "text-embedding-3-small", "2e-08", "0.0", None),
    ("anthropic/anthropic/claude-opus-5.5", "claude-opus-5-5", "4e-06", "2e-05", "2e-07"),
    ("anthropic/anthropic/claude-haiku-4.5", "claude-haiku-4-5", "1e-06", "5e-06", "1e-07"),
    ("google-ai-studio/google/gemini-3.5-flash", "gemini/gemini-3.5-flash", "1.5e-06", "9e-06", "1.5e-07"),
    ("amazon-bedrock/anthropic/claude-sonnet-4.6", "us.anthropic.claude-sonnet-4-6", "3.3e-06", "1.65e-05", "3.3e-07"),
    ("amazon-bedrock/amazon/nova-pro-v1", "us.amazon.nova-pro-v1:0", "8e-07", "3.2e-06", "2e-07"),
    ("deepinfra/deepseek/deepseek-v3.2", "deepinfra/deepseek-ai/DeepSeek-V3.2", "2.6e-07", "3.8e-07", "1.3e-07"),
    ("together/moonshotai/kimi-k3", "together_ai/moonshotai/Kimi-K3", "3e-06", "1.5e-05", "3e-07"),
    ("fireworks/openai/gpt-oss-20b", "fireworks_ai/accounts/fireworks/models/gpt-oss-20b", "7e-08", "3e-07", "3.5e-08"),
    ("groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b", "1.5e-07", "6e-07", "7.5e-08"),
    ("cerebras/openai/gpt-oss-120b", "cerebras/gpt-oss-120b", "3.5e-07", "7.5e-07", None),
    ("mistral/mistralai/mistral-large-2512", "mistral/mistral-large-2512", "5e-07", "1.5e-06", "5e-08"),
    ("deepseek/deepseek/deepseek-flash", "deepseek/deepseek-flash", "3e-07", "1.2e-06", "6e-09"),
    ("xai/x-ai/grok-4.3", "xai/grok-4.3", "1.25e-06", "2.5e-06", "2e-07"),
    ("moonshot/moonshotai/kimi-k3.1-pro", "moonshot/kimi-k3.1-pro", "2e-06", "1e-05", "2e-07"),
    ("zai/z-ai/glm-4.7", "zai/glm-4.7", "6e-07", "2.2e-06", "1.1e-07"),
    ("alibaba/qwen/qwen3.8-flash", "dashscope/qwen3.8-flash", "1.5e-07", "4.7e-07", "1.6e-08"),
    ("novita/tencent/hy3", "novita/tencent/hy3", "1.4e-07", "5.8e-07", "3.5e-08"),
    ("baseten/openai/gpt-oss-120b", "baseten/openai/gpt-oss-120b", "1e-07", "5e-07", "1e-07"),
    ("inception/inception/mercury-2.5", "inception/mercury-2.5", "2e-07", "7.5e-07", "2e-08"),
    ("wandb/qwen/qwen3.8-27b", "wandb/Qwen/Qwen3.8-27B", "4e-07", "3e-06", "1.5e-07"),
]
# What Google charges from 2026-12-01 (Argon) and 2027-01-01 (Flash) on; half of it before.
LATER = [
    ("google-ai-studio/google/gemini-4-argon", "Gemini 4 Argon", "4e-06", "2e-05", "2e-07"),
    ("google-ai-studio/google/gemini-3.8-flash", "Gemini 3.8 Flash", "1.5e-06", "7.5e-06", "1.5e-07"),
]


@pytest.mark.parametrize(("id", "row", "prompt", "completion", "cached"), [*LISTED, *LATER], ids=lambda value: str(value))
def test_a_price_is_its_sources(id: str, row: str, prompt: str, completion: str, cached: str | None) -> None:
    price = endpoint(id).price
    assert (price.prompt, price.completion) == (pico(prompt), pico(completion)), row
    assert price.cached_prompt == (None if cached is None else pico(cached)), row


@pytest.mark.parametrize(
    ("id", "row", "rate"),
    [
        ("anthropic/anthropic/claude-opus-5.5", "claude-opus-5-5", "5e-06"),
        ("amazon-bedrock/anthropic/claude-sonnet-4.6", "us.anthropic.claude-sonnet-4-6", "4.125e-06"),
        ("openai/openai/gpt-6-sol", "gpt-6-sol", "2.5e-06"),
    ],
)
def test_writing_a_cache_costs_what_the_list_says_for_the_default_lifetime(id: str, row: str, rate: str) -> None:
    assert endpoint(id).price.cache_write == pico(rate), row


@pytest.mark.parametrize(
    ("id", "tokens"),
    [
        ("openai/openai/gpt-6-sol", 272_000),
        ("anthropic/anthropic/claude-haiku-5.5", 100_000),
        ("amazon-bedrock/anthropic/claude-haiku-5.5", 100_000),
        ("google-ai-studio/google/gemini-3.1-pro-preview", 200_000),
        ("xai/x-ai/grok-4.7", 200_000),
        ("minimax/minimax/minimax-m3", 512_000),
    ],
)
def test_a_context_ends_where_the_list_raises_the_price(id: str, tokens: int) -> None:
    assert endpoint(id).context_length == tokens


def endpoint(id: str) -> Endpoint:
    (found,) = (each for each in load(None).every_endpoint() if each.id == id)
    return found


def pico(usd_per_token: str) -> int:
    rate = Decimal(usd_per_token) * 10**12
    assert rate == int(rate)
    return int(rate)
