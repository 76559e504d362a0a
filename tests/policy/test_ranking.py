"""The order of what the filters left: each wish in its place, and health without losing a model's last endpoint."""

from typing import Any

import pytest

from policy.stats import DEFAULT, Stats
from tests.policy.routing import endpoint, plan, request, slugs, steady, usd

ONE, TWO, THREE = endpoint("one", price=usd(1)), endpoint("two", price=usd(2)), endpoint("three", price=usd(3))
ALL = (ONE, TWO, THREE)
HIGH = 1 - 2**-40
"""The draw that takes the last of the equals."""


def test_by_default_the_rest_follows_by_price() -> None:
    assert slugs(request(), THREE, TWO, ONE) == ["one", "two", "three"]
    assert slugs(request(), THREE, TWO, ONE, draw=HIGH) == ["three", "one", "two"]


def test_priority_goes_before_price_and_the_draw_is_among_equals() -> None:
    late = endpoint("late", price=usd(0), priority=1)
    for draw in (0.0, 0.5, HIGH):
        assert slugs(request(), late, TWO, draw=draw) == ["two", "late"]


@pytest.mark.parametrize(
    ("stats", "tier"),
    [
        *((DEFAULT, "healthy"), (Stats(uptime=0.95), "healthy"), (Stats(uptime=0.949), "degraded"), (Stats(uptime=0.8), "degraded")),
        *((Stats(uptime=0.799), "unstable"), (Stats(outage=True), "unstable"), (Stats(uptime=1.0, outage=True), "unstable")),
        *((Stats(ejected=True, probe=True, outage=True), "healthy"), (Stats(ejected=True, probe=True, uptime=0.1), "unstable")),
    ],
)
def test_an_endpoint_is_in_the_tier_of_its_figures(stats: Stats, tier: str) -> None:
    assert plan(request(), ONE, figures={"one": stats}).ranked[0].tier == tier
    ordered = slugs(request(), ONE, TWO, figures={"one": stats}, draw=0.0)
    assert ordered == (["one", "two"] if tier == "healthy" else ["two", "one"])


def test_healthy_goes_before_degraded_before_unstable_whatever_the_price_or_sort() -> None:
    figures = {"one": Stats(outage=True), "two": Stats(uptime=0.9)}
    for wish in ({}, {"sort": "price"}, {"sort": "latency"}):
        assert slugs(request(preferences=wish), *ALL, figures=figures) == ["three", "two", "one"]


def test_an_ejected_endpoint_is_dropped_while_its_model_has_another() -> None:
    found = plan(request(), *ALL, figures={"one": Stats(ejected=True), "two": Stats(outage=True)})
    assert [each.provider.slug for each in found.endpoints] == ["three", "two"]
    assert [(step.step, step.endpoint_count) for step in found.funnel] == [("Initial Endpoints", 3), ("Filter by Health", 2)]
    assert "failed several times in a row" in found.funnel[1].removed["one/acme/fast"]


def test_the_last_endpoints_of_a_model_are_tried_though_ejected_but_after_all_others() -> None:
    ejected = dict.fromkeys(("one", "two"), Stats(ejected=True))
    slow = endpoint("slow", "acme/slow")
    found = plan(request(models=("acme/slow",)), ONE, TWO, slow, figures=ejected)
    assert [each.provider.slug for each in found.endpoints] == ["slow", "one", "two"]
    assert [each.tier for each in found.ranked] == ["healthy", "ejected", "ejected"]
    assert len(found.funnel) == 1


def test_an_endpoint_that_was_filtered_out_does_not_keep_an_ejected_one_away() -> None:
    assert slugs(request(preferences={"only": ["one"]}), *ALL, figures={"one": Stats(ejected=True)}) == ["one"]


def test_the_models_keep_the_order_in_which_they_are_wanted() -> None:
    cheap = endpoint("cheap", "acme/slow", price=usd(0))
    assert slugs(request(models=("acme/slow",), preferences={"sort": "price"}), cheap, ONE) == ["one", "cheap"]


@pytest.mark.parametrize("by", ["price", "throughput", "latency"])
def test_partition_none_sorts_across_the_models(by: str) -> None:
    figures = {"one": Stats(throughput=steady(10), latency=steady(3)), "other": Stats(throughput=steady(20), latency=steady(1))}
    wish = {"sort": {"by": by, "partition": "none"}}
    other = endpoint("other", "acme/slow", price=usd(0.5))
    assert slugs(request(models=("acme/slow",), preferences=wish), ONE, other, figures=figures) == ["other", "one"]
    assert slugs(request(models=("acme/slow",), preferences=wish), ONE, endpoint("one", "acme/slow", price=usd(1)))[0] == "one"


def test_partition_none_and_a_variant_of_one_model_sort_model_by_model() -> None:
    account = {"provider": {"sort": {"by": "price", "partition": "none"}}}
    cheap = endpoint("cheap", "acme/slow", price=usd(0))
    known = {"cheap": Stats(throughput=steady(50))}
    assert slugs(request("acme/fast:nitro", models=("acme/slow",)), ONE, cheap, rules=account) == ["one", "cheap"]
    assert slugs(request(models=("acme/slow:nitro",)), ONE, cheap, rules=account, figures=known) == ["one", "cheap"]


def test_an_explicit_sort_goes_before_priority_and_unknown_figures_come_last() -> None:
    late = endpoint("late", price=usd(0.5), priority=1)
    figures = {"one": Stats(throughput=steady(5), latency=steady(2)), "late": Stats(throughput=steady(9), latency=steady(1))}
    assert slugs(request(preferences={"sort": "price"}), *ALL, late) == ["late", "one", "two", "three"]
    for by in ("throughput", "latency"):
        assert slugs(request(preferences={"sort": by}), *ALL, late, figures=figures, draw=0.99) == ["late", "one", "two", "three"]


def test_order_goes_first_by_provider_or_endpoint_and_the_unnamed_follow_by_price() -> None:
    wish = {"order": ["nobody", "three/acme/fast", "two"]}
    for draw in (0.0, HIGH):
        assert slugs(request(preferences=wish), endpoint("four", price=usd(4)), *ALL, draw=draw) == ["three", "two", "one", "four"]
    assert slugs(request(preferences={"order": ["two", "two/acme/fast"]}), *ALL)[0] == "two"


def test_order_goes_before_health_and_what_follows_it_is_sorted() -> None:
    assert slugs(request(preferences={"order": ["three"]}), *ALL, figures={"three": Stats(outage=True)})[0] == "three"
    figures = {"two": Stats(latency=steady(1)), "one": Stats(latency=steady(2))}
    assert slugs(request(preferences={"order": ["three"], "sort": "latency"}), *ALL, figures=figures) == ["three", "two", "one"]


def test_a_hundred_names_in_order_are_ranked_and_outweigh_nothing_above_them() -> None:
    wish = {"order": [*(f"x{i}" for i in range(97)), "three", "two", "one"]}
    assert slugs(request(preferences=wish), *ALL) == ["three", "two", "one"]
    assert slugs(request(preferences=wish), *ALL, own_keys={"one": "k"}) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("wish", "stats", "meets"),
    [
        ({"preferred_min_throughput": 20}, Stats(throughput=steady(20)), True),
        ({"preferred_min_throughput": 20}, Stats(throughput=steady(19.9)), False),
        ({"preferred_min_throughput": 20}, Stats(latency=steady(99)), True),
        ({"preferred_max_latency": 2}, Stats(latency=steady(2)), True),
        ({"preferred_max_latency": 2}, Stats(latency=steady(2.1)), False),
        ({"preferred_max_latency": {"p90": 2}}, Stats(latency=steady(3)), False),
        ({"preferred_max_latency": {"p90": 4, "p50": 2}}, Stats(latency=steady(3)), False),
        ({"preferred_max_latency": {}}, Stats(latency=steady(3)), True),
        ({"preferred_max_latency": 2, "preferred_min_throughput": 5}, Stats(latency=steady(1), throughput=steady(4)), False),
    ],
)
def test_what_misses_a_soft_preference_goes_behind_and_unknown_counts_as_meeting(wish: dict[str, Any], stats: Stats, meets: bool) -> None:
    assert slugs(request(preferences=wish), *ALL, figures={"one": stats}) == (
        ["one", "two", "three"] if meets else ["two", "three", "one"]
    )  # fmt: skip
    sorted_too = {**wish, "sort": "price"}
    assert (slugs(request(preferences=sorted_too), *ALL, figures={"one": stats})[0] == "one") == meets


def test_an_endpoint_that_served_the_conversation_comes_first_unless_it_is_not_well_or_an_order_is_given() -> None:
    sticky = "three/acme/fast"
    assert slugs(request(), *ALL, sticky=sticky) == ["three", "one", "two"]
    assert slugs(request(preferences={"sort": "price"}), *ALL, sticky=sticky)[0] == "three"
    assert slugs(request(), *ALL, sticky=sticky, figures={"three": Stats(uptime=0.9)})[0] == "three"
    for stats in (Stats(outage=True), Stats(uptime=0.5), Stats(ejected=True)):
        assert slugs(request(), *ALL, sticky=sticky, figures={"three": stats})[0] == "one"
    assert slugs(request(preferences={"order": ["two"]}), *ALL, sticky=ONE.id)[0] == "two"
    assert slugs(request(preferences={"ignore": ["three"]}), *ALL, sticky=sticky) == ["one", "two"]
    for other in ("three", "three/acme/slow", "gone/acme/fast", ""):
        assert slugs(request(), *ALL, sticky=other) == ["one", "two", "three"]


def test_own_keys_come_first_even_against_an_order_and_a_sticky_endpoint() -> None:
    own = {"three": "byok_1", "two": "byok_2", "nobody": "byok_3"}
    found = plan(request(preferences={"order": ["one"]}), *ALL, own_keys=own, sticky=ONE.id)
    assert [each.provider.slug for each in found.endpoints] == ["two", "three", "one"]
    assert found.own_keys == {"three/acme/fast": "byok_1", "two/acme/fast": "byok_2"}
    assert slugs(request(), *ALL, own_keys=own, sticky=ONE.id)[2] == "one"
    assert slugs(request(), *ALL, own_keys=own, sticky=THREE.id) == ["three", "two", "one"]


def test_an_own_key_has_figures_of_its_own() -> None:
    figures = {"three/acme/fast#byok_1": Stats(ejected=True), "one": Stats(ejected=True)}
    assert slugs(request(), *ALL, own_keys={"three": "byok_1"}, figures=figures) == ["two"]


def test_why_an_endpoint_has_its_place_is_said_in_words() -> None:
    figures = {"one": Stats(uptime=0.912, latency=steady(3)), "two": Stats(outage=True), "three": DEFAULT}
    found = plan(request(preferences={"preferred_max_latency": 1}), *ALL, figures=figures, sticky=ONE.id, own_keys={"two": "k"})
    two, one, three = found.ranked
    price = "USD per 1,000 tokens (3 of the prompt to 1 of the answer)"
    assert (two.endpoint, two.tier) == (TWO.id, "unstable")
    assert two.why == f"the customer's own key comes first; it failed in the last 30 seconds; 0.002 {price}"
    assert one.why == f"it served this conversation before; uptime 91.2%; it misses a preferred throughput or latency; 0.001 {price}"
    assert three.why == f"0.003 {price}"
    words = plan(
        request(preferences={"order": ["two"], "sort": "throughput"}), *ALL, figures={"one": Stats(throughput=steady(41.27))}
    ).ranked
    assert [each.why for each in words] == [
        "number 1 in provider.order; its throughput is not known, so it comes after those that are sorted by it",
        "not in provider.order; sorted by throughput, 41.3 tokens per second",
        "not in provider.order; its throughput is not known, so it comes after those that are sorted by it",
    ]
    drawn = plan(request(), *ALL).ranked
    assert [each.why.startswith("drawn with weight 1/price^2 at 0.001 USD") for each in drawn] == [True, False, False]
    last = plan(request(), ONE, figures={"one": Stats(ejected=True, key_refused=True)}).ranked[0].why
    assert last.startswith("it refuses the key; it failed several times in a row, and no other endpoint of the model is left; ")
