"""The funnel: what each step of the filters left of the endpoints, and why every other one went; what explains a route is made of it."""

from collections.abc import Callable
from typing import Final

import msgspec

from policy.facts import Facts, bits
from providers.provider import Endpoint

STEPS: Final = (
    "Filter by Account Models",
    "Filter by Variant",
    "Filter by Provider Key",
    "Filter by Price",
    "Filter by Capabilities",
    "Filter by provider.only",
    "Filter by provider.ignore",
    "Filter by Data Policy",
    "Filter by Region",
    "Filter by provider.quantizations",
    "Filter by provider.require_parameters",
    "Filter by provider.order",
    "Filter by provider.max_price",
    "Filter by Health",
    "Filter by provider.allow_fallbacks",
)
INITIAL: Final = "Initial Endpoints"
Reason = str | Callable[[Endpoint], str]


class Step(msgspec.Struct, frozen=True):
    """One step of the funnel: how many endpoints were left after it, and why the others went (endpoint id -> reason)."""

    step: str
    endpoint_count: int
    removed: dict[str, str] = {}


class Walk:
    """One model's endpoints on their way down: `left` as a mask, `gone` per step."""

    __slots__ = ("facts", "gone", "left")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.left = facts.everyone
        self.gone: list[tuple[str, int, Reason]] = []

    def keep(self, step: str, kept: int, reason: Reason) -> None:
        gone = self.left & ~kept
        if gone:
            self.left ^= gone
            self.gone.append((step, gone, reason))


def funnel(walks: list[Walk]) -> tuple[Step, ...]:
    """The steps that removed something, over all models, in their order."""
    count = sum(len(way.facts.ids) for way in walks)
    steps = [Step(INITIAL, count)]
    removed: dict[str, dict[str, str]] = {}
    for way in walks:
        for step, mask, reason in way.gone:
            reasons = removed.setdefault(step, {})
            for i in bits(mask):
                reasons[way.facts.ids[i]] = reason if isinstance(reason, str) else reason(way.facts.endpoints[i])
    for step in removed if len(walks) == 1 else sorted(removed, key=STEPS.index):
        count -= len(removed[step])
        steps.append(Step(step, count, removed[step]))
    return tuple(steps)
