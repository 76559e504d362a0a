"""The route: the same inputs give the same endpoints, the funnel adds up, and the ceiling is above every possible cost."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering import price
from metering.price import UNITS, Price
from metering.usage import COMPLETION_UNITS, PROMPT_UNITS, Usage
from policy import route
from policy.errors import InvalidPreferences, NoEndpoint, UnknownModel
from providers.catalog import Catalog
from providers.content import Content
from providers.provider import ChatRequest, DataPolicy, Endpoint, Model, Provider

CAPABLE = frozenset({"text", "tools", "images", "json_schema"})


def endpoint(slug: str, model: str = "acme/fast", **fields: Any) -> Endpoint:
    known = Model(id=model, name=model, company="acme", context_length=1000)
    key = fields.pop("api_key_env", None)
    provider = Provider(slug=slug, name=slug, dialect="openai", api_key_env=key, data_policy=fields.pop("policy", DataPolicy()))
    rates = fields.pop("price", Price(prompt=100, completion=200))
    given_fields = {"context_length": 1000, "capabilities": CAPABLE, **fields}
    return Endpoint(
        id=f"{slug}/{model}", model=known, provider=provider, upstream_model="m", price=rates, price_id=rates.id, **given_fields
    )


def catalog(*endpoints: Endpoint) -> Catalog:
    models = {each.model.id: each.model for each in endpoints}
    by_model = {id: tuple(each for each in endpoints if each.model.id == id) for id in models}
    return Catalog(companies={}, models=models, providers={each.provider.slug: each.provider for each in endpoints}, endpoints=by_model)


def request(model: str = "acme/fast", **fields: Any) -> ChatRequest:
    known = {"stream": False, "include_usage": False, "max_tokens": None, "n": 1, "prompt_tokens_max": 10, **fields}
    return ChatRequest(body=Content({"messages": []}), model=model, **known)


def slugs(wanted: ChatRequest, *endpoints: Endpoint, keys: frozenset[str] = frozenset()) -> list[str]:
    return [each.provider.slug for each in route.plan(wanted, catalog(*endpoints), keys=keys).endpoints]


# The funnel


@pytest.mark.parametrize(
    ("gone", "fields", "step"),
    [
        (endpoint("gone", api_key_env="NO_KEY"), {}, "Filter by Provider Key"),
        (endpoint("gone", price=Price(prompt=1)), {}, "Filter by Price"),
        (endpoint("gone", price=Price(completion=1)), {}, "Filter by Price"),
        (endpoint("gone"), {"extras": frozenset({"audio"})}, "Filter by Price"),
        (endpoint("gone"), {"extras": frozenset({"cache_write"})}, "Filter by Price"),
        (endpoint("gone", capabilities=frozenset({"text"})), {"capabilities": frozenset({"tools"})}, "Filter by Capabilities"),
        (endpoint("gone"), {"preferences": {"only": ["kept"]}}, "Filter by provider.only"),
        (endpoint("gone"), {"preferences": {"ignore": ["gone"]}}, "Filter by provider.ignore"),
    ],
)
def test_an_endpoint_that_does_not_fit_falls_at_its_step_with_a_reason(gone: Endpoint, fields: dict[str, Any], step: str) -> None:
    kept = endpoint("kept", price=Price(prompt=1, completion=1, audio=1, cache_write=1))
    plan = route.plan(request(**fields), catalog(gone, kept), keys=frozenset())
    assert [each.provider.slug for each in plan.endpoints] == ["kept"]
    assert [(each.step, each.endpoint_count) for each in plan.funnel] == [("Initial Endpoints", 2), (step, 1)]
    assert plan.funnel[1].removed["gone/acme/fast"]
    with pytest.raises(NoEndpoint) as caught:
        route.plan(request(**fields), catalog(gone), keys=frozenset())
    assert caught.value.failed_step == step
    assert caught.value.funnel[-1]["endpoint_count"] == 0


def test_a_provider_with_its_key_is_kept() -> None:
    assert slugs(request(), endpoint("one", api_key_env="KEY"), keys=frozenset({"KEY"})) == ["one"]


def test_an_unknown_model_is_refused_with_names_that_resemble_it() -> None:
    with pytest.raises(UnknownModel) as caught:
        route.plan(request("acme/fats"), catalog(endpoint("one")), keys=frozenset())
    assert caught.value.close == ["acme/fast"]
    assert "fats" not in str(caught.value)


def test_a_known_model_that_nobody_serves_is_no_unknown_model() -> None:
    empty = catalog(endpoint("one"))
    empty.endpoints["acme/fast"] = ()
    with pytest.raises(NoEndpoint) as caught:
        route.plan(request(), empty, keys=frozenset())
    assert caught.value.failed_step == "Initial Endpoints"


def test_a_wrong_preference_is_refused_before_the_model_is_looked_for() -> None:
    with pytest.raises(InvalidPreferences):
        route.plan(request("no/such", preferences={"x": 1}), catalog(endpoint("one")), keys=frozenset())


# The order


def test_the_order_is_the_wish_then_the_model_then_priority_then_price() -> None:
    dear, cheap = Price(prompt=900, completion=900), Price(prompt=1, completion=1)
    offered = [
        endpoint("fallback", "acme/slow", price=cheap),
        endpoint("late", priority=1, price=cheap),
        endpoint("dear", price=dear),
        endpoint("cheap"),
        endpoint("wished", priority=5, price=dear),
    ]
    wanted = request(models=("acme/slow",), preferences={"order": ["wished"]})
    assert slugs(wanted, *offered) == ["wished", "cheap", "dear", "late", "fallback"]
    assert slugs(wanted, *reversed(offered)) == ["wished", "cheap", "dear", "late", "fallback"]


def test_sorting_by_price_goes_before_priority() -> None:
    offered = [endpoint("first"), endpoint("cheap", priority=1, price=Price(prompt=1, completion=1))]
    assert slugs(request(), *offered) == ["first", "cheap"]
    assert slugs(request(preferences={"sort": "price"}), *offered) == ["cheap", "first"]


def test_without_fallbacks_and_order_only_the_first_is_left() -> None:
    assert slugs(request(preferences={"allow_fallbacks": False}), endpoint("one"), endpoint("two")) == ["one"]


def test_the_model_itself_among_its_fallbacks_counts_once() -> None:
    assert slugs(request(models=("acme/fast", "acme/fast")), endpoint("one")) == ["one"]


def test_a_fallback_model_that_is_not_known_is_refused_and_not_passed_over() -> None:
    with pytest.raises(UnknownModel):
        route.plan(request(models=("acme/fats",)), catalog(endpoint("one")), keys=frozenset())


# The ceiling

RATES = st.none() | st.integers(0, 10**9)
PRICES = st.builds(
    Price, prompt=st.integers(0, 10**9), completion=st.integers(0, 10**9), request=st.integers(0, 10**12),
    **dict.fromkeys(("cached_prompt", "cache_write", "image", "audio", "reasoning", "audio_completion"), RATES),
)  # fmt: skip
PLAIN = ("prompt", "cached_prompt", "completion", "reasoning")
EXTRAS = tuple(unit for unit in UNITS if unit not in PLAIN)


@settings(max_examples=300)
@given(
    data=st.data(), rates=PRICES, extras=st.frozensets(st.sampled_from(EXTRAS)), n=st.integers(1, 4), limit=st.none() | st.integers(1, 500)
)
def test_no_usage_within_the_bounds_costs_more_than_the_ceiling(
    data: st.DataObject, rates: Price, extras: frozenset[str], n: int, limit: int | None
) -> None:
    """Any split of the bounded tokens into the units that the request may really use."""
    served = endpoint("one", price=rates, max_output_tokens=data.draw(st.none() | st.integers(1, 500)))
    wanted = request(max_tokens=limit, n=n, prompt_tokens_max=data.draw(st.integers(0, 3000)), extras=extras)
    if price.unpriced(rates, extras):
        with pytest.raises(NoEndpoint):
            route.plan(wanted, catalog(served), keys=frozenset())
        return
    left = {False: min(wanted.prompt_tokens_max, served.context_length), True: route.output_max(wanted, served) * n}
    units = {}
    for unit in (*PROMPT_UNITS, *COMPLETION_UNITS):
        if unit in PLAIN or unit in extras:
            of_completion = unit in COMPLETION_UNITS
            units[unit] = data.draw(st.integers(0, left[of_completion]))
            left[of_completion] -= units[unit]
    ceiling = route.ceiling(wanted, (served,))
    assert price.cost(Usage(**units), rates).charge <= ceiling
    assert -(-price.cost(Usage(**units), rates).total_pico // 1000) <= ceiling


@given(prices=st.lists(PRICES, min_size=1, max_size=4))
def test_the_ceiling_of_several_endpoints_is_that_of_the_dearest(prices: list[Price]) -> None:
    offered = tuple(endpoint(f"p{index}", price=rates) for index, rates in enumerate(prices))
    assert route.ceiling(request(), offered) == max(route.ceiling(request(), (each,)) for each in offered)


@pytest.mark.parametrize(
    ("limit", "output", "context", "expected"),
    [(None, None, 1000, 1000), (5, None, 1000, 5), (5, 3, 1000, 3), (None, 3, 2, 2), (10**7, 50, 1000, 50)],
)
def test_the_output_is_bounded_by_the_smallest_limit(limit: int | None, output: int | None, context: int, expected: int) -> None:
    assert route.output_max(request(max_tokens=limit), endpoint("one", max_output_tokens=output, context_length=context)) == expected
