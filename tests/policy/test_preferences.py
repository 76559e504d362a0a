"""The `provider` object of a request: every wish is honoured, or refused by name."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.price import Price
from policy import preferences
from policy.errors import InvalidPreferences
from policy.preferences import Preferences
from providers.provider import DataPolicy, Endpoint, Model, Provider

MODEL = Model(id="acme/fast", name="Fast", company="acme", context_length=1000)
CHEAP = Price(prompt=150_000, completion=600_000)


def endpoint(slug: str = "one", *, price: Price = CHEAP, policy: DataPolicy | None = None, quantization: str | None = None) -> Endpoint:
    provider = Provider(slug=slug, name=slug, dialect="openai", data_policy=policy or DataPolicy())
    return Endpoint(
        id=f"{slug}/acme/fast", model=MODEL, provider=provider, upstream_model="fast", price=price, price_id=price.id, context_length=1000,
        quantization=quantization,
    )  # fmt: skip


def step(wish: dict[str, Any], of: Endpoint | None = None) -> str | None:
    """The step at which an endpoint falls, None if it may be used."""
    verdict = preferences.removed(of or endpoint(), preferences.parse(wish))
    return verdict[0] if verdict else None


@pytest.mark.parametrize("raw", [None, {}, dict.fromkeys(Preferences.__struct_fields__)])
def test_nothing_wished_is_the_default(raw: object) -> None:
    assert preferences.parse(raw) == Preferences()


@pytest.mark.parametrize("name", ["Order", "orders", "data-collection", "zero_data_retention", "", "__class__", "x" * 100])
def test_an_unknown_wish_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidPreferences) as caught:
        preferences.parse({name: True})
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("order", "one"), ("order", {}), ("order", [1]), ("only", 1), ("ignore", [None]), ("allow_fallbacks", 1), ("zdr", "yes")),
        *(("data_collection", "no"), ("sort", "speed"), ("sort", 1), ("quantizations", "fp8"), ("max_price", 1), ("max_price", "1")),
        *(("max_price", {name: value}) for name, value in [("prompt", True), ("prompt", "x"), ("prompt", "1e999"), ("prompt", [1])]),
        *(("max_price", {name: value}) for name, value in [("completion", "nan"), ("request", "inf"), ("image", 1)]),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidPreferences) as caught:
        preferences.parse({field: value})
    assert field in caught.value.message


NAMES = st.sampled_from([*Preferences.__struct_fields__, "prompt", "completion"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(raw=st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8))
def test_no_value_makes_it_stumble(raw: object) -> None:
    with contextlib.suppress(InvalidPreferences):
        preferences.removed(endpoint(), preferences.parse(raw))


@pytest.mark.parametrize("name", ["one", "one/acme/fast"])
def test_only_and_ignore_take_the_name_of_a_provider_or_of_an_endpoint(name: str) -> None:
    assert step({"only": [name]}) is None
    assert step({"only": ["other"]}) == "Filter by provider.only"
    assert step({"ignore": [name]}) == "Filter by provider.ignore"
    assert step({"only": [name], "ignore": [name]}) == "Filter by provider.ignore"
    assert step({"only": [], "ignore": []}) is None


@pytest.mark.parametrize("wish", [{"data_collection": "deny"}, {"zdr": True}])
@pytest.mark.parametrize(("trains", "days"), [(None, None), (None, 0), (True, 0), (True, None)])
def test_what_is_not_known_of_a_provider_counts_as_the_worst(wish: dict[str, Any], trains: bool | None, days: int | None) -> None:
    assert step(wish, endpoint(policy=DataPolicy(trains=trains, retention_days=days))) == "Filter by Data Policy"


@pytest.mark.parametrize(("days", "allowed"), [(0, True), (1, False), (None, False)])
def test_zdr_allows_only_providers_that_keep_nothing(days: int | None, allowed: bool) -> None:
    kept = endpoint(policy=DataPolicy(trains=False, retention_days=days))
    assert (step({"zdr": True}, kept) is None) == allowed
    assert step({"data_collection": "deny"}, kept) is None


@pytest.mark.parametrize(
    ("quantization", "wished", "allowed"), [("fp8", "fp8", True), ("fp8", "bf16", False), (None, "fp8", False), (None, "unknown", True)]
)
def test_a_quantization_must_be_one_of_the_wished(quantization: str | None, wished: str, allowed: bool) -> None:
    assert (step({"quantizations": [wished]}, endpoint(quantization=quantization)) is None) == allowed


@pytest.mark.parametrize(
    ("ceiling", "allowed"),
    [
        *(
            ({"prompt": 0.15}, True),
            ({"prompt": "0.15"}, True),
            ({"prompt": 0.1499}, False),
            ({"prompt": 0}, False),
            ({"prompt": -1}, False),
        ),
        *(({"completion": 0.6}, True), ({"completion": "0.59"}, False), ({"prompt": 1, "completion": 0.1}, False)),
        *(({"request": 0}, True), ({}, True)),
    ],
)
def test_max_price_is_in_usd_per_million_tokens(ceiling: dict[str, Any], allowed: bool) -> None:
    assert (step({"max_price": ceiling}) is None) == allowed


def test_max_price_of_a_request_is_in_usd_each() -> None:
    dear = endpoint(price=Price(prompt=1, completion=1, request=10**10))
    assert step({"max_price": {"request": 0.01}}, dear) is None
    assert step({"max_price": {"request": "0.0099"}}, dear) == "Filter by provider.max_price"


def test_without_fallbacks_only_what_is_named_in_order_is_left() -> None:
    assert step({"order": ["two"], "allow_fallbacks": False}) == "Filter by provider.order"
    assert step({"order": ["two"]}) is None
    assert step({"allow_fallbacks": False}) is None


def test_the_rank_is_the_place_in_order_and_the_unnamed_come_last_alike() -> None:
    wanted = preferences.parse({"order": ["two", "one/acme/fast", "one"]})
    assert [preferences.rank(endpoint(slug), wanted) for slug in ("two", "one", "three", "four")] == [0, 1, 3, 3]
