"""The `provider` object of a request: every wish is understood, or refused by name."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import preferences
from policy.errors import InvalidPreferences
from policy.preferences import NOTHING, MaxPrice, Preferences, Sort, Threshold


def refusal(raw: object) -> str:
    with pytest.raises(InvalidPreferences) as caught:
        preferences.parse(raw)
    return caught.value.message


@pytest.mark.parametrize("raw", [None, {}, dict.fromkeys(Preferences.__struct_fields__), {"only": [], "order": [], "region": []}])
def test_nothing_wished_is_the_default(raw: object) -> None:
    assert preferences.parse(raw) == NOTHING


def test_every_field_is_understood() -> None:
    raw = {
        "order": ["a"], "only": ["a", "b/acme/fast"], "ignore": ["c"], "allow_fallbacks": False, "require_parameters": True,
        "data_collection": "deny", "zdr": True, "quantizations": ["fp8"], "sort": {"by": "latency", "partition": "none"},
        "max_price": {"prompt": 1, "completion": "2.5", "request": 0.01, "image": "0.002", "audio": 4},
        "preferred_min_throughput": {"p90": 40}, "preferred_max_latency": 1.5, "region": "EU",
    }  # fmt: skip
    assert preferences.parse(raw) == Preferences(
        order=("a",), only=("a", "b/acme/fast"), ignore=("c",), allow_fallbacks=False, require_parameters=True, data_collection="deny",
        zdr=True, quantizations=("fp8",), sort=Sort("latency", "none"), preferred_min_throughput=Threshold(p90=40),
        max_price=MaxPrice(prompt=10**6, completion=2_500_000, request=10**10, image=2 * 10**9, audio=4 * 10**6),
        preferred_max_latency=Threshold(p50=1.5), region=("eu",),
    )  # fmt: skip
    assert raw["region"] == "EU", "the client's object is left as it was"


def test_the_fields_are_those_of_the_contract() -> None:
    assert set(Preferences.__struct_fields__) == {
        *("order", "only", "ignore", "allow_fallbacks", "require_parameters", "data_collection", "zdr", "quantizations", "sort"),
        *("max_price", "preferred_min_throughput", "preferred_max_latency", "region"),
    }


@pytest.mark.parametrize("by", ["price", "throughput", "latency"])
def test_a_sort_is_a_name_or_an_object(by: Any) -> None:
    assert preferences.parse({"sort": by}).sort == preferences.parse({"sort": {"by": by}}).sort == Sort(by, "model")


@pytest.mark.parametrize("name", ["Order", "orders", "data-collection", "zero_data_retention", "", "__class__", "x" * 100])
def test_an_unknown_wish_is_refused_by_name(name: str) -> None:
    assert refusal({name: True}).startswith(f"provider.{name}: is not a known field; use one of: order, only, ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("order", "one"), ("order", {}), ("order", [1]), ("only", 1), ("ignore", [None]), ("allow_fallbacks", 1), ("zdr", "yes")),
        *(("order", ["x"] * 101), ("only", ["x" * 257]), ("only", [""]), ("require_parameters", "true"), ("region", 1), ("region", [1])),
        *(("data_collection", "no"), ("sort", "speed"), ("sort", 1), ("sort", {}), ("sort", {"by": "price", "x": 1}), ("sort", "exacto")),
        *(("sort", {"by": "price", "partition": "provider"}), ("quantizations", "fp8"), ("max_price", 1), ("max_price", "1")),
        *(("max_price", {name: value}) for name, value in [("prompt", True), ("prompt", "x"), ("prompt", "1e999"), ("prompt", [1])]),
        *(
            ("max_price", {name: value})
            for name, value in [("completion", "nan"), ("request", "inf"), ("prompt", -1), ("prompt", "1" * 65)]
        ),
        *(("max_price", {name: value}) for name, value in [("images", 1), ("prompt", 10**400), ("audio", "-0.1")]),
        *(("preferred_min_throughput", "fast"), ("preferred_max_latency", True), ("preferred_max_latency", {"p95": 1})),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field_and_with_what_to_write(field: str, value: object) -> None:
    message = refusal({field: value})
    assert message.startswith(f"provider.{field}")
    assert "write " in message


@pytest.mark.parametrize("raw", [[], "price", 1, True, [{}]])
def test_what_is_no_object_is_refused(raw: object) -> None:
    assert refusal(raw) == "provider: write an object."


NAMES = st.sampled_from([*Preferences.__struct_fields__, "prompt", "completion", "by", "p50"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(raw=st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8))
def test_no_value_makes_it_stumble(raw: object) -> None:
    with contextlib.suppress(InvalidPreferences):
        preferences.parse(raw)


@pytest.mark.parametrize("usd", ["0.15", "0.29", "1.13", "0.000001", "0.07"])
def test_a_price_is_exact_as_a_number_and_as_text(usd: str) -> None:
    """0.29 * 10**6 is less than 290,000 as a float on the way of some of these."""
    pico = int(usd.replace(".", "").lstrip("0") or "0") * 10 ** (6 - len(usd.partition(".")[2]))
    for value in (usd, float(usd)):
        assert preferences.parse({"max_price": {"prompt": value}}).max_price == MaxPrice(prompt=pico)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"only": ["a", "b"], "ignore": ["b"]}, ["provider.only", "provider.ignore", "'b'"]),
        ({"only": ["b/acme/fast"], "ignore": ["b"]}, ["provider.only", "provider.ignore", "'b/acme/fast'"]),
        ({"order": ["b"], "ignore": ["c", "b"]}, ["provider.order", "provider.ignore", "'b'"]),
        ({"order": ["a"], "only": ["b"], "allow_fallbacks": False}, ["provider.order", "provider.only", "allow_fallbacks"]),
    ],
)
def test_wishes_that_cannot_both_be_meant_are_refused_and_both_named(raw: dict[str, Any], words: list[str]) -> None:
    message = refusal(raw)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "raw",
    [
        {"only": ["b"], "ignore": ["b/acme/fast"]},
        {"order": ["a"], "only": ["b"]},
        {"order": ["a", "b/acme/fast"], "only": ["b"], "allow_fallbacks": False},
        {"order": ["b"], "only": ["b/acme/fast"], "allow_fallbacks": False},
    ],
)
def test_wishes_that_leave_something_are_not_at_odds(raw: dict[str, Any]) -> None:
    assert preferences.parse(raw).only == tuple(raw["only"])
