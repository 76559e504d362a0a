"""POST route/explain: it says what a request would get and why, by the caller's own rules, and neither calls nor charges anything."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from policy.route import draw_of
from tests.fakes.process import Fake
from tests.path.routes import MODELS, PRICES, Crossing, crossing

SECOND = 1.05


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def at(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("explain"), request) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_happens(at: Crossing) -> Iterator[None]:
    """Whatever is explained: no provider is called, nothing is held or charged."""
    at.fake.reset()
    before = at.send("GET", "credits").json
    yield
    assert at.called() == []
    assert at.send("GET", "credits").json == before
    assert at.send("PUT", "account/routing", {}).status == 200


def explain(at: Crossing, query: str = "", key: str = "", **body: Any) -> Any:
    answer = at.send("POST", f"route/explain{query}", {"model": MODELS[0], **body}, key=key)
    assert answer.status == 200, answer.json
    return answer.json


def names(found: Any) -> list[str]:
    return [endpoint["provider"] for endpoint in found["endpoints"]]


def test_the_answer_has_the_order_with_reasons_and_prices_the_funnel_and_the_ceiling(at: Crossing) -> None:
    found = explain(at, provider={"sort": "price", "ignore": ["middle"]}, max_tokens=100)
    assert (found["model"], found["error"]) == (MODELS[0], None)
    assert names(found) == ["cheap", "dear"]
    first = found["endpoints"][0]
    assert (first["endpoint"], first["tier"], first["own_key"]) == ("cheap/acme/one", "healthy", False)
    assert first["usd_per_million_tokens"] == PRICES["cheap"]
    assert "sorted by price" in first["why"]
    assert [(step["step"], step["endpoint_count"]) for step in found["funnel"]] == [
        ("Initial Endpoints", 3),
        ("Filter by provider.ignore", 2),
    ]
    assert found["funnel"][1]["removed"] == {"middle/acme/one": "in provider.ignore"}
    assert Decimal(found["ceiling_usd"]) == (1000 * Decimal("0.4") + 100 * Decimal("1.1")) / 10**6
    assert any("1000 tokens" in each and "no messages" in each for each in found["assumed"])


def test_with_messages_the_ceiling_is_of_those_messages(at: Crossing) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    found = explain(at, provider={"only": ["dear"]}, max_tokens=100, messages=messages)
    assert Decimal("0.00011") < Decimal(found["ceiling_usd"]) < Decimal("0.0002")
    assert not any("1000 tokens" in each for each in found["assumed"])


def test_the_draw_of_an_answer_shows_the_same_order_again(at: Crossing) -> None:
    seen = {tuple(names(found)): found["draw"] for found in (explain(at) for _ in range(30))}
    assert len(seen) > 1
    for order, draw in seen.items():
        again = explain(at, f"?draw={draw}")
        assert (tuple(names(again)), again["draw"]) == (order, draw)
    for wrong in ("1", "-0.1", "nan", "many"):
        refused = at.send("POST", f"route/explain?draw={wrong}", {"model": MODELS[0]})
        assert (refused.status, refused.error["param"]) == (400, "draw")


def test_the_drawn_order_is_that_of_a_request_with_the_generation_s_id(at: Crossing) -> None:
    other = at.tollway.account().key
    answers = [at.ask(key=other) for _ in range(12)]
    called = at.called()
    at.fake.reset()
    firsts = [explain(at, f"?draw={draw_of(each.headers['x-generation-id'])!r}")["endpoints"][0]["provider"] for each in answers]
    assert [f"one-{name}" for name in firsts] == called
    assert len(set(called)) > 1


def test_a_request_that_nobody_can_take_is_explained_with_its_status(at: Crossing) -> None:
    found = explain(at, provider={"zdr": True, "max_price": {"prompt": "0.3"}})
    assert (found["endpoints"], found["ceiling_usd"]) == ([], None)
    assert (found["error"]["code"], found["error"]["failed_routing_step"]) == (404, "Filter by provider.max_price")
    assert "Raise the price" in found["error"]["message"]
    assert [step["endpoint_count"] for step in found["funnel"]] == [3, 1, 0]
    real = at.ask(provider={"zdr": True, "max_price": {"prompt": "0.3"}})
    assert (real.status, real.error["message"]) == (404, found["error"]["message"])


def test_the_account_s_rules_and_presets_hold(at: Crossing) -> None:
    rules = {"ignored_providers": ["cheap"], "presets": {"quiet": {"model": MODELS[1], "provider": {"zdr": True}}}}
    assert at.send("PUT", "account/routing", rules).status == 200
    time.sleep(SECOND)
    found = explain(at)
    assert sorted(names(found)) == ["dear", "middle"]
    assert "account's rules" in found["funnel"][1]["removed"]["cheap/acme/one"]
    assert [each["endpoint"] for each in explain(at, model="@preset/quiet")["endpoints"]] == ["dear/acme/two"]


@pytest.mark.parametrize("options", [(), ("--management",)])
def test_any_kind_of_key_may_ask_and_nobody_else(at: Crossing, options: tuple[str, ...]) -> None:
    assert len(names(explain(at, key=at.key(*options)))) == 3
    assert at.send("POST", "route/explain", {"model": MODELS[0]}, key="sk-tw-v1-no").status == 401


@pytest.mark.parametrize(("body", "param"), [
    ({"model": 1}, "model"), ({}, "model"), ({"model": "acme/one", "messages": []}, "messages"),
    ({"model": "acme/one", "max_tokens": "x"}, "max_tokens"), ({"model": "acme/one", "provider": {"colour": 1}}, "provider"),
    ({"model": "acme/none"}, "model"), ({"model": "@preset/none"}, "model"), ({"model": "policy/none"}, "model"),
    ({"model": "acme/one", "api_key": "x"}, "api_key"), (b"{", None), (b"[]", None), (b"[" * 5000, None),
])  # fmt: skip
def test_wrong_fields_are_400_as_in_a_chat_request(at: Crossing, body: object, param: str | None) -> None:
    refused = at.send("POST", "route/explain", body)
    assert (refused.status, refused.error["param"]) == (400, param)
