"""Over random catalogs and random rules of account, key, preset and request: nothing in a plan breaks the strictest of them."""

from random import Random
from typing import Any, NamedTuple

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from policy import key_policy, route, rules
from policy.errors import InvalidPreferences, NoEndpoint
from policy.route import NO_KEYS
from policy.rules import Rules
from policy.stats import DEFAULT
from providers.catalog import Catalog
from providers.provider import DataPolicy
from tests.policy.routing import MODELS, SLUGS, all_figures, catalog, endpoint, request, some, usd
from tests.strictest import RULES, Served, Written, sets, violated

REGIONS = ("eu", "us", "ch")
PRIVATE = {"Filter by Data Policy", "Filter by Region"}
WHOSE = ("provider.", "the account's rules", "the key's data policy")


class Shelf(NamedTuple):
    """A catalog and, by endpoint id, what it says of each endpoint and whether only a customer's own key can use it."""

    catalog: Catalog
    served: dict[str, Served]
    keyless: set[str]


def shelf(seed: int) -> Shelf:
    """A provider's policy and region hold for its endpoints, unless one has its own."""
    pick = Random(seed)
    made, served, keyless = [], {}, set()
    providers = {slug: (_policy(pick), _regions(pick), pick.random() < 0.15) for slug in SLUGS}
    for model in MODELS:
        for slug in pick.sample(SLUGS, pick.randint(1, len(SLUGS))):
            policy, provider_region, locked = providers[slug]
            own, region = _policy(pick) if pick.random() < 0.3 else None, _regions(pick) if pick.random() < 0.3 else ()
            trains, days = policy if own is None else own
            served[f"{slug}/{model}"] = Served(trains, days, frozenset(region or provider_region))
            keyless |= {f"{slug}/{model}"} if locked else set()
            made.append(
                endpoint(
                    slug, model, policy=DataPolicy(trains=policy[0], retention_days=policy[1]), provider_region=provider_region,
                    own_data_policy=None if own is None else DataPolicy(trains=own[0], retention_days=own[1]), region=region,
                    api_key_env="MISSING" if locked else None, price=usd(pick.choice([0, 0.1, 1])), priority=pick.choice([0, 0, 1]),
                )
            )  # fmt: skip
    return Shelf(catalog(*made), served, keyless)


def _policy(pick: Random) -> tuple[bool | None, int | None]:
    return pick.choice([None, True, False, False]), pick.choice([None, 0, 0, 30])


def _regions(pick: Random) -> tuple[str, ...]:
    return pick.choice([(), ("eu",), ("us",), ("eu", "us"), ("ch",)])


about_data: st.SearchStrategy[dict[str, Any]] = some(
    2,
    {
        "data_collection": st.sampled_from(["allow", "deny", "deny", None]),
        "zdr": st.sampled_from([True, True, False, None]),
        "region": st.sampled_from(["eu", "EU", "us"]) | st.lists(st.sampled_from(REGIONS), max_size=3, unique=True),
    },
)
taste: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"order": ["p2", "p0/acme/fast"]},
        {"sort": "price"},
        {"sort": {"by": "latency", "partition": "none"}},
        {"allow_fallbacks": False},
    ]
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    names = st.sampled_from([*MODELS, *MODELS, "policy/mix", "@preset/careful", f"{MODELS[1]}@preset/careful"])
    return {
        "shelf": draw(st.integers(0, 10**6).map(shelf)),
        "account": draw(about_data),
        "defaults": draw(st.just({}) | about_data),
        "preset": draw(about_data),
        "key": draw(st.none() | about_data | about_data | about_data),
        "asked": draw(about_data),
        "taste": draw(taste),
        "model": draw(names),
        "models": tuple(draw(st.lists(st.sampled_from(MODELS), max_size=2, unique=True))),
        "figures": draw(all_figures),
        "own_keys": draw(st.just(NO_KEYS) | st.dictionaries(st.sampled_from(SLUGS), st.just("byok"), max_size=1)),
        "sticky": draw(st.none() | st.tuples(st.sampled_from(SLUGS), st.sampled_from(MODELS)).map("/".join)),
        "draw": draw(st.floats(0, 1, exclude_max=True)),
    }


def planned(case: dict[str, Any], **changed: Any) -> tuple[list[str], dict[str, str], str]:
    """The endpoints to try; those that rules about data took out, with the reason; and the message, if nothing is left."""
    case = {**case, **changed}
    wanted = request(case["model"], models=case["models"], preferences={**case["asked"], **case["taste"]})
    figures = case["figures"]
    arguments = {name: case[name] for name in ("own_keys", "sticky", "draw")}
    try:
        found = route.plan(
            wanted, case["shelf"].catalog, keys=frozenset(), rules=bound(case),
            stats=lambda id: figures.get(id.partition("#")[0], DEFAULT), **arguments,
        )  # fmt: skip
    except NoEndpoint as error:
        return [], {id: why for step in error.funnel if step["step"] in PRIVATE for id, why in step["removed"].items()}, error.message
    removed = {id: why for step in found.funnel if step.step in PRIVATE for id, why in step.removed.items()}
    return [each.id for each in found.endpoints], removed, ""


def bound(case: dict[str, Any]) -> Rules:
    document = {
        **case["account"],
        "provider": case["defaults"],
        "presets": {"careful": {"model": MODELS[0], "provider": case["preset"]}},
        "policies": {"mix": {"kind": "fallback", "models": [MODELS[2], MODELS[0]]}},
    }
    return key_policy.bound(rules.parse(document), key_policy.written(case["key"]))


def by_source(case: dict[str, Any]) -> dict[str, list[Written]]:
    """What narrows this request, under the words by which a reason names it."""
    preset = [case["preset"]] if "@preset/" in case["model"] else []
    return dict(zip(WHOSE, ([case["asked"], *preset], [case["account"], case["defaults"]], [case["key"]]), strict=True))


def wanted_models(case: dict[str, Any]) -> set[str]:
    named = {"policy/mix": {MODELS[2], MODELS[0]}, "@preset/careful": {MODELS[0]}}
    return named.get(case["model"], {case["model"].partition("@")[0]}) | set(case["models"])


def fitting(case: dict[str, Any]) -> set[str]:
    """The endpoints that may be asked, by the oracle."""
    everything = [source for sources in by_source(case).values() for source in sources]
    return {
        id
        for id, served in case["shelf"].served.items()
        if id.partition("/")[2] in wanted_models(case)
        and (id not in case["shelf"].keyless or id.partition("/")[0] in case["own_keys"])
        and not violated(served, *everything)
    }


@settings(max_examples=600, deadline=None)
@given(case=cases())
def test_no_endpoint_of_a_plan_breaks_the_strictest_rule_and_where_one_fits_one_is_offered(case: dict[str, Any]) -> None:
    try:
        plan, _, message = planned(case)
    except InvalidPreferences:
        assert not fitting(case), "a request and its preset that have no region in common"
        assert sets(case["preset"], "region")
        return
    fits = fitting(case)
    event(f"fits: {len(fits) > 0}, with a key policy: {bool(case['key'])}")
    assert set(plan) <= fits
    assert bool(plan) == bool(fits), message
    if not case["figures"] and case["taste"].get("allow_fallbacks") is not False:
        assert set(plan) == fits


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_who_is_taken_out_is_told_which_rule_it_was_and_everyone_who_set_it(case: dict[str, Any]) -> None:
    try:
        _, removed, message = planned(case)
    except InvalidPreferences:
        assume(False)
        raise
    for id, why in removed.items():
        rule = next(rule for rule in RULES if rule in why.partition("(")[2])
        assert rule in violated(case["shelf"].served[id], *(each for sources in by_source(case).values() for each in sources))
        for words, sources in by_source(case).items():
            assert (words in why) == any(sets(source, rule) for source in sources), why
    if message and removed and set(removed) == {id for id in case["shelf"].served if id.partition("/")[2] in wanted_models(case)}:
        assert any(why in message for why in removed.values())


@settings(max_examples=200, deadline=None)
@given(case=cases(), key=about_data, asked=about_data)
def test_neither_a_key_nor_a_request_lets_an_endpoint_in_that_was_out(case: dict[str, Any], key: Written, asked: Written) -> None:
    case = {**case, "model": MODELS[0], "figures": {}, "taste": {}}
    by_account, _, _ = planned(case, key=None, asked={})
    by_key, _, _ = planned(case, key=key, asked={})
    by_request, _, _ = planned(case, key=key, asked=asked)
    assert set(by_account) >= set(by_key) >= set(by_request)
