"""The draw among equals: shares of 1/price^2, free ones first, the less busy of two where prices tie, the same for the same id."""

from collections import Counter
from collections.abc import Mapping

import pytest

from metering.price import Price
from policy import route, rules
from policy.facts import typical
from policy.route import draw_of
from policy.stats import DEFAULT, Stats
from providers.provider import Endpoint
from tests.policy.routing import catalog, endpoint, request, steady, usd

IDS = [f"gen-{i}" for i in range(20_000)]
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}
"""Chi-squared at p = 0.001, by degrees of freedom; the ids are fixed, so that the test does not depend on luck."""


def firsts(*offered: Endpoint, ids: list[str] = IDS, figures: Mapping[str, Stats] | None = None) -> Counter[str]:
    """How often each provider is first over so many generations."""
    known, served, wanted = figures or {}, catalog(*offered), request()

    def stats(id: str) -> Stats:
        return known.get(id.partition("/")[0], DEFAULT)

    plans = (route.plan(wanted, served, keys=frozenset(), stats=stats, draw=draw_of(id)) for id in ids)
    return Counter(found.endpoints[0].provider.slug for found in plans)


def shares(*prices: Price) -> Counter[str]:
    return firsts(*(endpoint(f"p{i}", price=price) for i, price in enumerate(prices)))


@pytest.mark.parametrize(
    "prices",
    [(1, 2), (1, 2, 3), (0.15, 0.6, 0.2, 0.25), (1, 1.1, 1.2, 1.3, 5), (3, 1, 1, 2)],
)
def test_the_first_place_is_drawn_with_weights_of_1_over_the_price_squared(prices: tuple[float, ...]) -> None:
    found = shares(*map(usd, prices))
    whole = sum(1 / price**2 for price in prices)
    expected = [len(IDS) / price**2 / whole for price in prices]
    chi_squared = sum((found[f"p{i}"] - count) ** 2 / count for i, count in enumerate(expected))
    assert chi_squared < CRITICAL[len(prices) - 1]


def test_prices_are_compared_by_three_prompt_tokens_to_one_of_the_answer_and_the_fee() -> None:
    assert typical(Price(prompt=4, completion=8, request=1000)) == 750 * 4 + 250 * 8 + 1000
    found = shares(Price(prompt=4, completion=0), Price(prompt=0, completion=12), Price(prompt=0, completion=0, request=3000))
    assert sum((count - len(IDS) / 3) ** 2 / (len(IDS) / 3) for count in found.values()) < CRITICAL[2]


def test_free_endpoints_come_before_all_others_with_equal_weights() -> None:
    found = shares(usd(0), usd(0.000004), usd(0), Price(prompt=0, completion=0, request=1))
    assert found.keys() == {"p0", "p2"}
    assert (found["p0"] - found["p2"]) ** 2 / len(IDS) < CRITICAL[1]


@pytest.mark.parametrize("price", [Price(prompt=1, completion=0), Price(prompt=10**15, completion=10**15, request=10**18)])
def test_the_smallest_and_the_largest_price_can_be_drawn(price: Price) -> None:
    found = shares(price, price)
    assert (found["p0"] - found["p1"]) ** 2 / len(IDS) < CRITICAL[1]


def test_an_unhealthy_or_less_preferred_endpoint_takes_no_part() -> None:
    offered = [endpoint("a", price=usd(3)), endpoint("b", price=usd(1)), endpoint("c", price=usd(1), priority=1)]
    assert firsts(*offered, figures={"b": Stats(uptime=0.9)}, ids=IDS[:500]).keys() == {"a"}


def test_where_prices_tie_the_less_busy_of_two_is_first() -> None:
    offered = [endpoint("a"), endpoint("b")]
    busy = {"a": Stats(in_flight=3), "b": Stats(in_flight=2)}
    slow = {"a": Stats(latency=steady(1), in_flight=2), "b": Stats(latency=steady(4))}
    unknown = {"a": Stats(latency=steady(1), in_flight=2), "b": Stats(in_flight=1)}
    for figures, first in ((busy, "b"), (slow, "a"), (unknown, "b")):
        assert firsts(*offered, figures=figures, ids=IDS[:200]).keys() == {first}


def test_of_three_that_tie_the_busiest_is_never_first_and_the_others_are() -> None:
    offered = [endpoint(slug) for slug in "abc"]
    figures = {"a": Stats(in_flight=1), "b": Stats(in_flight=5), "c": Stats(in_flight=2)}
    found = firsts(*offered, figures=figures, ids=IDS[:3000])
    assert found.keys() == {"a", "c"}
    assert abs(found["a"] - 2000) < 120, "two of three pairs have the idlest in them"


def test_a_tie_takes_its_whole_share_whoever_of_it_is_first() -> None:
    offered = [endpoint("a", price=usd(1)), endpoint("b", price=usd(1)), endpoint("c", price=usd(2))]
    found = firsts(*offered, figures={"a": Stats(in_flight=9)})
    assert found["a"] == 0
    assert (found["c"] - len(IDS) / 9) ** 2 / (len(IDS) / 9) < CRITICAL[1]


def test_the_draw_of_an_id_is_fixed_and_below_1() -> None:
    assert draw_of("gen-1") == draw_of("gen-1") != draw_of("gen-2")
    assert draw_of("gen-1") == 0.6973160236714415, "a recorded generation is replayed by it: it never changes"
    assert all(0 <= draw_of(id) < 1 for id in IDS)


def test_the_draw_of_a_policy_and_of_an_endpoint_do_not_hang_together() -> None:
    """Whichever model is drawn, its endpoints keep their own shares."""
    offered = [endpoint(slug, model) for model in ("acme/fast", "acme/slow") for slug in ("a", "b")]
    account = {"policies": {"mix": {"kind": "weighted", "models": ["acme/fast", "acme/slow"]}}}
    served, wanted, owner = catalog(*offered), request("policy/mix"), rules.parse(account)
    plans = (route.plan(wanted, served, keys=frozenset(), rules=owner, draw=draw_of(id)) for id in IDS[:8000])
    found = Counter(each.endpoints[0].id for each in plans)
    assert sum((found[each.id] - 2000) ** 2 / 2000 for each in offered) < CRITICAL[3]
