"""Over random catalogs, figures, rules and preferences: a plan breaks no rule, drops nothing without one, and is the same every time."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy import route, rules
from policy.errors import InvalidPreferences, InvalidRules, NoEndpoint
from policy.funnel import Step
from policy.route import Plan
from policy.rules import Rules
from policy.stats import DEFAULT, Stats
from providers.catalog import Catalog
from providers.provider import ChatRequest, Endpoint
from tests.policy import routing

KEYS = frozenset({"KEY"})
BASIC = {"temperature", "top_p", "stop", "seed"}
FREELY = {"Filter by Health", "Filter by provider.allow_fallbacks"}
"""Steps that drop endpoints which no rule forbids, in favour of others."""


def not_at_odds(raw: dict[str, Any]) -> Rules:
    try:
        return rules.parse(raw)
    except InvalidRules:
        assume(False)
        raise


def sources(asked: dict[str, Any], account: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that narrows, each as one `provider` object."""
    yield asked
    yield account.get("provider", {})
    yield {**account, "only": account.get("allowed_providers"), "ignore": account.get("ignored_providers")}


def named(endpoint: Endpoint, slugs: list[str]) -> bool:
    return endpoint.provider.slug in slugs or endpoint.id in slugs


def broken(endpoint: Endpoint, request: ChatRequest, account: dict[str, Any], own_keys: dict[str, str]) -> set[str]:
    """The rules that an endpoint breaks, worked out one by one from what was written."""
    asked, default = request.preferences, account.get("provider", {})
    found = set()
    for source in sources(asked, account):
        found |= {rule for rule in ("only",) if source.get(rule) and not named(endpoint, source[rule])}
        found |= {rule for rule in ("ignore",) if source.get(rule) and named(endpoint, source[rule])}
        policy = endpoint.data_policy
        if source.get("data_collection") == "deny" and policy.trains is not False:
            found.add("data_collection")
        if source.get("zdr") and (policy.trains is not False or policy.retention_days != 0):
            found.add("zdr")
        if region := source.get("region"):
            places = endpoint.region or endpoint.provider.region
            if not places or not places <= {*([region] if isinstance(region, str) else region)}:
                found.add("region")
        found |= {f"max_price.{unit}" for unit, usd in source.get("max_price", {}).items() if too_dear(endpoint, unit, float(usd), request)}
    wanted = {**default, **{name: value for name, value in asked.items() if value != []}}
    if wanted.get("quantizations") and (endpoint.quantization or "unknown") not in wanted["quantizations"]:
        found.add("quantizations")
    if wanted.get("require_parameters") and not request.parameters <= known(endpoint):
        found.add("require_parameters")
    order = wanted.get("order") if asked.get("order") or not asked.get("sort") else None
    if wanted.get("allow_fallbacks") is False and order and not named(endpoint, order):
        found.add("order")
    patterns = {endpoint.model.id, f"{endpoint.model.company}/*"}
    if account.get("allowed_models") and not patterns & set(account["allowed_models"]):
        found.add("allowed_models")
    if patterns & set(account.get("ignored_models", [])):
        found.add("ignored_models")
    if request.model == f"{endpoint.model.id}:free" and any((endpoint.price.prompt, endpoint.price.completion, endpoint.price.request)):
        found.add(":free")
    if request.model == f"{endpoint.model.id}:free" and endpoint.price.image:
        found.add(":free")
    if not endpoint.capabilities >= request.capabilities:
        found.add("capabilities")
    if endpoint.price.prompt is None:
        found.add("price")
    if endpoint.provider.api_key_env == "MISSING" and endpoint.provider.slug not in own_keys:
        found.add("key")
    return found


def too_dear(endpoint: Endpoint, unit: str, usd: float, request: ChatRequest) -> bool:
    price = endpoint.price
    if unit == "image":
        each = (price.prompt or 0) if price.image is None else price.image
        return "image" in request.extras and each * 4096 > usd * 10**12
    if unit == "request":
        return price.request > usd * 10**12
    return (getattr(price, unit) or 0) > usd * 10**6


def known(endpoint: Endpoint) -> set[str]:
    by_tools, by_schema = "tools" in endpoint.capabilities, "json_schema" in endpoint.capabilities
    listed = BASIC if endpoint.parameters is None else endpoint.parameters
    return {*listed, *(["tools"] if by_tools else []), *(["response_format"] if by_schema else [])}


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "request": draw(routing.requests),
        "catalog": draw(routing.catalogs),
        "account": draw(routing.account_rules),
        "figures": draw(routing.all_figures),
        "own_keys": draw(st.dictionaries(st.sampled_from(routing.SLUGS), st.just("byok"), max_size=1)),
        "sticky": draw(st.none() | st.sampled_from(routing.SLUGS).map(lambda slug: f"{slug}/acme/fast")),
        "draw": draw(st.floats(0, 1, exclude_max=True)),
    }


def planned(case: dict[str, Any]) -> tuple[Plan | None, list[Step]]:
    """The plan, or None where nothing is left, and the funnel."""
    catalog: Catalog = case["catalog"]
    figures: dict[str, Stats] = case["figures"]
    arguments = {name: case[name] for name in ("own_keys", "sticky", "draw")}
    try:
        found = route.plan(
            case["request"], catalog, keys=KEYS, rules=not_at_odds(case["account"]),
            stats=lambda id: figures.get(id.partition("#")[0], DEFAULT), **arguments,
        )  # fmt: skip
    except NoEndpoint as error:
        return None, [Step(**step) for step in error.funnel]
    except InvalidPreferences:
        assume(False)
        raise
    return found, list(found.funnel)


def offered(case: dict[str, Any]) -> list[Endpoint]:
    wanted = {case["request"].model.partition(":")[0], *case["request"].models}
    return [endpoint for id in wanted for endpoint in case["catalog"].endpoints[id]]


@settings(max_examples=400)
@given(case=cases())
def test_no_endpoint_of_a_plan_breaks_a_rule_and_none_is_removed_that_breaks_none(case: dict[str, Any]) -> None:
    plan, funnel = planned(case)
    left = {endpoint.id for endpoint in plan.endpoints} if plan else set()
    spared = {id for step in funnel if step.step in FREELY for id in step.removed}
    for endpoint in offered(case):
        rules_broken = broken(endpoint, case["request"], case["account"], case["own_keys"])
        assert (endpoint.id in left | spared) == (not rules_broken), (endpoint.id, rules_broken)


@settings(max_examples=150)
@given(case=cases())
def test_the_funnel_adds_up_and_every_endpoint_is_kept_or_removed_once_with_a_reason(case: dict[str, Any]) -> None:
    plan, funnel = planned(case)
    ids = sorted(endpoint.id for endpoint in offered(case))
    assert (funnel[0].step, funnel[0].endpoint_count, funnel[0].removed) == ("Initial Endpoints", len(ids), {})
    for before, after in pairwise(funnel):
        assert after.removed
        assert after.endpoint_count == before.endpoint_count - len(after.removed)
    left = [endpoint.id for endpoint in plan.endpoints] if plan else []
    assert funnel[-1].endpoint_count == len(left)
    assert sorted([*left, *(id for step in funnel for id in step.removed)]) == ids
    assert all(reason for step in funnel for reason in step.removed.values())
    assert len({step.step for step in funnel}) == len(funnel)


@settings(max_examples=150)
@given(case=cases())
def test_ejected_endpoints_are_last_and_dropped_only_where_their_model_has_another(case: dict[str, Any]) -> None:
    plan, funnel = planned(case)
    dead = {id for id, figures in case["figures"].items() if figures.ejected and not figures.probe}
    left = [endpoint.id for endpoint in plan.endpoints] if plan else []
    flags = [id in dead for id in left]
    assert flags == sorted(flags), "none that is up comes after one that is ejected"
    dropped = {id for step in funnel if step.step == "Filter by Health" for id in step.removed}
    chosen_only = {id for step in funnel if step.step == "Filter by provider.allow_fallbacks" for id in step.removed}
    for id in dropped:
        assert id in dead
        model = id.partition("/")[2]
        assert any(other.partition("/")[2] == model and other not in dead for other in {*left, *chosen_only})
    assert len(left) > 0 or not dropped


@settings(max_examples=150)
@given(case=cases())
def test_own_keys_come_first_within_a_model_and_are_named(case: dict[str, Any]) -> None:
    plan, _ = planned(case)
    if plan is None:
        return
    own = {endpoint.id: "byok" for endpoint in plan.endpoints if endpoint.provider.slug in case["own_keys"]}
    assert dict(plan.own_keys) == own
    dead = {id for id, figures in case["figures"].items() if figures.ejected and not figures.probe}
    for model in {endpoint.model.id for endpoint in plan.endpoints}:
        flags = [endpoint.id not in own for endpoint in plan.endpoints if endpoint.model.id == model and endpoint.id not in dead]
        assert flags == sorted(flags)


@settings(max_examples=100)
@given(case=cases())
def test_the_same_inputs_give_the_same_plan_and_every_place_is_explained(case: dict[str, Any]) -> None:
    (first, funnel), (second, again) = planned(case), planned(case)
    assert funnel == again
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.endpoints == second.endpoints
        assert first.ranked == second.ranked
        assert [ranked.endpoint for ranked in first.ranked] == [endpoint.id for endpoint in first.endpoints]
        assert all(ranked.why for ranked in first.ranked)


NARROWING = routing.some(1, {**routing.narrowing, "only": routing.names, "ignore": routing.names}).filter(bool)


@settings(max_examples=150)
@given(case=cases(), wish=NARROWING)
def test_a_further_wish_never_lets_another_endpoint_in(case: dict[str, Any], wish: dict[str, Any]) -> None:
    """Against the account's rules alone, whatever a request says about privacy, price or names only takes away."""
    assume(case["account"].get("provider", {}).get("allow_fallbacks") is not False)
    (free, _), (wished, _) = (
        planned({**case, "request": routing.request(models=("acme/slow",), preferences=preferences), "figures": {}})
        for preferences in ({}, wish)
    )
    if wished is not None:
        assert free is not None
        assert {each.id for each in wished.endpoints} <= {each.id for each in free.endpoints}
