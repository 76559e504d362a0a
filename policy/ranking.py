"""In which order to try the endpoints that the filters left: a pure function of them, their figures and one draw.

From the strongest wish to the weakest, within a model (or over all models, for a sort with partition "none"): the customer's own keys,
the endpoint that served this conversation, the request's `order`, the health tier, the soft preferences, the sort, or else priority and
price. Without a sort or an order, the first among equals is drawn (see `draw`). An ejected endpoint is dropped while its model has
another, and is otherwise the very last to be tried.
"""

from collections.abc import Callable, Mapping
from math import inf
from operator import attrgetter
from typing import Any, Final, NamedTuple

from policy.draw import draw_first
from policy.facts import Facts, bits
from policy.funnel import Walk
from policy.preferences import Preferences, Sort, Threshold
from policy.stats import DEFAULT, Stats
from providers.provider import Endpoint

StatsOf = Callable[[str], Stats]

HEALTHY, DEGRADED, UNSTABLE, EJECTED = range(4)
TIERS: Final = ("healthy", "degraded", "unstable", "ejected")
UPTIME_HEALTHY: Final = 0.95
UPTIME_DEGRADED: Final = 0.8
"""OpenRouter's classes: 95 % and more are normal, 80 to 95 % come later, less is for when nothing else is left."""

ORDERS: Final = 128
"""More than the longest `order`."""
OF_SOFT, OF_TIER, OF_ORDER, OF_STICKY, OF_OWN = 1, 2, 8, 8 * ORDERS, 16 * ORDERS
"""What each wish weighs in a rank: one number, smaller first, in which a stronger wish outweighs all the weaker ones together."""
DROPPED: Final = "it failed several times in a row and is left out until it recovers; others of the model are up"


class Wishes(NamedTuple):
    """What one model's endpoints are ordered by."""

    sort: Sort | None
    order: tuple[str, ...] | None
    min_throughput: Threshold | None
    max_latency: Threshold | None


class Ranking(NamedTuple):
    """One model's endpoints, by their place in its facts, in order: `alive`, or `ejected` if there are no others.

    `figures` are what an explicit sort compares; `drawn` is the one that was put first by the draw.
    """

    facts: Facts
    wishes: Wishes
    stats: dict[int, Stats]
    ranks: dict[int, int]
    figures: dict[int, float]
    alive: list[int]
    ejected: list[int]
    drawn: int | None


def wishes(sort: Sort | None, own: Preferences, wanted: Preferences) -> Wishes:
    """A variant's sort is the request's word, which an account's default order must not outweigh."""
    order = wanted.order if sort == wanted.sort or own.order is not None else None
    return Wishes(sort, order, wanted.preferred_min_throughput, wanted.preferred_max_latency)


def rank(way: Walk, wishes: Wishes, stats: StatsOf, *, draw: float, sticky: str | None, own_keys: Mapping[str, str]) -> Ranking:
    """One model's endpoints in order. Those that are dropped for their health are noted in `way`."""
    facts, left, sort = way.facts, way.left, wishes.sort
    static = facts.by_price if sort is not None and sort.by == "price" else facts.order
    alive = [i for i in static if left >> i & 1]
    ids = facts.ids
    known = {i: stats(ids[i]) for i in alive}
    for slug, key in own_keys.items():
        known.update({i: stats(f"{ids[i]}#{key}") for i in bits(facts.names.get(slug, 0) & left)})
    ranks = _by_figures(known, wishes)
    ejected = [i for i in alive if ranks[i] >= EJECTED * OF_TIER]
    if ejected and len(ejected) < len(alive):
        way.keep("Filter by Health", ~sum(1 << i for i in ejected), DROPPED)
        alive, ejected = [i for i in alive if ranks[i] < EJECTED * OF_TIER], []
    elif ejected:
        alive = []
    _by_wishes(ranks, way, wishes.order, sticky, own_keys)
    figures = {} if sort is None else {i: _figure(sort.by, known[i], facts.prices[i]) for i in known}
    (alive or ejected).sort(key=ranks.__getitem__ if sort is None else lambda i: (ranks[i], figures[i]))
    drawn = None
    if sort is None and wishes.order is None and len(alive) > 1:
        drawn = draw_first(alive, ranks, known, facts, draw)
    return Ranking(facts, wishes, known, ranks, figures, alive, ejected, drawn)


def together(rankings: list[Ranking]) -> list[Endpoint]:
    """The endpoints of all models: model by model or, if all have one sort with partition "none", as one; the ejected ones last."""
    sort = rankings[0].wishes.sort
    across = sort is not None and sort.partition == "none" and all(each.wishes.sort == sort for each in rankings)
    alive = [each.facts.endpoints[i] for each in rankings for i in each.alive]
    if across:
        keys = {each.facts.ids[i]: _across(each, i) for each in rankings for i in each.alive}
        alive.sort(key=lambda endpoint: keys[endpoint.id])
    return alive + [each.facts.endpoints[i] for each in rankings for i in each.ejected]


def tier_of(stats: Stats) -> int:
    """A half-open endpoint is not held to its outage: a live request is how one learns that it is over."""
    if stats.ejected and not stats.probe:
        return EJECTED
    uptime = stats.uptime
    if (stats.outage and not stats.probe) or (uptime is not None and uptime < UPTIME_DEGRADED):
        return UNSTABLE
    return DEGRADED if uptime is not None and uptime < UPTIME_HEALTHY else HEALTHY


def _across(ranking: Ranking, i: int) -> tuple[int, float, int, int]:
    """What ties keeps the order of the models."""
    facts = ranking.facts
    return ranking.ranks[i], ranking.figures[i], facts.priorities[i], facts.prices[i]


def _by_figures(known: dict[int, Stats], wishes: Wishes) -> dict[int, int]:
    """What health and the soft preferences add to each rank. Unknown figures count as meeting every wish."""
    floors, ceilings = _limits(wishes.min_throughput), _limits(wishes.max_latency)
    ranks = {}
    for i, stats in known.items():
        if stats is DEFAULT:
            ranks[i] = 0
            continue
        added = tier_of(stats) * OF_TIER
        throughput, latency = stats.throughput, stats.latency
        for percentile, least in floors:
            if throughput is not None and percentile(throughput) < least:
                added |= OF_SOFT
        for percentile, most in ceilings:
            if latency is not None and percentile(latency) > most:
                added |= OF_SOFT
        ranks[i] = added
    return ranks


def _limits(threshold: Threshold | None) -> list[tuple[Callable[[Any], float], float]]:
    if threshold is None:
        return []
    return [(get, limit) for get in _PERCENTILES if (limit := get(threshold)) is not None]


_PERCENTILES: Final = [attrgetter(name) for name in Threshold.__struct_fields__]


def _by_wishes(ranks: dict[int, int], way: Walk, order: tuple[str, ...] | None, sticky: str | None, own_keys: Mapping[str, str]) -> None:
    """Lowers the ranks of what is named; an unhealthy endpoint is not stuck to, and an explicit order is not overruled."""
    names, left = way.facts.names, way.left
    if sticky is not None and order is None:
        for i in bits(names.get(sticky, 0) & left):
            if way.facts.ids[i] == sticky and ranks[i] < UNSTABLE * OF_TIER:
                ranks[i] -= OF_STICKY
    for index, slug in reversed(list(enumerate(order or ()))):
        for i in bits(names.get(slug, 0) & left):
            ranks[i] = ranks[i] % OF_ORDER + (index - ORDERS) * OF_ORDER
    for slug in own_keys:
        for i in bits(names.get(slug, 0) & left):
            ranks[i] -= OF_OWN


def _figure(by: str, stats: Stats, price: int) -> float:
    """Smaller is better; unknown figures come last."""
    if by == "price":
        return price
    if by == "latency":
        return inf if stats.latency is None else stats.latency.p50
    return inf if stats.throughput is None else -stats.throughput.p50
