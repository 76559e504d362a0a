"""What the anthropic dialect sends: recorded shapes of the Messages API, and what it names as dropped or changed."""

from typing import Any

import msgspec
import pytest

from providers.anthropic_request import headers, payload
from providers.errors import Inexpressible
from tests.providers.anthropic_sent import CALL, LOOKUP, USER, call, refused, sent, text

# The whole request


def test_a_plain_request_is_what_the_api_documents() -> None:
    body, adjusted = sent({"role": "system", "content": "Be brief."}, USER, temperature=0.5, stop="END", stream=True)
    assert body == {
        "model": "some-model",
        "max_tokens": 8000,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [text("Hello")]}],
        "stream": True,
        "temperature": 0.5,
        "stop_sequences": ["END"],
    }
    assert adjusted == []


def test_the_headers_are_the_api_s_and_ours() -> None:
    assert headers(call(USER, stream=True)[0]) == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "user-agent": "tollway",
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-key",
    }


@pytest.mark.parametrize(("limit", "output_max", "expected"), [(7, 9, 7), (None, 9, 9), (None, None, 4096)])
def test_a_limit_is_always_sent(limit: int | None, output_max: int | None, expected: int) -> None:
    assert sent(USER, limit=limit, output_max=output_max)[0]["max_tokens"] == expected


def test_a_model_that_thinks_by_itself_has_room_for_it() -> None:
    assert sent(USER, model="claude-haiku-5-5", limit=None)[0]["max_tokens"] == 64_000


# Tools


def test_tools_are_given_with_their_schemas_and_cache_mark() -> None:
    bare = {"type": "function", "function": {"name": "now"}, "cache_control": {"type": "ephemeral"}}
    body, adjusted = sent(USER, tools=[LOOKUP, bare])
    assert body["tools"] == [
        {"name": "lookup", "description": "Finds.", "input_schema": {"type": "object", "properties": {}}},
        {"name": "now", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
    ]
    assert "tool_choice" not in body
    assert adjusted == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "lookup"}}}, {"type": "tool", "name": "lookup"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_the_choice_of_a_tool_is_translated(fields: dict[str, Any], expected: Any) -> None:
    body, adjusted = sent(USER, tools=[LOOKUP], **fields)
    assert body.get("tool_choice") == expected
    assert adjusted == []


@pytest.mark.parametrize("choice", ["odd", {"type": "allowed_tools"}, {"type": "function", "function": {"name": 1}}])
def test_a_choice_without_words_becomes_auto_and_is_named(choice: Any) -> None:
    body, adjusted = sent(USER, tools=[LOOKUP], tool_choice=choice)
    assert "tool_choice" not in body
    assert adjusted == ["tool_choice"]


def test_tools_that_were_used_but_are_not_offered_now_are_named_and_not_called() -> None:
    body, _ = sent(USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"})
    assert body["tools"] == [{"name": "lookup", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


def test_strict_tools_are_given_without_their_strictness_and_named() -> None:
    strict = {"type": "function", "function": {**LOOKUP["function"], "strict": True}}
    body, adjusted = sent(USER, tools=[strict])
    assert "strict" not in body["tools"][0]
    assert adjusted == ["tools"]


# The rest


def test_a_temperature_above_1_is_1_and_named() -> None:
    body, adjusted = sent(USER, temperature=1.5)
    assert (body["temperature"], adjusted) == (1, ["temperature"])


def test_a_json_schema_is_the_output_s_format() -> None:
    strict = {"type": "object", "properties": {"minimum": {"type": "string"}}, "required": ["minimum"], "additionalProperties": False}
    body, adjusted = sent(USER, response_format={"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": strict}})
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": strict}}
    assert adjusted == []


def test_a_schema_loses_the_bounds_that_are_not_known_there_and_is_named() -> None:
    inner = {"type": "object", "properties": {"age": {"type": ["integer", "null"], "minimum": 0, "description": "years"}}}
    open_one = {"type": "object", "properties": {"people": {"type": "array", "minItems": 3, "items": {"oneOf": [inner, {"type": "null"}]}}}}
    body, adjusted = sent(USER, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": open_one}})
    age = {"type": ["integer", "null"], "description": "years"}
    closed = {"type": "object", "properties": {"age": age}, "additionalProperties": False}
    people = {"type": "array", "items": {"anyOf": [closed, {"type": "null"}]}}
    assert body["output_config"]["format"]["schema"] == {"type": "object", "properties": {"people": people}, "additionalProperties": False}
    assert adjusted == ["response_format"]


@pytest.mark.parametrize("kind", ["json_object", "grammar"])
def test_other_formats_are_dropped_and_named(kind: str) -> None:
    body, adjusted = sent(USER, response_format={"type": kind})
    assert "output_config" not in body
    assert adjusted == ["response_format"]


def test_effort_and_format_stand_in_one_place() -> None:
    schema = {"type": "object", "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    body, _ = sent(USER, model="claude-opus-5", reasoning_effort="low", response_format=wanted)
    assert body["output_config"].keys() == {"effort", "format"}


def test_what_has_no_word_is_named_and_never_sent() -> None:
    dropped = {
        "user": "u-1",
        "metadata": {"a": "b"},
        "seed": 1,
        "logit_bias": {"1": 2},
        "frequency_penalty": 0.5,
        "verbosity": "low",
        "logprobs": True,
        "Prompt!": "secret",
    }
    body, adjusted = sent(USER, **dropped)
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert adjusted == ["user", "metadata", "seed", "logit_bias", "frequency_penalty", "verbosity", "logprobs", "other"]


def test_what_changes_nothing_is_dropped_in_silence() -> None:
    plain = {"n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "store": False, "parallel_tool_calls": True}
    assert sent(USER, **plain, response_format={"type": "text"}, service_tier="auto", logit_bias={}, stop=None)[1] == []


def test_a_name_is_dropped_and_named() -> None:
    assert sent({**USER, "name": "Ann"})[1] == ["name"]


def test_a_stop_of_blanks_is_dropped_and_named() -> None:
    body, adjusted = sent(USER, stop=["\n", "END"])
    assert (body["stop_sequences"], adjusted) == (["END"], ["stop"])


def test_the_plain_tier_is_asked_for_by_its_name() -> None:
    assert sent(USER, service_tier="default")[0]["service_tier"] == "standard_only"


# What cannot be said


def test_fields_that_cannot_be_left_out_are_refused_by_name() -> None:
    assert refused(USER, n=2) == "n"
    assert refused(USER, functions=[{"name": "a"}]) == "functions"
    assert refused(USER, tools=[LOOKUP, {"type": "custom", "custom": {"name": "a"}}]) == "tools[1]"
    assert refused(USER, tools=[{"type": "function", "function": {"name": "a", "parameters": [1]}}]) == "tools[0].function.parameters"
    assert refused(USER, response_format={"type": "json_schema"}) == "response_format.json_schema.schema"


def test_embeddings_are_not_given() -> None:
    made, _ = call(input=["a"])
    wanted = msgspec.structs.replace(made, request=msgspec.structs.replace(made.request, operation="embeddings"))
    with pytest.raises(Inexpressible):
        payload(wanted)
