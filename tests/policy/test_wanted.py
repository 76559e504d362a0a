"""Model names: ids of the catalog, variants, policies, and what is refused with names that come close."""

import datetime
from typing import Any

import msgspec
import pytest

from metering.price import Price
from policy import route, rules
from policy.errors import InvalidPreferences, ModelDeprecated, NoEndpoint, UnknownModel, UnknownPreset
from policy.route import draw_of
from policy.stats import Stats
from providers.catalog import bare_names
from tests.policy.routing import catalog, endpoint, plan, request, slugs, steady, usd

FAST = [endpoint("dear", price=usd(3)), endpoint("cheap", price=usd(1)), endpoint("free", price=usd(0))]
FIGURES = {"dear": Stats(throughput=steady(90)), "cheap": Stats(throughput=steady(30)), "free": Stats(throughput=steady(60))}


def test_nitro_sorts_by_throughput_and_floor_by_price() -> None:
    assert slugs(request("acme/fast:nitro"), *FAST, figures=FIGURES) == ["dear", "free", "cheap"]
    assert slugs(request("acme/fast:floor"), *FAST, figures=FIGURES, draw=0.99) == ["free", "cheap", "dear"]


def test_free_leaves_only_endpoints_whose_prices_are_all_0() -> None:
    fee = endpoint("fee", price=Price(prompt=0, completion=0, request=1))
    image = endpoint("image", price=Price(prompt=0, completion=0, image=1))
    found = plan(request("acme/fast:free"), *FAST, fee, image)
    assert [each.provider.slug for each in found.endpoints] == ["free"]
    assert found.funnel[1].step == "Filter by Variant"
    with pytest.raises(NoEndpoint, match="it is not free"):
        plan(request("acme/fast:free"), fee)


@pytest.mark.parametrize("variant", ["nitro", "floor", "free"])
def test_an_id_of_its_own_in_the_catalog_wins_over_the_suffix(variant: str) -> None:
    own = endpoint("own", f"acme/fast:{variant}", price=usd(9))
    assert slugs(request(f"acme/fast:{variant}"), *FAST, own) == ["own"]


@pytest.mark.parametrize("name", ["acme/fast:nitr", "acme/fast:", ":nitro", "acme/fast:online", "acme/fast:free:nitro", "acme/fats:nitro"])
def test_an_unknown_suffix_or_model_is_refused(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        plan(request(name), *FAST)
    assert caught.value.close == (["acme/fast"] if "acme" in name else [])


@pytest.mark.parametrize(("name", "served"), [("fast", 3), ("fast:free", 1)])
def test_a_model_can_be_named_without_its_company(name: str, served: int) -> None:
    offered = catalog(*FAST, endpoint("slow", "acme/slow"))
    known = msgspec.structs.replace(offered, bare=bare_names(offered.models, offered.every_endpoint()))
    for wanted in (request(name), request(name, models=("fast",)), request("fast:free", models=(name,))):
        assert route.plan(wanted, known, keys=frozenset()).endpoints[0].model.id == "acme/fast"
    assert len(route.plan(request(name), known, keys=frozenset()).endpoints) == served
    for unknown in ("fas", "fast:nope", "fastest", "zeta/fast"):
        with pytest.raises(UnknownModel):
            route.plan(request(unknown), known, keys=frozenset())


def test_a_name_of_two_models_is_refused_with_both() -> None:
    offered = catalog(endpoint("one", "acme/fast"), endpoint("two", "zeta/fast"))
    known = msgspec.structs.replace(offered, bare=bare_names(offered.models, offered.every_endpoint()))
    with pytest.raises(UnknownModel) as caught:
        route.plan(request("fast"), known, keys=frozenset())
    assert caught.value.close == ["zeta/fast", "acme/fast"]


def test_a_fallback_model_can_have_a_variant_of_its_own() -> None:
    offered = [*FAST, endpoint("slow", "acme/slow"), endpoint("slower", "acme/slow", price=usd(0))]
    wanted = request("acme/slow:floor", models=("acme/fast:nitro",))
    assert slugs(wanted, *offered, figures=FIGURES) == ["slower", "slow", "dear", "free", "cheap"]


def test_a_variant_and_another_sort_are_refused_and_both_named() -> None:
    with pytest.raises(InvalidPreferences, match=r"provider.sort is latency.*:nitro"):
        plan(request("acme/fast:nitro", preferences={"sort": "latency"}), *FAST)
    assert slugs(request("acme/fast:nitro", preferences={"sort": "throughput"}), *FAST, figures=FIGURES)[0] == "dear"


@pytest.mark.parametrize("default", [{"sort": "price"}, {"order": ["cheap"]}])
def test_a_variant_goes_before_the_accounts_default(default: dict[str, Any]) -> None:
    assert slugs(request("acme/fast:nitro"), *FAST, figures=FIGURES, rules={"provider": default})[0] == "dear"


def test_an_order_of_the_request_goes_before_its_variant() -> None:
    wanted = request("acme/fast:nitro", preferences={"order": ["cheap"]})
    assert slugs(wanted, *FAST, figures=FIGURES) == ["cheap", "dear", "free"]


MODELS = [endpoint("a", "acme/a"), endpoint("b", "acme/b"), endpoint("c", "acme/c")]
MIX = {"policies": {"mix": {"kind": "weighted", "models": [["acme/a", 1], ["acme/b", 6], ["acme/c", 3]]}}}


@pytest.mark.parametrize(
    ("draw", "order"),
    [*((0.0, "bca"), (0.59, "bca"), (0.61, "cba"), (0.89, "cba"), (0.91, "abc"), (0.999999, "abc"))],
)
def test_a_weighted_policy_draws_the_first_model_and_falls_back_by_weight(draw: float, order: str) -> None:
    assert slugs(request("policy/mix"), *MODELS, rules=MIX, draw=draw) == list(order)


def test_a_weighted_policy_gives_each_model_its_share() -> None:
    served, account, wanted = catalog(*MODELS), rules.parse(MIX), request("policy/mix")
    plans = (route.plan(wanted, served, keys=frozenset(), rules=account, draw=draw_of(f"gen-{i}")) for i in range(5000))
    first = [found.endpoints[0].provider.slug for found in plans]
    expected = {"a": 500, "b": 3000, "c": 1500}
    assert sum((first.count(slug) - count) ** 2 / count for slug, count in expected.items()) < 13.8  # chi-squared, 2 degrees, p = 0.001


def test_a_fallback_policy_keeps_its_order() -> None:
    account = {"policies": {"safe": {"kind": "fallback", "models": ["acme/c", "acme/a:floor", "acme/c"]}}}
    for draw in (0.0, 0.5, 0.99):
        assert slugs(request("policy/safe", models=("acme/b",)), *MODELS, rules=account, draw=draw) == ["c", "a", "b"]


def test_an_unknown_policy_is_refused_with_names_that_resemble_it() -> None:
    with pytest.raises(UnknownPreset) as caught:
        plan(request("policy/mxi"), *MODELS, rules=MIX)
    assert (caught.value.kind, caught.value.close) == ("policy", ["mix"])
    assert "mxi" not in str(caught.value)
    with pytest.raises(UnknownPreset):
        plan(request("acme/a", models=("policy/mix",)), *MODELS)


def test_a_model_of_a_policy_that_is_not_in_the_catalog_is_refused() -> None:
    with pytest.raises(UnknownModel):
        plan(request("policy/p"), *MODELS, rules={"policies": {"p": {"kind": "fallback", "models": ["acme/d"]}}})


def test_a_model_of_a_company_called_policy_is_a_model() -> None:
    assert slugs(request("policy/mix"), endpoint("own", "policy/mix"), rules=MIX) == ["own"]


LAST = datetime.date(2027, 3, 1)


def ending(slug: str, model: str, successor: str | None = None) -> Any:
    of = endpoint(slug, model)
    return msgspec.structs.replace(of, model=msgspec.structs.replace(of.model, deprecated=LAST, successor=successor))


def test_a_model_is_offered_on_its_last_day_and_refused_on_the_next() -> None:
    old, new = ending("one", "acme/old", "acme/new"), endpoint("one", "acme/new")
    assert plan(request("acme/old"), old, new, today=LAST).endpoints == (old,)
    assert plan(request("acme/old"), old, new).endpoints == (old,)
    for name in ("acme/old", "acme/old:floor"):
        with pytest.raises(ModelDeprecated) as caught:
            plan(request(name), old, new, today=LAST + datetime.timedelta(days=1))
        assert (caught.value.model, caught.value.ended, caught.value.successor) == ("acme/old", LAST, "acme/new")
        assert str(caught.value) == "acme/old was offered until 2027-03-01. Use acme/new instead."


def test_of_a_list_of_models_those_that_are_over_are_left_out() -> None:
    old, older, new = ending("one", "acme/old"), ending("one", "acme/older"), endpoint("one", "acme/new")
    later = LAST + datetime.timedelta(days=1)
    assert plan(request("acme/old", models=("acme/new",)), old, new, today=later).endpoints == (new,)
    policy = {"policies": {"p": {"kind": "fallback", "models": ["acme/old", "acme/new"]}}}
    assert plan(request("policy/p"), old, new, rules=policy, today=later).endpoints == (new,)
    with pytest.raises(ModelDeprecated, match=r"acme/old was offered until 2027-03-01\. GET /v1/models"):
        plan(request("acme/old", models=("acme/older",)), old, older, today=later)
