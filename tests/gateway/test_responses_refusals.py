"""What cannot be said in a Responses request is refused, by the name of the field as the client wrote it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.chat_body import DEPTH_MAX, VALUES_MAX
from gateway.api.responses_body import parse
from gateway.api.responses_fields import ResponsesBody
from gateway.errors import BadRequest
from tests.gateway.responses_asked import CALL, CLOCK, RESULT, TOOL, USER, body, both, parsed, refusal, sent


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
    ],
)
def test_what_would_need_something_stored_is_refused_and_says_so(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert "nothing is stored" in error.message


HOSTED = (
    *("file_search", "code_interpreter", "computer_use_preview", "mcp", "image_generation"),
    *("local_shell", "custom"),
)
BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"input": {}}, "input"),
    ({"input": []}, "input"),
    ({"input": ["Hello"]}, "input[0]"),
    ({"input": [USER] * 10_000}, "input"),
    ({"input": [{}]}, "input[0].role"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
    ({"input": [USER, {"role": "tool", "content": "x"}]}, "input[1].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": []}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "filename": "a"}]}]}, "input[0].content[0].file_data"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}]}, "input[0].content[0].input_audio"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
    ({"input": [{"type": 5}]}, "input[0].type"),
    ({"input": [{"type": ["x"]}]}, "input[0].type"),
    ({"input": [USER, {"type": "item_reference", "id": "rs_1"}]}, "input[1]"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{**CALL, "name": ""}]}, "input[0].name"),
    ({"input": [USER, RESULT]}, "input[1].call_id"),
    ({"input": [RESULT, CALL]}, "input[0].call_id"),
    ({"input": [CALL, {**RESULT, "output": 5}]}, "input[1].output"),
    ({"input": [CALL, {**RESULT, "output": [{"type": "x"}]}]}, "input[1].output[0].type"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
    ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": 5}]}, "input[0].encrypted_content"),
    ({"instructions": 5}, "instructions"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"include": "x"}, "include"),
    ({"max_output_tokens": -1}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": "x"}, "top_p"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"tools": {}}, "tools"),
    ({"tools": ["x"]}, "tools[0]"),
    ({"tools": [TOOL, {"type": "function"}]}, "tools[1].name"),
    ({"tools": [{**TOOL, "parameters": "x"}]}, "tools[0].parameters"),
    ({"tools": [{}]}, "tools[0].type"),
    *(({"tools": [TOOL, {"type": kind}]}, "tools[1].type") for kind in HOSTED),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "clock"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "none", "tools": [TOOL]}}, "tool_choice.mode"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [CLOCK]}}, "tool_choice.tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": []}]}}, "tool_choice.tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
    ({"parallel_tool_calls": "x"}, "parallel_tool_calls"),
    ({"text": "x"}, "text"),
    ({"text": {"format": "json"}}, "text.format"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": ["text"]}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"verbosity": 5}}, "text.verbosity"),
    ({"reasoning": "high"}, "reasoning"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"user": 5}, "user"),
    ({"service_tier": "fastest"}, "service_tier"),
    ({"store": "yes"}, "store"),
    ({"background": "yes"}, "background"),
    ({"truncation": "some"}, "truncation"),
    ({"n": 2}, "n"),
    ({"messages": [USER]}, "messages"),
    ({"functions": [TOOL]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"api_key": "x"}, "api_key"),
    ({"seed": "x"}, "seed"),
    ({"models": "x"}, "models"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=[f"{number}-{param}" for number, (_, param) in enumerate(BAD_FIELDS)])
def test_a_bad_field_is_named_as_the_client_wrote_it(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert (error.status, error.message[-1], "`" in error.message) == (400, ".", False)


@pytest.mark.parametrize("name", ["model", "input"])
def test_a_required_field_that_is_missing_is_named(name: str) -> None:
    fields = body()
    del fields[name]
    with pytest.raises(BadRequest, match=f"{name}: is required"):
        parse(json.dumps(fields).encode())


@pytest.mark.parametrize("name", [name for name in ResponsesBody.__struct_fields__ if name not in ("model", "input")])
def test_null_counts_as_absent(name: str) -> None:
    request = parsed(**{name: None})
    assert {field: value for field, value in request.body.reveal().items() if value is not None} == sent()
    assert request.adjusted == ()


def test_what_the_chat_says_of_its_messages_is_told_by_the_items_of_the_input() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,!!!!"}
    thought = {"type": "reasoning", "summary": []}
    error = refusal(
        instructions="Be brief.",
        input=[USER, thought, CALL, RESULT, {"role": "user", "content": [{"type": "input_text", "text": "x"}, picture]}],
    )
    assert error.param == "input[4].content[1]"
    assert error.message.startswith("input[4].content[1]: ")
    _, echo = both(
        instructions="Be brief.", input=[USER, {"role": "assistant", "content": "Hm"}, CALL, {**CALL, "call_id": "call_2"}, RESULT]
    )
    told = {
        "messages[0]": "instructions",
        "messages[1].content": "input[0].content",
        "messages[2].content[0]": "input[1].content",
        "messages[2].tool_calls[1]": "input[3]",
        "messages[2].tool_calls[1].function": "input[3].function",
        "messages[3].content": "input[4].output",
        "messages[99].content": "input",
        "no place": "no place",
    }
    assert {place: echo.messages.renamed(place) for place in told} == told


# Bounds


def test_a_body_that_is_too_deep_or_too_many_is_refused() -> None:
    deep = json.dumps(body(metadata="HERE")).replace('"HERE"', "[" * DEPTH_MAX + "]" * DEPTH_MAX).encode()
    with pytest.raises(BadRequest, match="64 levels"):
        parse(deep)
    with pytest.raises(BadRequest, match="values"):
        parse(b'{"input": [' + b"1," * VALUES_MAX + b"1]}")


NAMES = (
    *("type", "role", "content", "text", "call_id", "name", "arguments", "output", "summary", "encrypted_content", "format", "image_url"),
    *("mode", "tools"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["message", "reasoning", "function_call", "function_call_output", "input_text", "input_image", "function"])
ITEMS = st.fixed_dictionaries(
    {}, optional={"type": KINDS | JSON, "role": st.just("user") | JSON, "content": JSON, "output": JSON, "summary": JSON, "call_id": JSON}
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ITEMS, max_size=4), st.dictionaries(st.sampled_from(ResponsesBody.__struct_fields__), JSON, max_size=4))
def test_whatever_is_sent_is_understood_or_refused(items: list[Any], fields: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        assert sent(**{"input": items, **fields})["messages"]


@settings(max_examples=400, deadline=None)
@given(JSON, JSON, JSON, JSON)
def test_whatever_is_chosen_is_understood_or_refused(name: object, mode: object, tools: object, format: object) -> None:
    for choice in ({"type": "function", "name": name}, {"type": "allowed_tools", "mode": mode, "tools": tools}):
        with contextlib.suppress(BadRequest):
            assert sent(tools=[TOOL], tool_choice=choice, text={"format": format})["tools"]
