"""Routing in words: why an endpoint has its place, and why there is none, for somebody who has never seen the code."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

import msgspec

from metering.money import format_rate
from policy.errors import NoEndpoint
from policy.funnel import INITIAL, Step, Walk, funnel
from policy.ranking import OF_ORDER, OF_OWN, OF_TIER, ORDERS, TIERS, UPTIME_HEALTHY, Ranking
from policy.stats import Stats
from providers.provider import Endpoint

REASONS_MAX: Final = 3
PROVIDERS_MAX: Final = 10
REMEDIES: Final = {
    "Filter by Account Models": "Use another model, or ask the account's owner to change the rules.",
    "Filter by Variant": "Leave out :free to use paid endpoints.",
    "Filter by Provider Key": "The operator of this installation sets provider keys.",
    "Filter by Price": "The operator of this installation completes the catalog.",
    "Filter by Capabilities": "Use a model that supports this, or leave it out of the request.",
    "Filter by Data Policy": "Use a model with another provider, or allow this where the rule was set.",
    "Filter by Region": "Use a model with a provider there, or change the rule where it was set.",
    "Filter by provider.require_parameters": "Leave the parameter out, or set require_parameters to false.",
    "Filter by provider.max_price": "Raise the price where it was set, or use a cheaper model.",
}


class Ranked(msgspec.Struct, frozen=True):
    """One endpoint of a plan: its health tier and, in short words, what put it in its place."""

    endpoint: str
    tier: str
    why: str


def ranked(endpoints: tuple[Endpoint, ...], rankings: tuple[Ranking, ...], own_keys: Mapping[str, str]) -> tuple[Ranked, ...]:
    places = {each.facts.ids[i]: (each, i) for each in rankings for i in each.ranks}
    return tuple(_ranked(*places[endpoint.id], own_keys) for endpoint in endpoints)


def no_endpoint(walks: list[Walk], models: list[str]) -> NoEndpoint:
    """Says how many endpoints there were, which rule removed how many of them, and what can be done about the last one."""
    steps = funnel(walks)
    names = " or ".join(models)
    last = steps[-1]
    if last.step == INITIAL:
        message = f"No endpoint serves {names} at present."
    else:
        gone = ", ".join(f"{len(step.removed)} at {step.step} ({_reasons(step)})" for step in steps[1:])
        message = f"No endpoint of {names} can take this request: of {steps[0].endpoint_count}, {gone}. {_remedy(last, walks)}".rstrip()
    return NoEndpoint(message, [msgspec.to_builtins(step) for step in steps], last.step)


def _ranked(ranking: Ranking, i: int, own_keys: Mapping[str, str]) -> Ranked:
    tier = ranking.ranks[i] % OF_ORDER // OF_TIER
    return Ranked(ranking.facts.ids[i], TIERS[tier], "; ".join(_why(ranking, i, own_keys)))


def _why(ranking: Ranking, i: int, own_keys: Mapping[str, str]) -> Iterator[str]:
    facts, wishes, rank = ranking.facts, ranking.wishes, ranking.ranks[i]
    if facts.ids[i] in own_keys:
        yield "the customer's own key comes first"
        rank += OF_OWN
    if wishes.order is not None:
        index = rank // OF_ORDER + ORDERS
        yield f"number {index + 1} in provider.order" if index < len(wishes.order) else "not in provider.order"
    elif rank < 0:
        yield "it served this conversation before"
    yield from _health(ranking.stats[i])
    if rank % OF_TIER:
        yield "it misses a preferred throughput or latency"
    if facts.priorities[i]:
        yield f"priority {facts.priorities[i]}"
    price = f"{format_rate(facts.prices[i])} USD per 1,000 tokens (3 of the prompt to 1 of the answer)"
    if wishes.sort is not None:
        yield _sorted(wishes.sort.by, ranking.figures[i], price)
    else:
        yield f"drawn with weight 1/price^2 at {price}" if ranking.drawn == i else price


def _health(stats: Stats) -> Iterator[str]:
    if stats.key_refused:
        yield "it refuses the key"
    if stats.ejected and stats.probe:
        yield "it failed several times in a row and may be tried once now"
    elif stats.ejected:
        yield "it failed several times in a row, and no other endpoint of the model is left"
    elif stats.outage:
        yield "it failed in the last 30 seconds"
    if stats.uptime is not None and stats.uptime < UPTIME_HEALTHY:
        yield f"uptime {stats.uptime:.1%}"


def _sorted(by: str, figure: float, price: str) -> str:
    if by == "price":
        return f"sorted by price, {price}"
    if figure == inf:
        return f"its {by} is not known, so it comes after those that are sorted by it"
    unit = "tokens per second" if by == "throughput" else "seconds to the first byte"
    return f"sorted by {by}, {abs(figure):.3g} {unit}"


def _reasons(step: Step) -> str:
    reasons = list(dict.fromkeys(step.removed.values()))
    more = f"; and {len(reasons) - REASONS_MAX} other reasons" if len(reasons) > REASONS_MAX else ""
    return "; ".join(reasons[:REASONS_MAX]) + more


def _remedy(last: Step, walks: list[Walk]) -> str:
    if last.step in REMEDIES:
        return REMEDIES[last.step]
    providers = list(dict.fromkeys(each.provider.slug for way in walks for each in way.facts.endpoints))
    more = ", ..." if len(providers) > PROVIDERS_MAX else ""
    return f"Providers that serve it: {', '.join(providers[:PROVIDERS_MAX])}{more}."
