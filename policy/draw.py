"""Which of several equal endpoints is tried first: a draw by price, and where prices tie exactly the less busy of two.

Pure: the draw is a number that the caller gives. The weights are 1/price^2 (OpenRouter's rule); free endpoints come before all
others, with equal weights. Among exact ties the power of two choices: of two at random the one with less to wait for, which is its
latency times the requests it has in flight, this one included; without a latency of both, the requests alone.
"""

from policy.facts import Facts
from policy.stats import Stats


def draw_first(alive: list[int], ranks: dict[int, int], known: dict[int, Stats], facts: Facts, draw: float) -> int | None:
    """Moves one of the equals at the head of `alive` to its front and returns it; None if the first has no equal. 0 <= draw < 1."""
    first, prices = alive[0], facts.prices
    rank, priority = ranks[first], facts.priorities[first]
    equals = [i for i in alive if ranks[i] == rank and facts.priorities[i] == priority]
    if len(equals) == 1:
        return None
    if prices[first]:
        chosen = _weighted(equals, [facts.weights[i] for i in equals], draw)
    else:
        free = [i for i in equals if not prices[i]]
        chosen = free[int(draw * len(free))]
    ties = [i for i in equals if prices[i] == prices[chosen] and i != chosen]
    if ties:
        chosen = _less_busy(chosen, ties[int(draw * 2**20 % 1 * len(ties))], known)
    alive.remove(chosen)
    alive.insert(0, chosen)
    return chosen


def _weighted(equals: list[int], weights: list[float], draw: float) -> int:
    left = draw * sum(weights)
    for i, weight in zip(equals, weights, strict=True):
        left -= weight
        if left < 0:
            return i
    return equals[0]  # the sum was rounded up


def _less_busy(one: int, other: int, known: dict[int, Stats]) -> int:
    mine, theirs = known[one], known[other]
    waits = mine.in_flight + 1.0, theirs.in_flight + 1.0
    if mine.latency is not None and theirs.latency is not None:
        waits = waits[0] * mine.latency.p50, waits[1] * theirs.latency.p50
    return other if waits[1] < waits[0] else one
