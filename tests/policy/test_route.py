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
from providers.provider import DataPolicy, Endpoint
from tests.policy.routing import catalog, endpoint, plan, request, slugs, usd

# The funnel


@pytest.mark.parametrize(
    ("gone", "fields", "step"),
    [
        (endpoint("gone", api_key_env="NO_KEY"), {}, "Filter by Provider Key"),
        (endpoint("gone", price=Price(prompt=1)), {}, "Filter by Price"),
        (endpoint("gone", price=Price(completion=1)), {}, "Filter by Price"),
        (endpoint("gone"), {"extras": frozenset({"audio"})}, "Filter by Price"),
        (endpoint("gone", dialect="anthropic"), {"extras": frozenset({"cache_write"})}, "Filter by Price"),
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


def test_who_is_never_asked_to_write_a_cache_needs_no_price_for_it() -> None:
    assert slugs(request(extras=frozenset({"cache_write"})), endpoint("one")) == ["one"]


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


# The message of a route that leads nowhere

KEPT = DataPolicy(trains=False, retention_days=30)


def message(*offered: Endpoint, model: str = "acme/fast", account: dict[str, Any] | None = None, **fields: Any) -> str:
    with pytest.raises(NoEndpoint) as caught:
        plan(request(model, **fields), *offered, rules=account or {})
    counts = [step["endpoint_count"] for step in caught.value.funnel]
    assert counts == sorted(set(counts), reverse=True)
    assert counts[-1] == 0 or len(counts) == 1
    assert caught.value.failed_step == caught.value.funnel[-1]["step"]
    return caught.value.message


def test_the_message_tells_the_whole_way_down_and_what_to_do() -> None:
    offered = [endpoint("a", api_key_env="KEY"), endpoint("b", policy=KEPT), endpoint("c")]
    assert message(*offered, preferences={"zdr": True}) == (
        "No endpoint of acme/fast can take this request: of 3, "
        "1 at Filter by Provider Key (this installation has no key for the provider), "
        "2 at Filter by Data Policy (the provider keeps prompts, or its policy is not known (provider.zdr)). "
        "Use a model with another provider, or allow this where the rule was set."
    )


@pytest.mark.parametrize(
    ("fields", "account", "words"),
    [
        ({"preferences": {"only": ["x"]}}, {}, "(not in provider.only). Providers that serve it: a, b."),
        ({"preferences": {"ignore": ["a", "b"]}}, {}, "(in provider.ignore). Providers that serve it: a, b."),
        (
            {"preferences": {"region": "eu"}},
            {},
            "(it may process requests elsewhere, or its region is not known (provider.region: eu)). Use a model",
        ),
        ({"preferences": {"max_price": {"prompt": 0}}}, {}, "(its prompt price is above provider.max_price.prompt). Raise the price"),
        ({"preferences": {"quantizations": ["fp8"]}}, {}, "(its quantization is not in provider.quantizations). Providers that serve it"),
        (
            {"preferences": {"order": ["x"], "allow_fallbacks": False}},
            {},
            "(not in provider.order, and allow_fallbacks is false). Providers",
        ),
        (
            {"preferences": {"require_parameters": True}, "parameters": frozenset({"top_k"})},
            {},
            "support top_k (require_parameters)). Leave",
        ),
        ({"capabilities": frozenset({"audio"})}, {}, "(it does not support audio input). Use a model that supports this"),
        ({"extras": frozenset({"audio"})}, {}, "(it has no price for audio; unpriced is blocked, never free). The operator"),
        ({}, {"ignored_models": ["acme/*"]}, "(the account's rules (ignored_models) rule out the model acme/fast). Use another model"),
        ({}, {"allowed_providers": ["x"]}, "(the account's rules allow only other providers). Providers that serve it: a, b."),
        ({"model": "acme/fast:free"}, {}, "(it is not free (:free)). Leave out :free to use paid endpoints."),
    ],
)
def test_the_message_names_the_rule_that_left_nothing(fields: dict[str, Any], account: dict[str, Any], words: str) -> None:
    assert words in message(endpoint("a", price=usd(1)), endpoint("b", price=usd(2)), account=account, **fields)


def test_many_reasons_and_providers_are_not_all_told() -> None:
    lacking = ["tools", "images", "json_schema", "audio", "files"]
    offered = [endpoint(f"p{i}", capabilities=frozenset(lacking) - {name}) for i, name in enumerate(lacking)]
    assert "; and 2 other reasons)" in message(*offered, capabilities=frozenset(lacking))
    assert message(*(endpoint(f"p{i}") for i in range(12)), preferences={"only": ["x"]}).endswith("p8, p9, ....")


def test_steps_of_several_models_are_told_in_the_order_of_the_walk() -> None:
    offered = [endpoint("a"), endpoint("b", "acme/slow", api_key_env="KEY")]
    with pytest.raises(NoEndpoint) as caught:
        plan(request(models=("acme/slow",), preferences={"only": ["b"]}), *offered)
    assert [step["step"] for step in caught.value.funnel[1:]] == ["Filter by Provider Key", "Filter by provider.only"]
    assert caught.value.message.startswith("No endpoint of acme/fast or acme/slow can take this request: of 2, 1 at ")


def test_a_parameter_of_the_clients_own_is_not_repeated() -> None:
    assert "my_secret" not in message(endpoint("a"), preferences={"require_parameters": True}, parameters=frozenset({"my_secret"}))


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
    served = endpoint("one", dialect="anthropic", price=rates, max_output_tokens=data.draw(st.none() | st.integers(1, 500)))
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
