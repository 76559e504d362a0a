"""The account's rules and limits over HTTP: who may set them, what is refused by name, and that they hold within a second."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from policy.route import draw_of
from tests.fakes.process import Fake
from tests.path.routes import Crossing, crossing

SECOND = 1.05
"""How long a caller may be remembered."""


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def place(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with crossing(request.param, fake, tmp_path_factory.mktemp("rules"), request) as running:
        yield running


@pytest.fixture
def at(place: Crossing) -> Iterator[Crossing]:
    """Without rules and limits, and with an empty fake's ledger."""
    place.fake.reset()
    yield place
    if place.send("GET", "account/routing").json or any(place.send("GET", "account/limits").json.values()):
        assert place.send("PUT", "account/routing", {}).status == 200
        assert place.send("PUT", "account/limits", {}).status == 200
        time.sleep(SECOND)


def put(at: Crossing, document: object) -> None:
    answer = at.send("PUT", "account/routing", document)
    assert (answer.status, answer.json) == (200, document)
    time.sleep(SECOND)


# The document


def test_rules_are_read_back_as_they_were_written(at: Crossing) -> None:
    assert at.send("GET", "account/routing").json == {}
    document = {"ignored_providers": ["cheap"], "max_price": {"prompt": "0.5"}, "presets": {"fast": {"model": "acme/one"}}}
    assert at.send("PUT", "account/routing", document).json == document
    assert at.send("GET", "account/routing").json == document
    at.send("PUT", "account/routing", {"zdr": True})
    assert at.send("GET", "account/routing").json == {"zdr": True}


def test_a_patch_changes_what_it_names_and_null_removes(at: Crossing) -> None:
    at.send("PUT", "account/routing", {"zdr": True, "ignored_models": ["acme/two"], "max_price": {"prompt": 1, "completion": 2}})
    patched = at.send("PATCH", "account/routing", {"zdr": None, "data_collection": "deny", "max_price": {"prompt": 3}})
    expected = {"ignored_models": ["acme/two"], "max_price": {"prompt": 3}, "data_collection": "deny"}
    assert (patched.status, patched.json) == (200, expected)
    assert at.send("GET", "account/routing").json == expected
    refused = at.send("PATCH", "account/routing", {"allowed_models": ["acme/two"]})
    assert (refused.status, refused.error["param"]) == (400, "allowed_models")
    assert at.send("GET", "account/routing").json == expected


def test_of_patches_at_the_same_time_none_is_lost(at: Crossing) -> None:
    names = ("allowed_models", "ignored_models", "allowed_providers", "ignored_providers", "region")
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: at.send("PATCH", "account/routing", {name: [f"acme/{name}"]}), names))
    assert [answer.status for answer in answers] == [200] * len(names)
    assert at.send("GET", "account/routing").json.keys() == set(names)


# Who may, and what is wrong


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "account/routing"), ("PUT", "account/routing"), ("PATCH", "account/routing"), ("GET", "account/limits"),
    ("PUT", "account/limits"),
])  # fmt: skip
def test_an_inference_key_is_told_which_key_to_use(at: Crossing, method: str, path: str) -> None:
    refused = at.send(method, path, {}, key=at.key())
    assert (refused.status, refused.error["type"]) == (403, "permission_error")
    assert "management key" in refused.error["message"]
    assert at.send(method, path, {}, key=at.key("--management")).status == 200
    assert at.send(method, path, {}, key="sk-tw-v1-no").status == 401


WRONG: dict[str, object] = {
    "colour": {"colour": 1},
    "zdr": {"zdr": "yes"},
    "max_price.prompt": {"max_price": {"prompt": -1}},
    "data_collection": {"data_collection": "maybe"},
    "allowed_models": {"allowed_models": ["no-slash"]},
    "allowed_providers": {"allowed_providers": ["cheap"], "ignored_providers": ["cheap"]},
    "provider.sort.by": {"provider": {"sort": "fame"}},
    "presets": {"presets": {"a b": {}}},
    "presets.fast.messages": {"presets": {"fast": {"messages": []}}},
    "presets.fast.parameters.tools2": {"presets": {"fast": {"parameters": {"tools2": 1}}}},
    "policies.mix.models[0]": {"policies": {"mix": {"kind": "weighted", "models": [["acme/one"]]}}},
    "policies.mix.kind": {"policies": {"mix": {"kind": "random", "models": ["acme/one"]}}},
}


@pytest.mark.parametrize("path", sorted(WRONG))
def test_a_wrong_field_is_400_and_named_by_its_path(at: Crossing, path: str) -> None:
    for method in ("PUT", "PATCH"):
        refused = at.send(method, "account/routing", WRONG[path])
        assert (refused.status, refused.error["param"]) == (400, path), refused.error
        assert refused.error["message"].startswith(path)
    assert at.send("GET", "account/routing").json == {}


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"{", 400), (b"[]", 400), (b"\xff", 400), (b"[" * 30_000, 400), (b" " * 65_537, 413),
    (json.dumps({"ignored_models": ["acme/" + "x" * 250] * 300}).encode(), 413),
])  # fmt: skip
def test_a_body_that_is_no_small_object_is_refused(at: Crossing, body: bytes, status: int) -> None:
    for path in ("account/routing", "account/limits"):
        refused = at.send("PUT", path, body)
        assert (refused.status, refused.error["code"]) == (status, status)


# What the rules do


def test_rules_hold_within_a_second_and_a_request_cannot_widen_them(at: Crossing) -> None:
    assert at.ask(provider={"only": ["cheap"]}).status == 200
    put(at, {"ignored_providers": ["cheap"]})
    refused = at.ask(provider={"only": ["cheap"]})
    assert refused.status == 404
    assert "the account's rules ignore its provider" in refused.error["message"]
    at.fake.reset()
    assert {at.ask().status for _ in range(5)} == {200}
    assert "one-cheap" not in at.called()


def test_a_preset_by_its_three_spellings_routes_and_sets_parameters(at: Crossing) -> None:
    fast = {"model": "acme/two", "provider": {"only": ["dear"]}, "parameters": {"max_tokens": 2}}
    put(at, {"presets": {"fast": fast}})
    for model, more in (("@preset/fast", {}), ("acme/two@preset/fast", {}), ("acme/two", {"preset": "fast"})):
        answer = at.ask(model, **more)
        assert (answer.status, answer.usage["completion_tokens"]) == (200, 2), answer.json
    assert at.ask("acme/one@preset/fast").status == 200
    assert at.called() == ["two-dear"] * 3 + ["one-dear"]
    unknown = at.ask("@preset/fist")
    assert (unknown.status, unknown.error["metadata"]["close"]) == (400, ["fast"])


def test_a_fallback_policy_tries_its_models_as_listed(at: Crossing) -> None:
    put(at, {"policies": {"steady": {"kind": "fallback", "models": ["acme/two", "acme/one"]}}, "provider": {"only": ["dear"]}})
    at.fake.fault("two-dear", fault="status", status=500)
    answer = at.ask("policy/steady")
    assert (answer.status, answer.json["model"]) == (200, "acme/one")
    assert at.called() == ["two-dear", "one-dear"]
    unknown = at.ask("policy/steadi")
    assert (unknown.status, unknown.error["metadata"]["close"]) == (400, ["steady"])


def test_a_weighted_policy_draws_by_the_generation_s_id(at: Crossing) -> None:
    """Which of 300 requests went where follows from their ids alone: heaviest first, by the draw of each."""
    put(at, {"policies": {"mix": {"kind": "weighted", "models": [["acme/one", 1], ["acme/two", 3]]}}, "provider": {"only": ["dear"]}})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: at.ask("policy/mix"), range(300)))
    assert {answer.status for answer in answers} == {200}
    expected = ["acme/two" if draw_of(answer.headers["x-generation-id"]) < 0.75 else "acme/one" for answer in answers]
    assert [answer.json["model"] for answer in answers] == expected
    called = at.called()
    assert {name: called.count(f"{name[5:]}-dear") for name in ("acme/one", "acme/two")} == {
        name: expected.count(name) for name in ("acme/one", "acme/two")
    }


# Limits


def test_limits_of_the_account_bind_all_its_keys(at: Crossing) -> None:
    none: dict[str, Any] = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrency"))
    assert at.send("GET", "account/limits").json == none
    limited = at.send("PUT", "account/limits", {"requests_per_minute": 2, "concurrency": None})
    assert (limited.status, limited.json) == (200, {**none, "requests_per_minute": 2})
    assert at.send("GET", "account/limits").json == limited.json
    time.sleep(SECOND)
    other = at.key()
    assert [at.ask().status, at.ask(key=other).status] == [200, 200]
    refused = at.ask(key=other)
    assert (refused.status, refused.error["metadata"]["limit_source"]) == (429, "tollway_account_limit")
    assert at.send("PUT", "account/limits", {}).json == none
    time.sleep(SECOND)
    assert at.ask(key=other).status == 200


@pytest.mark.parametrize(("body", "param"), [
    ({"requests_per_minute": 0}, "requests_per_minute"), ({"tokens_per_minute": -1}, "tokens_per_minute"),
    ({"concurrency": True}, "concurrency"), ({"concurrency": 1.5}, "concurrency"), ({"concurrency": "3"}, "concurrency"),
    ({"requests_per_minute": 2**31}, "requests_per_minute"), ({"requests": 1}, "requests"),
])  # fmt: skip
def test_a_wrong_limit_is_400_by_name_and_changes_nothing(at: Crossing, body: dict[str, Any], param: str) -> None:
    refused = at.send("PUT", "account/limits", body)
    assert (refused.status, refused.error["param"]) == (400, param)
    assert set(at.send("GET", "account/limits").json.values()) == {None}


def test_a_key_s_concurrency_is_set_and_listed_by_the_command_line(at: Crossing) -> None:
    key = at.key("--concurrency", "1", "--name", "narrow")
    listed = at.tollway.cli_json("key", "list", "--account", at.account.account_id)
    assert [row["concurrency"] for row in listed if row["name"] == "narrow"] == [1] * sum(row["name"] == "narrow" for row in listed)
    at.fake.fault("one-dear", fault="slow-first-token", ms=800)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: at.ask(key=key, provider={"only": ["dear"]}), range(2)))
    assert sorted(answer.status for answer in answers) == [200, 429]
    assert at.tollway.cli("key", "create", "--account", at.account.account_id, "--concurrency", "0").returncode == 2
