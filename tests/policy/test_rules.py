"""An account's rules: what may be set, what is refused by name, and that a request can narrow them but never widen them."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import preferences, rules
from policy.errors import InvalidPreferences, InvalidRules
from policy.narrowing import both, narrowed
from policy.preferences import NOTHING, MaxPrice, Preferences, Sort
from policy.rules import NO, ModelPolicy, Rules, effective
from tests.policy import routing


def refusal(raw: object) -> str:
    with pytest.raises(InvalidRules) as caught:
        rules.parse(raw)
    return caught.value.message


@pytest.mark.parametrize("raw", [{}, dict.fromkeys(Rules.__struct_fields__), {"allowed_models": [], "region": []}])
def test_nothing_set_is_no_rule(raw: object) -> None:
    assert rules.parse(raw) == NO
    assert effective(NOTHING, NO) is NOTHING


def test_every_rule_is_understood() -> None:
    raw = {
        "allowed_models": ["acme/*", "zeta/big"], "ignored_models": ["acme/slow"], "allowed_providers": ["one", "two"],
        "ignored_providers": ["one/acme/fast"], "max_price": {"prompt": "0.5"}, "data_collection": "deny", "zdr": True, "region": "eu",
        "provider": {"sort": "price"}, "presets": {"quick": {"model": "acme/fast", "parameters": {"temperature": 0}}},
        "policies": {"mix": {"kind": "weighted", "models": [["acme/fast", 3], "zeta/big"]}},
    }  # fmt: skip
    found = rules.parse(raw)
    assert found.allowed_models == ("acme/*", "zeta/big")
    assert found.max_price == MaxPrice(prompt=500_000)
    assert (found.data_collection, found.zdr, found.region) == ("deny", True, ("eu",))
    assert found.provider == Preferences(sort=Sort("price"))
    assert found.presets["quick"].parameters == {"temperature": 0}
    assert found.policies == {"mix": ModelPolicy("weighted", (("acme/fast", 3.0), ("zeta/big", 1.0)))}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        *(([], "rules: "), ("x", "rules: "), ({"allow": 1}, "allow: is not a known field; use allowed_models, ")),
        *(({"allowed_models": "acme/fast"}, "allowed_models: "), ({"ignored_models": [1]}, "ignored_models[0]: ")),
        *(({"allowed_models": ["fast"]}, "allowed_models: 'fast' "), ({"ignored_models": ["acme/f*"]}, "ignored_models: 'acme/f*' ")),
        *(({"allowed_providers": ["x"] * 1001}, "allowed_providers: "), ({"zdr": "yes"}, "zdr: "), ({"region": 3}, "region: ")),
        *(({"max_price": {"prompt": "x"}}, "max_price.prompt: "), ({"max_price": {"image_each": 1}}, "max_price.image_each: ")),
        *(({"data_collection": "never"}, "data_collection: "), ({"provider": {"zdr": 1}}, "provider.zdr: ")),
        *(({"provider": "x"}, "provider: "), ({"presets": "x"}, "presets: "), ({"presets": {"a b": {}}}, "presets: a name has ")),
        *(({"presets": {"": {}}}, "presets: "), ({"presets": {f"p{i}": {} for i in range(101)}}, "presets: ")),
        *(
            ({"presets": {"p": 1}}, "presets.p: "),
            ({"presets": {"p": {"modle": "x"}}}, "presets.p.modle: is not a known field; use model, "),
        ),
        *(
            ({"presets": {"p": {"models": "x"}}}, "presets.p.models: "),
            ({"presets": {"p": {"models": ["a/b"] * 17}}}, "presets.p.models: "),
        ),
        *(({"policies": {"p": []}}, "policies.p: "), ({"policies": {"p": {"kind": "random", "models": ["a/b"]}}}, "policies.p.kind: ")),
        *(
            ({"policies": {"p": {"kind": "weighted", "models": []}}}, "policies.p.models: "),
            ({"policies": {"p": {"models": ["a/b"]}}}, "policies.p: "),
        ),
        ({"policies": {"p": {"kind": "weighted", "models": [["a/b", 0]]}}}, "policies.p.models[0][1]: "),
        ({"policies": {"p": {"kind": "fallback", "models": ["policy/q"]}}}, "policies.p.models: a policy names models"),
        ({"policies": {"p": {"kind": "fallback", "models": [["@preset/q", 1]]}}}, "policies.p.models: a policy names models"),
        ({"allowed_models": ["a/b", "c/d"], "ignored_models": ["c/d"]}, "allowed_models and ignored_models both name 'c/d'"),
        ({"allowed_models": ["a/b"], "ignored_models": ["a/*"]}, "allowed_models and ignored_models both name 'a/b'"),
        ({"allowed_providers": ["x/a/b"], "ignored_providers": ["x"]}, "allowed_providers and ignored_providers both name 'x/a/b'"),
        ({"provider": {"only": ["x"], "ignore": ["x"]}}, "provider.only names 'x'"),
    ],
)
def test_a_wrong_rule_is_refused_by_the_name_of_its_field(raw: object, field: str) -> None:
    assert refusal(raw).startswith(field)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
FIELDS = st.sampled_from([*Rules.__struct_fields__, "model", "models", "kind", "parameters", "p", "temperature"])


@given(raw=st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner), max_leaves=10))
def test_no_value_makes_it_stumble(raw: object) -> None:
    with contextlib.suppress(InvalidRules):
        rules.parse(raw)


def test_the_accounts_defaults_hold_where_the_request_says_nothing() -> None:
    account = rules.parse({"provider": {"sort": "price", "allow_fallbacks": False, "quantizations": ["fp8"], "require_parameters": True}})
    assert effective(NOTHING, account) == account.provider
    asked = preferences.parse({"sort": "latency", "allow_fallbacks": True, "quantizations": ["bf16"], "require_parameters": False})
    assert effective(asked, account) == asked


def test_an_order_or_sort_of_the_request_replaces_both_of_the_account() -> None:
    account = rules.parse({"provider": {"order": ["one"], "sort": "price"}})
    found = effective(preferences.parse({"sort": "latency"}), account)
    assert (found.order, found.sort) == (None, Sort("latency"))
    found = effective(preferences.parse({"order": ["two"]}), account)
    assert (found.order, found.sort) == (("two",), None)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        *((["a"], ["b"], ()), (["a", "b"], ["b", "c"], ("b",)), (["a"], ["a/x/y"], ("a/x/y",)), (["a/x/y"], ["a"], ("a/x/y",))),
        *((["a/x"], ["a/x/y"], ()), (["a", "b/x/y"], ["b", "a/x/y"], ("b/x/y", "a/x/y"))),
    ],
)
def test_slugs_in_common_are_those_that_both_name(first: list[str], second: list[str], together: tuple[str, ...]) -> None:
    assert set(both(tuple(first), tuple(second)) or ()) == set(together)


def names(slugs: tuple[str, ...] | None, id: str) -> bool:
    return slugs is not None and (id in slugs or id.partition("/")[0] in slugs)


IDS = [f"{slug}/{model}" for slug in routing.SLUGS for model in routing.MODELS]


def not_wider(result: Preferences, than: Preferences) -> bool:
    """In privacy, price and who may be used."""
    prices = [
        (getattr(result.max_price, unit) if result.max_price else None, getattr(than.max_price, unit))
        for unit in (preferences.PRICE_UNITS if than.max_price else ())
    ]
    return (
        (bool(result.zdr) or not than.zdr)
        and (result.data_collection == "deny" or than.data_collection != "deny")
        and (than.region is None or (result.region is not None and set(result.region) <= set(than.region)))
        and all(bound is None or (price is not None and price <= bound) for price, bound in prices)
        and (than.only is None or all(names(than.only, id) for id in IDS if result.only is None or names(result.only, id)))
        and all(names(result.ignore, id) for id in IDS if names(than.ignore, id))
    )


def parsed(raw: dict[str, Any]) -> Preferences:
    try:
        return preferences.parse(raw)
    except InvalidPreferences:
        return NOTHING


@settings(max_examples=500)
@given(asked=routing.preferences.map(parsed), account=routing.account_rules)
def test_what_holds_is_never_wider_than_the_request_or_the_rules(asked: Preferences, account: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRules):
        found = rules.parse(account)
        result = effective(asked, found)
        own = {name: account[name] for name in routing.narrowing if name in account}
        listed = {"only": account.get("allowed_providers"), "ignore": account.get("ignored_providers")}
        for bound in (asked, found.provider, preferences.parse(own), *(parsed({name: value}) for name, value in listed.items())):
            assert not_wider(result, bound)


@given(first=routing.preferences.map(parsed), second=routing.preferences.map(parsed))
def test_what_both_allow_is_still_allowed(first: Preferences, second: Preferences) -> None:
    """Narrowing is exact: nothing falls that neither of the two rules out."""
    found = narrowed(first, second)
    for id in IDS:
        allowed = [each.only is None or names(each.only, id) for each in (first, second, found)]
        assert allowed[2] == (allowed[0] and allowed[1])
        assert names(found.ignore, id) == (names(first.ignore, id) or names(second.ignore, id))
    assert bool(found.zdr) == bool(first.zdr or second.zdr)
