"""What Bedrock's Converse is asked for a canonical request: the fields, the tools, Claude's own fields, and what is named as adjusted."""

import json
from typing import Any

import pytest

from tests.providers.bedrock_sent import CALL, LLAMA, LOOKUP, NOVA, OPUS, SONNET, USER, call, kept, refused, sent

GPT_OSS = "openai.gpt-oss-120b-1:0"
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}
CALLED: Any = {"role": "assistant", "content": None, "tool_calls": [CALL]}
SPEC = {"toolSpec": {"name": "lookup", "description": "Finds.", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**OBJECT, "additionalProperties": False}


def test_a_plain_question_is_a_plain_request() -> None:
    body = kept({"role": "system", "content": "Be brief."}, USER, temperature=0.5, stop="END", stream=True)
    assert body == {
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 8000, "temperature": 0.5, "stopSequences": ["END"]},
    }


def test_no_limit_is_sent_where_there_is_none() -> None:
    assert kept(USER, limit=None) == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


@pytest.mark.parametrize(
    ("model", "fields", "config", "more", "adjusted"),
    [
        (SONNET, {"temperature": 1.7}, {"temperature": 1}, {}, ["temperature"]),
        (SONNET, {"temperature": 1, "top_p": 0.5}, {"temperature": 1}, {}, ["top_p"]),
        (SONNET, {"top_p": 0.5, "top_k": 40}, {"topP": 0.5}, {"top_k": 40}, []),
        (LLAMA, {"temperature": 0, "top_p": 0.5}, {"temperature": 0, "topP": 0.5}, {}, []),
        (LLAMA, {"top_k": 40}, {}, {}, ["top_k"]),
        (NOVA, {"top_k": 40}, {}, {"inferenceConfig": {"topK": 40}}, []),
        (OPUS, {"temperature": 0.5, "top_p": 0.5, "top_k": 40}, {}, {}, ["temperature", "top_p", "top_k"]),
        (OPUS, {"temperature": 1, "top_p": 1}, {}, {}, []),
        (LLAMA, {"stop": ["a", " ", "b"]}, {"stopSequences": ["a", "b"]}, {}, ["stop"]),
        (LLAMA, {"stop": []}, {}, {}, []),
    ],
)
def test_sampling_is_what_the_model_takes(
    model: str, fields: dict[str, Any], config: dict[str, Any], more: dict[str, Any], adjusted: list[str]
) -> None:
    body, named = sent(USER, model=model, limit=None, **fields)
    assert body.get("inferenceConfig", {}) == config
    assert body.get("additionalModelRequestFields", {}) == more
    assert named == adjusted


def test_what_has_no_word_is_named_and_not_sent() -> None:
    dropped = {"seed": 1, "frequency_penalty": 0.5, "logit_bias": {"1": 2}, "logprobs": True, "parallel_tool_calls": False, "user": "me"}
    body, adjusted = sent(USER, **dropped, x_unknown=1, **{"Odd Name": 1})
    assert body == kept(USER)
    assert adjusted == [*dropped, "x_unknown", "other"]


def test_values_that_ask_for_what_happens_anyway_are_not_named() -> None:
    plain = {"n": 1, "logprobs": False, "parallel_tool_calls": True, "response_format": {"type": "text"}, "service_tier": "default"}
    assert kept(USER, **plain) == kept(USER)


@pytest.mark.parametrize(("field", "value"), [("n", 2), ("functions", [{"name": "f"}])])
def test_what_cannot_be_expressed_is_refused_by_name(field: str, value: Any) -> None:
    assert refused(USER, **{field: value}) == field


# Tools


def test_tools_are_offered() -> None:
    assert kept(USER, tools=[LOOKUP], tool_choice="auto")["toolConfig"] == {"tools": [SPEC]}
    bare = {"type": "function", "function": {"name": "now"}}
    assert kept(USER, tools=[bare])["toolConfig"] == {"tools": [{"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object"}}}}]}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("required", {"any": {}}), ({"type": "function", "function": {"name": "lookup"}}, {"tool": {"name": "lookup"}})],
)
def test_a_call_can_be_forced(choice: Any, wanted: Any) -> None:
    assert kept(USER, tools=[LOOKUP], tool_choice=choice)["toolConfig"] == {"tools": [SPEC], "toolChoice": wanted}


def test_a_call_cannot_be_forced_while_claude_thinks() -> None:
    body, adjusted = sent(USER, tools=[LOOKUP], tool_choice="required", reasoning_effort="low")
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert adjusted == ["tool_choice"]


def test_to_call_none_is_said_by_offering_none() -> None:
    assert "toolConfig" not in kept(USER, tools=[LOOKUP], tool_choice="none")


def test_to_call_none_is_not_possible_where_earlier_calls_need_their_tools() -> None:
    body, adjusted = sent(USER, CALLED, RESULT, tools=[LOOKUP], tool_choice="none")
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert adjusted == ["tool_choice"]


def test_tools_of_earlier_calls_are_named_again() -> None:
    body, adjusted = sent(USER, CALLED, RESULT)
    assert body["toolConfig"] == {"tools": [{"toolSpec": {"name": "lookup", "inputSchema": {"json": {"type": "object"}}}}]}
    assert adjusted == ["tools"]


def test_a_choice_of_another_kind_is_named() -> None:
    body, adjusted = sent(USER, tools=[LOOKUP], tool_choice={"type": "allowed_tools", "allowed_tools": {}})
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert adjusted == ["tool_choice"]


def test_a_strict_tool_is_strict_where_the_model_knows_schemas() -> None:
    strict = {"type": "function", "function": {"name": "save", "strict": True, "parameters": CLOSED}}
    assert kept(USER, tools=[strict])["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "save", "strict": True, "inputSchema": {"json": CLOSED}}}
    ]
    body, adjusted = sent(USER, tools=[strict], capabilities=frozenset({"tools"}))
    assert body["toolConfig"]["tools"] == [{"toolSpec": {"name": "save", "inputSchema": {"json": CLOSED}}}]
    assert adjusted == ["tools"]


def test_a_tool_of_another_kind_is_refused_with_its_place() -> None:
    assert refused(USER, tools=[LOOKUP, {"type": "custom", "custom": {"name": "x"}}]) == "tools[1]"
    unschemed = {"type": "function", "function": {"name": "x", "parameters": ["a"]}}
    assert refused(USER, tools=[unschemed]) == "tools[0].function.parameters"


def test_the_cache_of_tools_is_marked_where_there_is_one() -> None:
    marked = {**LOOKUP, "cache_control": {"type": "ephemeral"}}
    assert kept(USER, tools=[marked])["toolConfig"]["tools"] == [SPEC, {"cachePoint": {"type": "default"}}]
    assert kept(USER, model=LLAMA, tools=[marked])["toolConfig"]["tools"] == [SPEC]


# The form of the answer


def test_a_schema_is_sent_as_text() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "thing", "description": "A thing.", "strict": True, "schema": CLOSED}}
    form = kept(USER, response_format=wanted)["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema"
    described = form["structure"]["jsonSchema"]
    assert (described["name"], described["description"], json.loads(described["schema"])) == ("thing", "A thing.", CLOSED)


def test_an_open_schema_is_closed_and_named() -> None:
    body, adjusted = sent(USER, response_format={"type": "json_schema", "json_schema": {"schema": OBJECT}})
    assert json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"]) == CLOSED
    assert adjusted == ["response_format"]


def test_a_schema_that_is_missing_is_refused() -> None:
    assert refused(USER, response_format={"type": "json_schema", "json_schema": {}}) == "response_format.json_schema.schema"


def test_json_without_a_schema_has_no_word() -> None:
    body, adjusted = sent(USER, response_format={"type": "json_object"})
    assert "outputConfig" not in body
    assert adjusted == ["response_format"]


# Thinking


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("max", 7600), ("xhigh", 7600), ("high", 6400), ("medium", 4000), ("low", 1600), ("minimal", 1024)],
)
def test_an_effort_is_a_share_of_the_limit(effort: str, budget: int) -> None:
    body = kept(USER, reasoning_effort=effort)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": budget}}
    assert body["inferenceConfig"] == {"maxTokens": 8000}


def test_the_catalogs_limit_counts_where_the_client_has_none() -> None:
    body = kept(USER, reasoning_effort="medium", limit=None, output_max=64_000)
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 32_000
    assert "inferenceConfig" not in body


def test_a_budget_is_taken_as_it_is() -> None:
    body = kept(USER, reasoning={"max_tokens": 2000})
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 2000


def test_a_limit_without_room_for_thoughts_is_named() -> None:
    body, adjusted = sent(USER, reasoning_effort="high", limit=1000)
    assert "additionalModelRequestFields" not in body
    assert adjusted == ["reasoning_effort"]


def test_with_thoughts_nothing_is_sampled() -> None:
    body, adjusted = sent(USER, reasoning={"effort": "low"}, reasoning_effort="low", temperature=0.3, top_k=5)
    assert body["inferenceConfig"] == {"maxTokens": 8000}
    assert body["additionalModelRequestFields"].keys() == {"thinking"}
    assert adjusted == ["temperature", "top_k"]


def test_newer_claudes_think_by_effort() -> None:
    body = kept(USER, model=OPUS, reasoning_effort="xhigh")
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "adaptive", "display": "summarized"}}
    assert body["outputConfig"] == {"effort": "xhigh"}


def test_thinking_can_be_stopped() -> None:
    assert kept(USER, reasoning={"enabled": False})["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("model", "effort", "more", "adjusted"),
    [
        (GPT_OSS, "low", {"reasoning_effort": "low"}, []),
        (GPT_OSS, "xhigh", {}, ["reasoning_effort"]),
        (LLAMA, "low", {}, ["reasoning_effort"]),
    ],
)
def test_other_models_think_as_they_do(model: str, effort: str, more: dict[str, Any], adjusted: list[str]) -> None:
    body, named = sent(USER, model=model, reasoning_effort=effort)
    assert body.get("additionalModelRequestFields", {}) == more
    assert named == adjusted


def test_the_request_is_not_changed_on_the_way() -> None:
    made, _ = call(USER, CALLED, RESULT, tools=[LOOKUP], reasoning_effort="low", stop="x")
    before = json.dumps(made.request.body.reveal())
    kept(*made.request.body.reveal()["messages"], tools=[LOOKUP])
    assert json.dumps(made.request.body.reveal()) == before
