"""What a request says about its route is kept to the last fallback: the provider's own book shows who was asked, and in which order."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metering.database import open_database
from metering.money import now_ms
from policy import account_rules
from policy.route import draw_of
from tests.path.promises import ALL, CACHED, OTHER, TWO, Routes, routes

EVERYONE = {"all-a", "all-b", "all-c", "all-d"}
ALLOWED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "only": ({"only": ["a", "b"]}, {"all-a", "all-b"}),
    "only one endpoint": ({"only": ["a/m/all"]}, {"all-a"}),
    "ignore": ({"ignore": ["c", "d/m/all"]}, {"all-a", "all-b"}),
    "max_price": ({"max_price": {"prompt": 1, "completion": "2"}}, {"all-a", "all-c", "all-d"}),
    "data_collection": ({"data_collection": "deny"}, {"all-a", "all-b"}),
    "zdr": ({"zdr": True}, {"all-a"}),
    "quantizations": ({"quantizations": ["fp8", "int4"]}, {"all-a", "all-c"}),
    "region": ({"region": "eu"}, {"all-a", "all-b"}),
    "several": ({"region": "eu", "max_price": {"prompt": 1}, "order": ["c", "a"]}, {"all-a"}),
    "order alone": ({"order": ["c", "a"], "allow_fallbacks": False}, {"all-c", "all-a"}),
}
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with routes(tmp_path_factory.mktemp("promises"), TOLLWAY_HEALTH="off") as place:
        yield place


@pytest.fixture
def at(running: Routes) -> Routes:
    running.fake.reset()
    return running


# Who may be asked


@STREAMED
@pytest.mark.parametrize("name", list(ALLOWED))
def test_no_fallback_ever_goes_where_the_preferences_forbid(at: Routes, name: str, stream: bool) -> None:
    preferences, allowed = ALLOWED[name]
    at.fail()
    for _ in range(4):
        at.fake.forget()
        answer = at.ask(ALL, stream=stream, provider=preferences)
        tried = at.tried()
        assert answer.status == 502
        assert set(tried) == allowed
        assert len(tried) == len(allowed)


@STREAMED
def test_require_parameters_leaves_only_who_knows_them_all(at: Routes, stream: bool) -> None:
    at.fail()
    assert at.ask(ALL, stream=stream, top_k=5, provider={"require_parameters": True}).status == 502
    assert at.tried() == ["all-b"]


def test_an_order_is_followed_and_the_rest_come_after_it(at: Routes) -> None:
    at.fail()
    for _ in range(4):
        assert at.ask(ALL, provider={"order": ["b", "a"]}).status == 502
    assert [at.tried()[i : i + 2] for i in range(0, 12, 3)] == [["all-b", "all-a"]] * 4
    assert set(at.tried()[2::3]) <= {"all-c", "all-d"}


@STREAMED
def test_without_fallbacks_one_provider_is_asked_once(at: Routes, stream: bool) -> None:
    at.fail()
    for count in range(1, 5):
        assert at.ask(ALL, stream=stream, provider={"allow_fallbacks": False}).status == 502
        assert len(at.tried()) == count


def test_floor_asks_the_cheapest_first(at: Routes) -> None:
    at.fail()
    assert at.ask(f"{ALL}:floor").status == 502
    assert at.tried() == ["all-d", "all-c", "all-a"]


def test_free_asks_nobody_who_charges(at: Routes) -> None:
    at.fail()
    assert at.ask(f"{ALL}:free").status == 502
    assert at.tried() == ["all-d"]
    at.fake.reset()
    answer = at.ask(f"{ALL}:free")
    assert (answer.status, answer.usage["cost"]) == (200, 0)
    refused = at.ask(f"{TWO}:free")
    assert (refused.status, refused.error["metadata"]["failed_routing_step"]) == (404, "Filter by Variant")


@STREAMED
def test_the_next_model_is_asked_and_the_preferences_hold_for_it_too(at: Routes, stream: bool) -> None:
    at.fail()
    answer = at.ask(OTHER, stream=stream, models=[ALL], provider={"ignore": ["c"], "max_price": {"prompt": "1.5"}})
    assert answer.status == 502
    assert at.tried()[0] == "other-a"
    assert set(at.tried()[1:]) == {"all-a", "all-d"}
    at.fake.reset()
    at.fail("other-a", "other-c")
    answer = at.ask(OTHER, stream=stream, models=[ALL], provider={"only": ["a", "c"], "order": ["c"]})
    assert (answer.status, at.tried()[:2]) == (200, ["other-c", "other-a"])
    assert (answer.events[-1] if stream else answer.json)["model"] == ALL


def test_an_accounts_rules_bind_every_attempt_whatever_the_request_says(at: Routes) -> None:
    at.fail()
    presets = {"careful": {"model": ALL, "provider": {"zdr": True}}}
    _put_rules(at, {"ignored_providers": ["c"], "max_price": {"prompt": "1"}, "presets": presets})
    try:
        for preferences in ({}, {"max_price": {"prompt": 5}}, {"order": ["c", "b"]}):
            at.fake.forget()
            assert at.ask(ALL, provider=preferences).status == 502
            assert set(at.tried()) == {"all-a", "all-d"}
        at.fake.forget()
        assert at.ask("@preset/careful", provider={"zdr": False}).status == 502
        assert at.tried() == ["all-a"]
        at.fake.forget()
        for slug, step in (("b", "max_price"), ("c", "ignore")):
            refused = at.ask(ALL, provider={"only": [slug]})
            assert (refused.status, refused.error["metadata"]["failed_routing_step"]) == (404, f"Filter by provider.{step}")
        refused = at.ask("@preset/carefull")
        assert (refused.status, refused.error["metadata"]["close"]) == (400, ["careful"])
        assert "careful" in refused.error["message"]
        assert at.tried() == []
    finally:
        _put_rules(at, {})


# What is refused


@pytest.mark.parametrize(
    ("preferences", "named"),
    [
        ({"only": ["a"], "ignore": ["a"]}, ("provider.only", "provider.ignore")),
        ({"order": ["a"], "ignore": ["a"]}, ("provider.order", "provider.ignore")),
        ({"order": ["b"], "only": ["a"], "allow_fallbacks": False}, ("provider.order", "provider.only")),
        ({"onyl": ["a"]}, ("provider.onyl", "known field")),
        ({"max_price": {"prompts": 1}}, ("provider.max_price.prompts",)),
        ({"zdr": "yes"}, ("provider.zdr",)),
        ({"sort": "speed"}, ("provider.sort",)),
        ({"preferred_max_latency": "fast"}, ("provider.preferred_max_latency",)),
    ],
)
@STREAMED
def test_what_cannot_be_meant_is_400_and_names_the_field(at: Routes, preferences: Any, named: tuple[str, ...], stream: bool) -> None:
    answer = at.ask(ALL, stream=stream, provider=preferences)
    assert (answer.status, answer.error["param"], at.tried()) == (400, "provider", [])
    assert all(name in answer.error["message"] for name in named), answer.error["message"]


def test_two_different_sorts_are_400(at: Routes) -> None:
    answer = at.ask(f"{ALL}:floor", provider={"sort": "latency"})
    assert answer.status == 400
    assert "sort" in answer.error["message"]


@pytest.mark.parametrize(
    ("preferences", "step"),
    [
        ({"only": ["nobody"]}, "Filter by provider.only"),
        ({"zdr": True, "ignore": ["a"]}, "Filter by Data Policy"),
        ({"region": "mars"}, "Filter by Region"),
        ({"quantizations": ["fp4"]}, "Filter by provider.quantizations"),
        ({"max_price": {"prompt": "0.1"}, "only": ["a", "b"]}, "Filter by provider.max_price"),
    ],
)
def test_preferences_that_leave_nothing_are_404_with_the_funnel(at: Routes, preferences: Any, step: str) -> None:
    error = at.ask(ALL, provider=preferences).error
    metadata = error["metadata"]
    assert (error["code"], metadata["error_type"], metadata["failed_routing_step"], at.tried()) == (404, "not_found", step, [])
    funnel = metadata["routing_funnel"]
    assert (funnel[0]["endpoint_count"], funnel[-1]["endpoint_count"], funnel[-1]["step"]) == (4, 0, step)
    assert {id for each in funnel for id in each["removed"]} == {f"{slug}/{ALL}" for slug in "abcd"}


# Who is asked first


def test_the_first_place_is_drawn_by_the_generations_id_at_one_over_the_price_squared(at: Routes) -> None:
    """At prices 1 and 2 the weights are 4 to 1."""
    drawn = {"two-a": 0, "two-b": 0}
    for _ in range(400):
        answer = at.ask(TWO, max_tokens=3)
        by_hand = draw_of(answer.headers["x-generation-id"]) * 2**16 % 1
        expected = "two-a" if by_hand < 0.8 else "two-b"
        assert answer.json["provider"] == expected[-1]
        drawn[expected] += 1
    assert at.tried().count("two-a") == drawn["two-a"]
    assert 280 <= drawn["two-a"] <= 360  # five standard deviations around 320


@pytest.mark.parametrize("how", ["prompt_cache_key", "session_id", "x-session-id"])
def test_a_conversation_stays_where_its_prompt_is_cached_until_that_fails(at: Routes, how: str) -> None:
    name = f"conversation by {how}"
    headers, body = ({how: name}, {}) if how.startswith("x-") else ({}, {how: name})
    first = at.ask(CACHED, headers, **body).json["provider"]
    answers = [at.ask(CACHED, headers, **body) for _ in range(12)]
    assert {answer.json["provider"] for answer in answers} == {first}
    assert {_drawn(answer.headers["x-generation-id"]) for answer in answers} == {"a", "b"}
    at.fail(f"cached-{first}")
    other = at.ask(CACHED, headers, **body).json["provider"]
    assert other != first
    at.fake.reset()
    assert {at.ask(CACHED, headers, **body).json["provider"] for _ in range(12)} == {other}
    assert "cached-" + first not in at.tried()


def test_another_conversation_goes_its_own_way(at: Routes) -> None:
    answers = [at.ask(CACHED, prompt_cache_key=f"conversation {number}") for number in range(16)]
    assert all(answer.json["provider"] == _drawn(answer.headers["x-generation-id"]) for answer in answers)


def _drawn(generation_id: str) -> str:
    """Prices 1 and 1.1."""
    share = 1 / (1 + 1 / 1.1**2)
    return "a" if draw_of(generation_id) * 2**16 % 1 < share else "b"


def _put_rules(at: Routes, raw: dict[str, Any]) -> None:
    """And waits until no process remembers the old ones."""

    async def put() -> None:
        database = open_database(at.database_url)
        try:
            await database.write(account_rules.put, at.account.account_id, raw, now=now_ms())
        finally:
            await database.aclose()
        await asyncio.sleep(1.1)

    asyncio.run(put())


def test_nitro_asks_the_one_with_the_most_tokens_per_second(tmp_path: Path) -> None:
    with routes(tmp_path) as at:
        at.fake.fault("two-a", fault="slow-tokens", ms=30, tokens=10)
        at.fake.fault("two-b", tokens=10)
        for slug in ("a", "b") * 3:
            assert at.ask(TWO, stream=True, provider={"only": [slug]}).status == 200
        at.fake.forget()
        for _ in range(6):
            assert at.ask(f"{TWO}:nitro", stream=True).status == 200
        assert at.tried() == ["two-b"] * 6
