"""Counts prompt tokens and builds the usage object, true or as wrong as the plan wants it."""

from typing import NamedTuple

from tests.fakes.faults import Json
from tests.fakes.ledger import Terms
from tests.fakes.plans import Plan


class Count(NamedTuple):
    """What an answer's usage is made of; `override` is the plan's own usage, merged over the count."""

    terms: Terms
    override: dict[str, Json]

    def usage(self, completion: int) -> dict[str, Json]:
        terms = self.terms
        truth: dict[str, Json] = {"prompt_tokens": terms.prompt, "completion_tokens": completion}
        if terms.cached:
            truth["prompt_tokens_details"] = {"cached_tokens": terms.cached}
        if terms.reasoning:
            truth["completion_tokens_details"] = {"reasoning_tokens": min(terms.reasoning, completion)}
        told = {**truth, **self.override}
        return {"total_tokens": _whole(told["prompt_tokens"]) + _whole(told["completion_tokens"]), **told}


def count_for(messages: list[Json], plan: Plan, *, shown_reasoning: int = 0) -> Count:
    """`shown_reasoning`: tokens of reasoning among the answer's own; `reasoning=` in the plan adds hidden ones."""
    override = plan.params.get("usage")
    override = override if isinstance(override, dict) else {}
    details = override.get("prompt_tokens_details") or {}
    thinking = override.get("completion_tokens_details") or {}
    completion = override.get("completion_tokens")
    terms = Terms(
        prompt=_whole(override.get("prompt_tokens", prompt_tokens(messages))),
        cached=_whole(details.get("cached_tokens", plan.number("cached"))),
        reasoning=_whole(thinking.get("reasoning_tokens", plan.number("reasoning") + shown_reasoning)),
        completion=None if completion is None else _whole(completion),
    )
    return Count(terms, override)


def prompt_tokens(messages: list[Json]) -> int:
    """Words of all text, parted by white space, plus 3 per message; images and tools count nothing."""
    return sum(3 + len(text.split()) for text in map(text_of, messages))


def text_of(message: Json) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text")


def reported(usage: dict[str, Json], plan: Plan) -> Json:
    """The usage as this plan reports it."""
    if plan.has("usage-null"):
        return None
    if not plan.has("usage-wrong"):
        return usage
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    wrong: dict[str, Json] = {
        "negative": {**usage, "prompt_tokens": -prompt, "completion_tokens": -5},
        "huge": {**usage, "prompt_tokens": 10**18, "completion_tokens": 10**30},
        "float": {**usage, "prompt_tokens": prompt + 0.5, "completion_tokens": completion + 0.25},
        "str": {key: str(value) for key, value in usage.items()},
        "list": [prompt, completion],
        "empty": {},
        "inconsistent": {**usage, "total_tokens": 1, "prompt_tokens_details": {"cached_tokens": prompt + 1000}},
    }
    return wrong.get(plan.text("kind"), wrong["negative"])


def _whole(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
