"""Vectors are output: an answer that holds them was delivered, and it has no completion tokens."""

from metering.meter import Meter
from metering.tokens import tokenizer


def test_vectors_are_delivered_and_cost_their_prompt() -> None:
    meter = Meter(tokenizer("o200k_base"), tokens_max=0, tokens_limit=0, prompt_tokens_max=100)
    message = {"role": "assistant", "embeddings": [[0.5, 0.25]]}
    meter.see({"choices": [{"index": 0, "message": message}], "usage": {"prompt_tokens": 5, "completion_tokens": 0}})
    assert (meter.delivered, meter.over) == (True, False)
    usage, source = meter.usage(99, whole=True)
    assert (usage.prompt_tokens, usage.completion_tokens, source) == (5, 0, "provider")


def test_without_a_report_the_prompt_is_counted_and_nothing_else() -> None:
    meter = Meter(tokenizer("o200k_base"), tokens_max=0, tokens_limit=0, prompt_tokens_max=100)
    meter.see({"choices": [{"index": 0, "message": {"role": "assistant", "embeddings": [[0.5]]}, "finish_reason": "stop"}]})
    usage, source = meter.usage(7, whole=True)
    assert (usage.prompt_tokens, usage.completion_tokens, source) == (7, 0, "counted")
