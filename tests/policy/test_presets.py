"""Presets: found by each of their names, put into a body without overruling it, and free of prompts."""

from typing import Any

import pytest

from policy import preferences, presets, rules
from policy.errors import InvalidPreferences, InvalidRules, UnknownPreset
from policy.presets import SETTINGS, Preset, apply_preset, find
from tests.policy.routing import endpoint, plan, request

MESSAGES = [{"role": "user", "content": "hi"}]


def preset(**fields: Any) -> Preset:
    return rules.parse({"presets": {"one": fields}}).presets["one"]


ONE = preset(model="acme/fast")
KNOWN = {"one": ONE, "other": preset(model="acme/slow")}


@pytest.mark.parametrize(
    "body",
    [{"model": "@preset/one"}, {"model": "acme/slow@preset/one"}, {"preset": "one"}, {"model": "acme/slow", "preset": "@preset/one"},
     {"model": "@preset/one", "preset": "one"}],
)  # fmt: skip
def test_a_preset_is_found_by_each_of_its_names(body: dict[str, Any]) -> None:
    assert find(body, KNOWN) is ONE


@pytest.mark.parametrize("body", [{}, {"model": "acme/fast"}, {"model": None, "preset": None}, {"model": 5}])
def test_a_body_that_names_none_has_none(body: dict[str, Any]) -> None:
    assert find(body, KNOWN) is None


@pytest.mark.parametrize("body", [{"model": "@preset/on"}, {"preset": "on"}, {"model": "acme/slow@preset/on"}])
def test_an_unknown_preset_is_refused_with_names_that_resemble_it(body: dict[str, Any]) -> None:
    with pytest.raises(UnknownPreset) as caught:
        find(body, KNOWN)
    assert (caught.value.kind, caught.value.close) == ("preset", ["one"])
    assert "on" not in str(caught.value).split()


@pytest.mark.parametrize("body", [{"preset": 1}, {"preset": ["one"]}, {"model": "@preset/one", "preset": "other"}])
def test_a_body_that_cannot_be_understood_is_refused_by_its_field(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidPreferences, match="preset"):
        find(body, KNOWN)


@pytest.mark.parametrize(
    ("body", "fields", "model", "models"),
    [
        ({"model": "@preset/one"}, {"model": "acme/fast"}, "acme/fast", None),
        ({"model": "acme/slow@preset/one"}, {"model": "acme/fast"}, "acme/slow", None),
        ({"model": "acme/slow", "preset": "one"}, {"model": "acme/fast", "models": ["a/b"]}, "acme/slow", ["a/b"]),
        ({"preset": "one"}, {"models": ["a/b", "c/d"]}, "a/b", ["c/d"]),
        ({"model": "@preset/one", "models": ["x/y"]}, {"model": "acme/fast", "models": ["a/b"]}, "acme/fast", ["x/y"]),
        ({"model": "@preset/one"}, {"model": "policy/mix"}, "policy/mix", None),
        ({"model": "acme/fast:nitro@preset/one"}, {"parameters": {}}, "acme/fast:nitro", None),
    ],
)
def test_the_model_is_the_requests_or_else_the_presets(
    body: dict[str, Any], fields: dict[str, Any], model: str, models: list[str] | None
) -> None:
    full = apply_preset({**body, "messages": MESSAGES}, preset(**fields))
    assert full == {"model": model, "messages": MESSAGES} | ({"models": models} if models else {})


def test_a_preset_without_a_model_needs_one_in_the_request() -> None:
    with pytest.raises(InvalidPreferences, match="company/model@preset/name"):
        apply_preset({"model": "@preset/one"}, preset(parameters={"seed": 1}))


@pytest.mark.parametrize("body", [{"model": 5, "preset": "one"}, {"model": "a/b", "models": "x", "preset": "one"}])
def test_a_wrong_type_in_the_body_is_left_for_its_check(body: dict[str, Any]) -> None:
    full = apply_preset(body, ONE)
    assert {name: full[name] for name in full} == {name: body[name] for name in body if name != "preset"}


def test_parameters_fill_in_what_the_request_leaves_open() -> None:
    settings = preset(model="a/b", parameters={"temperature": 0, "seed": 1, "max_tokens": 5, "reasoning": {"effort": "low"}})
    body = {"model": "@preset/one", "temperature": 1, "seed": None, "max_completion_tokens": 9, "reasoning_effort": "high"}
    full = apply_preset(body, settings)
    assert full == {"model": "a/b", "temperature": 1, "seed": 1, "max_completion_tokens": 9, "reasoning_effort": "high"}
    assert body["model"] == "@preset/one", "the body itself is left as it was"


def test_of_two_sets_of_preferences_neither_widens_the_other() -> None:
    strict = preset(model="a/b", provider={"zdr": True, "only": ["x", "y"], "max_price": {"prompt": "0.29", "request": 1}, "sort": "price"})
    full = apply_preset({"model": "@preset/one", "provider": {"only": ["y", "z"], "sort": "latency", "max_price": {"prompt": 2}}}, strict)
    assert preferences.parse(full["provider"]) == preferences.parse(
        {"zdr": True, "only": ["y"], "max_price": {"prompt": 0.29, "request": 1}, "sort": "latency"}
    )


@pytest.mark.parametrize(("field", "one", "other"), [("only", ["x"], ["y"]), ("region", "eu", "us")])
def test_a_request_and_a_preset_with_nothing_in_common_are_refused(field: str, one: object, other: object) -> None:
    with pytest.raises(InvalidPreferences, match=f"provider.{field} has nothing in common"):
        apply_preset({"model": "@preset/one", "provider": {field: one}}, preset(model="a/b", provider={field: other}))


@pytest.mark.parametrize("name", ["messages", "system", "prompt", "instructions", "input", "prediction"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_prompt_in_a_preset_is_refused_by_name(name: str, inside: bool) -> None:
    fields = {"parameters": {name: "secret"}} if inside else {name: "secret"}
    with pytest.raises(InvalidRules) as caught:
        preset(**fields)
    assert f".{name}: holds a prompt" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["tools", "user", "metadata", "api_key", "base_url", "provider", "model", "web_search_options", "x"])
def test_only_settings_can_stand_in_a_preset(name: str) -> None:
    assert name not in SETTINGS
    with pytest.raises(InvalidRules, match=f"presets.one.parameters.{name}: cannot stand in a preset; use frequency_penalty, "):
        preset(parameters={name: 1})


def test_a_preset_names_no_preset_and_nests_nothing_deeply() -> None:
    with pytest.raises(InvalidRules, match="another preset"):
        preset(model="@preset/two")
    with pytest.raises(InvalidRules, match="another preset"):
        preset(models=["a/b@preset/two"])
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InvalidRules, match="deeper than 32"):
        preset(parameters={"stop": deep})


def test_a_preset_that_stands_in_the_models_name_is_followed_by_the_route() -> None:
    account = {"presets": {"one": {"model": "acme/fast", "models": ["acme/slow"], "provider": {"ignore": ["a"]}}}}
    offered = [endpoint("a"), endpoint("b"), endpoint("c", "acme/slow")]
    found = plan(request("@preset/one", preferences={"sort": "price"}), *offered, rules=account)
    assert [each.id for each in found.endpoints] == ["b/acme/fast", "c/acme/slow"]
    assert plan(request("acme/slow@preset/one"), *offered, rules=account).endpoints[0].id == "c/acme/slow"
    with pytest.raises(UnknownPreset):
        plan(request("@preset/one"), *offered)


def test_every_allowed_setting_is_taken() -> None:
    assert presets.apply_preset({"model": "a/b"}, preset(parameters=dict.fromkeys(SETTINGS, 1))).keys() >= SETTINGS - presets.SAME.keys()
