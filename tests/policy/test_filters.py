"""The filters: each removes what it says, for a reason that names the rule and whose rule it was, and nothing else."""

from typing import Any

import pytest

from metering.price import Price
from policy import key_policy
from policy.errors import NoEndpoint
from policy.rules import parse
from providers.provider import DataPolicy, Endpoint
from tests.policy.routing import endpoint, plan, request, usd

NOTHING_KEPT = DataPolicy(trains=False, retention_days=0)


def fall(
    of: Endpoint,
    wish: dict[str, Any] | None = None,
    *,
    rules: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[str, str] | None:
    """The step at which an endpoint falls and the reason; None if it may be used. Another one fits most wishes. `policy` is the key's."""
    bound = key_policy.bound(parse(rules or {}), key_policy.written(policy))
    fitting = endpoint(
        "fit",
        price=usd(0),
        policy=NOTHING_KEPT,
        quantization="fp8",
        region={"eu"},
        parameters=frozenset({"top_k", "verbosity", "mirostat"}),
    )
    try:
        found = plan(request(preferences=wish or {}, **fields), of, fitting, rules=bound)
        steps = [(step.step, step.removed[of.id]) for step in found.funnel if of.id in step.removed]
    except NoEndpoint as error:
        steps = [(step["step"], step["removed"][of.id]) for step in error.funnel if of.id in step["removed"]]
    assert len(steps) <= 1
    return steps[0] if steps else None


@pytest.mark.parametrize("name", ["one", "one/acme/fast"])
def test_only_and_ignore_take_the_name_of_a_provider_or_of_an_endpoint(name: str) -> None:
    one = endpoint("one")
    assert fall(one, {"only": [name]}) is None
    assert fall(one, {"only": ["other", "fit"]}) == ("Filter by provider.only", "not in provider.only")
    assert fall(one, {"ignore": [name]}) == ("Filter by provider.ignore", "in provider.ignore")
    assert fall(one, {"ignore": ["other", "one/acme/slow"]}) is None
    assert fall(one, {"only": [], "ignore": []}) is None


def test_whose_rule_it_was_is_said() -> None:
    one = endpoint("one")
    allowed, ignored = {"allowed_providers": ["fit"]}, {"ignored_providers": ["one"]}
    assert fall(one, rules=allowed) == ("Filter by provider.only", "the account's rules allow only other providers")
    assert fall(one, {"only": ["one", "fit"]}, rules=allowed) == fall(one, rules=allowed)
    assert fall(one, {"only": ["fit"]}, rules=allowed) == ("Filter by provider.only", "not in provider.only")
    assert fall(one, rules=ignored) == ("Filter by provider.ignore", "the account's rules ignore its provider")
    assert fall(one, {"ignore": ["one"]}, rules=ignored) == ("Filter by provider.ignore", "in provider.ignore")
    assert fall(one, {"ignore": ["x"]}, rules=ignored) == fall(one, rules=ignored)
    dear = endpoint("one", price=usd(2))
    assert fall(dear, rules={"max_price": {"prompt": 1}}) == (
        "Filter by provider.max_price", "its prompt price is above max_price.prompt in the account's rules",
    )  # fmt: skip
    for field, value in (("zdr", True), ("data_collection", "deny"), ("region", "eu")):
        step, reason = fall(one, rules={field: value}) or ("", "")
        assert (step, reason.endswith(f"({said(field, value)} in the account's rules)")) == (
            "Filter by Region" if field == "region" else "Filter by Data Policy", True,
        )  # fmt: skip


def said(field: str, value: object) -> str:
    return field if value is True else f"{field}: {value}"


@pytest.mark.parametrize(("field", "value"), [("zdr", True), ("data_collection", "deny"), ("region", "eu")])
def test_everyone_who_set_a_rule_about_data_is_named(field: str, value: object) -> None:
    one, rule, words = endpoint("one"), {field: value}, said(field, value)
    account, key = f"{words} in the account's rules", f"{words} in the key's data policy"
    for asked, rules, policy, named in (
        (rule, {}, {}, f"provider.{words}"),
        ({}, {}, rule, key),
        ({}, rule, rule, f"{account} and {key}"),
        (rule, {"provider": rule}, rule, f"provider.{words} and {account} and {key}"),
        ({"data_collection": "allow", "zdr": False}, {"data_collection": "allow"}, rule, key),
    ):
        _, reason = fall(one, asked, rules=rules, policy=policy) or ("", "")
        assert reason.endswith(f" is not known ({named})")


@pytest.mark.parametrize("wish", [{"data_collection": "deny"}, {"zdr": True}])
@pytest.mark.parametrize(("trains", "days"), [(None, None), (None, 0), (True, 0), (True, None)])
def test_what_is_not_known_of_a_provider_counts_as_the_worst(wish: dict[str, Any], trains: bool | None, days: int | None) -> None:
    step, reason = fall(endpoint("one", policy=DataPolicy(trains=trains, retention_days=days)), wish) or ("", "")
    assert step == "Filter by Data Policy"
    assert next(iter(wish)) in reason


def test_an_endpoints_own_data_policy_counts_instead_of_its_providers() -> None:
    kept, unknown = DataPolicy(trains=False, retention_days=30), DataPolicy()
    strict = endpoint("one", policy=NOTHING_KEPT, own_data_policy=kept)
    assert (fall(strict, {"zdr": True}) or ("",))[0] == "Filter by Data Policy"
    assert fall(strict, {"data_collection": "deny"}) is None
    assert fall(endpoint("one", policy=unknown, own_data_policy=NOTHING_KEPT), {"zdr": True}) is None
    assert fall(endpoint("one", policy=NOTHING_KEPT, own_data_policy=unknown), {"data_collection": "deny"}) is not None


@pytest.mark.parametrize(("days", "allowed"), [(0, True), (1, False), (None, False)])
def test_zdr_allows_only_providers_that_keep_nothing(days: int | None, allowed: bool) -> None:
    kept = endpoint("one", policy=DataPolicy(trains=False, retention_days=days))
    assert (fall(kept, {"zdr": True}) is None) == allowed
    assert fall(kept, {"data_collection": "deny"}) is None
    assert fall(kept, {"zdr": False, "data_collection": "allow"}) is None


@pytest.mark.parametrize(
    ("of", "provider", "wished", "allowed"),
    [
        *(((), ("eu",), "eu", True), (("eu",), (), "eu", True), (("us",), ("eu",), "eu", False), ((), (), "eu", False)),
        *((("eu", "us"), (), "eu", False), (("eu", "us"), (), ["us", "eu"], True), (("eu",), (), ["us", "eu"], True)),
        *((("eu-west",), (), "eu", False), (("eu",), (), "EU", True), ((), (), ["eu", "us"], False)),
    ],
)
def test_a_region_rule_must_allow_every_region_of_an_endpoint_and_unknown_is_refused(
    of: tuple[str, ...], provider: tuple[str, ...], wished: object, allowed: bool
) -> None:
    verdict = fall(endpoint("one", region=of, provider_region=provider), {"region": wished})
    assert (verdict is None) == allowed
    assert verdict is None or verdict[0] == "Filter by Region"


def test_two_different_regions_leave_nothing_and_say_so() -> None:
    step, reason = fall(endpoint("one", region={"eu"}), {"region": "eu"}, rules={"region": "us"}) or ("", "")
    assert step == "Filter by Region"
    assert reason.endswith("(provider.region: eu and region: us in the account's rules, which have none in common)")
    step, reason = fall(endpoint("one", region={"eu"}), rules={"region": "eu"}, policy={"region": ["us", "ch"]}) or ("", "")
    assert step == "Filter by Region"
    assert reason.endswith("(region: eu in the account's rules and region: us or ch in the key's data policy, which have none in common)")


@pytest.mark.parametrize(
    ("quantization", "wished", "allowed"), [("fp8", "fp8", True), ("fp8", "bf16", False), (None, "fp8", False), (None, "unknown", True)]
)
def test_a_quantization_must_be_one_of_the_wished(quantization: str | None, wished: str, allowed: bool) -> None:
    verdict = fall(endpoint("one", quantization=quantization), {"quantizations": [wished]})
    assert verdict == (None if allowed else ("Filter by provider.quantizations", "its quantization is not in provider.quantizations"))


CHEAP = Price(prompt=150_000, completion=600_000)


@pytest.mark.parametrize(
    ("ceiling", "allowed"),
    [
        *(({"prompt": 0.15}, True), ({"prompt": "0.15"}, True), ({"prompt": 0.1499}, False), ({"prompt": 0}, False)),
        *(({"completion": 0.6}, True), ({"completion": "0.59"}, False), ({"prompt": 1, "completion": 0.1}, False)),
        *(({"request": 0}, True), ({}, True), ({"prompt": None}, True)),
    ],
)
def test_max_price_is_in_usd_per_million_tokens(ceiling: dict[str, Any], allowed: bool) -> None:
    assert (fall(endpoint("one", price=CHEAP), {"max_price": ceiling}) is None) == allowed


def test_max_price_of_a_request_is_in_usd_each() -> None:
    dear = endpoint("one", price=Price(prompt=1, completion=1, request=10**10))
    assert fall(dear, {"max_price": {"request": 0.01}}) is None
    assert fall(dear, {"max_price": {"request": "0.0099"}}) == (
        "Filter by provider.max_price", "its request price is above provider.max_price.request",
    )  # fmt: skip


def test_max_price_of_an_image_is_in_usd_each_at_the_most_tokens_it_is_held_for_and_binds_requests_with_images() -> None:
    seeing = endpoint("one", price=Price(prompt=10**6, completion=1))  # 1 USD per million: 4,096 tokens are 0.004096 USD
    image = frozenset({"image"})
    assert fall(seeing, {"max_price": {"image": 0.004096}}, extras=image) is None
    assert (fall(seeing, {"max_price": {"image": 0.004095}}, extras=image) or ("",))[0] == "Filter by provider.max_price"
    assert fall(seeing, {"max_price": {"image": 0}}) is None


def test_max_price_of_audio_is_in_usd_per_million_tokens_and_binds_requests_with_audio() -> None:
    hearing = endpoint("one", price=Price(prompt=1, completion=1, audio=2 * 10**6))
    fields: dict[str, Any] = {"extras": frozenset({"audio"})}
    assert fall(hearing, {"max_price": {"audio": 2}}, **fields) is None
    assert (fall(hearing, {"max_price": {"audio": 1.9}}, **fields) or ("",))[0] == "Filter by provider.max_price"
    assert fall(hearing, {"max_price": {"audio": 0}}) is None


def test_without_fallbacks_only_what_is_named_in_order_is_left() -> None:
    one = endpoint("one")
    assert (fall(one, {"order": ["fit"], "allow_fallbacks": False}) or ("",))[0] == "Filter by provider.order"
    assert fall(one, {"order": ["fit"]}) is None
    assert fall(one, {"order": ["one"], "allow_fallbacks": False}) is None


def test_without_fallbacks_and_order_the_funnel_says_that_another_was_chosen() -> None:
    verdict = fall(endpoint("one"), {"allow_fallbacks": False})
    assert verdict == ("Filter by provider.allow_fallbacks", "allow_fallbacks is false, and fit/acme/fast was chosen")


REQUIRED = {"require_parameters": True}


@pytest.mark.parametrize(
    ("listed", "used", "unknown"),
    [
        (None, {"temperature", "top_p", "stop", "seed", "max_tokens"}, ""),
        (None, {"tools", "tool_choice", "response_format"}, ""),
        (None, {"top_k", "temperature"}, "top_k"),
        (None, {"verbosity", "top_k"}, "top_k, verbosity"),
        ({"top_k"}, {"top_k", "max_tokens", "max_completion_tokens", "tools"}, ""),
        ({"top_k"}, {"top_k", "temperature"}, "temperature"),
        ({"mirostat"}, {"mirostat"}, ""),
        (None, {"mirostat"}, "a field that is no known parameter"),
        (set(), {"seed"}, "seed"),
        (None, set(), ""),
    ],
)
def test_require_parameters_removes_an_endpoint_whose_support_of_a_used_one_is_not_known(
    listed: set[str] | None, used: set[str], unknown: str
) -> None:
    one = endpoint("one", parameters=None if listed is None else frozenset(listed))
    other = endpoint("fit", parameters=frozenset(used))
    found = plan(request(preferences=REQUIRED, parameters=frozenset(used)), one, other)
    reasons = [step.removed.get(one.id) for step in found.funnel if step.step == "Filter by provider.require_parameters"]
    assert reasons == ([f"it is not known to support {unknown} (require_parameters)"] if unknown else [])


def test_parameters_that_come_with_a_capability_go_with_it() -> None:
    deaf = endpoint("one", capabilities=frozenset({"text"}), parameters=frozenset({"top_k"}))
    assert (fall(deaf, REQUIRED, parameters=frozenset({"response_format"})) or ("", ""))[1].startswith("it is not known to support resp")
    assert fall(deaf, {"require_parameters": False}, parameters=frozenset({"response_format", "mirostat"})) is None


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        *(({"allowed_models": ["acme/fast"]}, True), ({"allowed_models": ["acme/*"]}, True), ({"allowed_models": ["acme/slow"]}, False)),
        *(({"ignored_models": ["acme/fast"]}, False), ({"ignored_models": ["acme/*"]}, False), ({"ignored_models": ["acm/*"]}, True)),
        ({"allowed_models": ["acme/*"], "ignored_models": ["acme/fast"]}, False),
    ],
)
def test_a_model_must_be_allowed_by_the_account(rules: dict[str, Any], allowed: bool) -> None:
    verdict = fall(endpoint("one"), rules=rules)
    assert (verdict is None) == allowed
    assert verdict is None or (verdict[0] == "Filter by Account Models" and "acme/fast" in verdict[1] and "_models)" in verdict[1])


def test_an_own_key_stands_in_for_the_operators_and_for_nothing_else() -> None:
    one = endpoint("one", api_key_env="MISSING")
    assert plan(request(), one, own_keys={"one": "byok_1"}).own_keys == {"one/acme/fast": "byok_1"}
    with pytest.raises(NoEndpoint) as caught:
        plan(request(preferences={"zdr": True}), one, own_keys={"one": "byok_1"})
    assert caught.value.failed_step == "Filter by Data Policy"
    with pytest.raises(NoEndpoint):
        plan(request(), one, own_keys={"other": "byok_1"})
