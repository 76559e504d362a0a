"""The body of a Responses request: what it says in the words of a chat request."""

import base64
import json
from typing import Any

import pytest

from gateway.api.chat_body import VALUES_MAX
from gateway.api.responses_body import parse
from gateway.api.responses_reasoning import sealed
from policy.errors import UnknownPreset
from policy.presets import Preset
from tests.gateway.responses_asked import (
    CALL,
    CALLED,
    CLOCK,
    NESTED,
    PIXEL,
    RESULT,
    TOOL,
    USER,
    body,
    both,
    messages,
    parsed,
    refusal,
    sent,
)

# Messages


def test_a_text_is_a_message_of_the_user() -> None:
    assert sent() == {"model": "acme/fast-1", "messages": [USER]}
    assert sent(instructions="Be brief.")["messages"] == [{"role": "system", "content": "Be brief."}, USER]


@pytest.mark.parametrize("kind", [{}, {"type": "message"}, {"type": None}])
@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
def test_messages_keep_their_role_and_text(role: str, kind: dict[str, Any]) -> None:
    part = "output_text" if role == "assistant" else "input_text"
    expected = [{"role": role, "content": "Hi"}]
    assert messages({**kind, "role": role, "content": "Hi"}) == expected
    assert messages({**kind, "role": role, "content": [{"type": part, "text": "Hi", "annotations": []}], "id": "msg_1"}) == expected


def test_parts_are_said_in_the_words_of_chat() -> None:
    parts = [
        {"type": "input_text", "text": "See", "cache_control": {"type": "ephemeral"}},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    assert messages({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    request = parsed(input=[{"role": "user", "content": parts}])
    assert request.extras == {"image", "audio", "cache_write"}
    assert request.media
    assert "images" in request.capabilities


def test_one_turn_of_the_assistant_is_one_message() -> None:
    text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    other = {**CALL, "call_id": "call_2"}
    told = messages(USER, thought, text, CALL, other, RESULT, {**RESULT, "call_id": "call_2"}, text, USER)
    assert told == [
        USER,
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [CALLED, {**CALLED, "id": "call_2"}],
            "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "call_2", "content": "12 degrees"},
        {"role": "assistant", "content": "Let me look."},
        USER,
    ]


def test_what_the_assistant_says_after_a_call_stands_before_the_result() -> None:
    said = {"role": "assistant", "content": "Two"}
    told = messages({"role": "assistant", "content": "One"}, CALL, said, RESULT)
    texts = [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]
    assert told[0] == {"role": "assistant", "content": texts, "tool_calls": [CALLED]}
    assert told[1]["role"] == "tool"


def test_a_refusal_stays_one() -> None:
    part = {"type": "refusal", "refusal": "No."}
    assert messages({"role": "assistant", "content": [part]}) == [{"role": "assistant", "content": [part]}]


def test_a_tool_may_answer_in_parts() -> None:
    parts = [{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": PIXEL}]
    tool = messages(CALL, {**RESULT, "output": parts})[1]
    assert tool["content"] == [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PIXEL}}]


# Reasoning


def test_reasoning_of_another_server_is_passed_on_as_its_provider_wants_it() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAA"}
    (assistant,) = messages(thought, {"role": "assistant", "content": "So."})
    assert assistant["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1"},
    ]
    raw = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    (assistant,) = messages(raw, {"role": "assistant", "content": "So."})
    assert assistant["reasoning_details"] == [{"type": "reasoning.text", "text": "Hm."}]


def test_reasoning_that_nothing_follows_is_left_out_and_that_is_said() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    request = parsed(input=[thought, USER])
    assert (request.body.reveal()["messages"], request.adjusted) == ([USER], ("input",))
    assert refusal(input=[thought]).param == "input"


@pytest.mark.parametrize(
    "secret",
    [
        "tw1.",
        "tw1.!",
        "tw1.é",
        "tw1." + base64.urlsafe_b64encode(b"{").decode(),
        "tw1." + base64.urlsafe_b64encode(b"\xff\xfe{}").decode(),
        sealed({"reasoning_details": "x"}),
        sealed({"reasoning_details": [1]}),
        sealed({"reasoning": 5}),
        sealed({"role": "system"}),
        sealed({"reasoning_details": [], "content": "x"}),
        "tw1." + base64.urlsafe_b64encode(b'{"reasoning":' + b"[" * 100 + b"]" * 100 + b"}").decode(),
        "tw1." + base64.urlsafe_b64encode(b'{"reasoning":"\\u0000"}').decode(),
    ],
)
def test_encrypted_content_that_we_did_not_give_out_is_named(secret: str) -> None:
    error = refusal(input=[USER, {"type": "reasoning", "summary": [], "encrypted_content": secret}, USER])
    assert error.param == "input[1].encrypted_content"


def test_sealed_values_count_together() -> None:
    """Or a body of 20 MiB could unfold into a gigabyte."""
    secret = sealed({"reasoning_details": [{} for _ in range(VALUES_MAX // 5)]})
    item = {"type": "reasoning", "summary": [], "encrypted_content": secret}
    assert parsed(input=[item, item, {"role": "assistant", "content": "So."}])
    assert refusal(input=[item, item, item, {"role": "assistant", "content": "So."}]).param == "input[2].encrypted_content"


# Tools and settings


def test_tools_are_nested_and_the_choice_among_them_too() -> None:
    asked = sent(tools=[TOOL, CLOCK], tool_choice={"type": "function", "name": "clock"}, parallel_tool_calls=False)
    assert asked["tools"] == [{"type": "function", "function": NESTED}, {"type": "function", "function": {"name": "clock"}}]
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ({"type": "function", "function": {"name": "clock"}}, False)
    for choice in ("auto", "none", "required"):
        assert sent(tools=[TOOL], tool_choice=choice)["tool_choice"] == choice


def test_allowed_tools_are_the_only_ones_offered() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    asked = sent(tools=[CLOCK, TOOL], tool_choice=choice)
    assert (asked["tools"], asked["tool_choice"]) == ([{"type": "function", "function": NESTED}], "required")


def test_without_tools_nothing_is_said_about_them() -> None:
    """OpenAI's chat API refuses what its Responses API takes."""
    assert not sent(tools=[], tool_choice="auto", parallel_tool_calls=True).keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({}, {}),
        ({"format": {"type": "text"}, "verbosity": None}, {}),
        ({"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"format": {"type": "json_schema", "name": "City", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
            {
                "response_format": {"type": "json_schema", "json_schema": {"name": "City", "schema": {"type": "object"}, "strict": True}},
                "verbosity": "low",
            },
        ),
    ],
)
def test_the_format_of_the_text(text: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = sent(text=text)
    assert {name: asked[name] for name in ("response_format", "verbosity") if name in asked} == expected


def test_reasoning_logprobs_and_the_limit() -> None:
    request = parsed(reasoning={"effort": "low", "summary": "auto"}, top_logprobs=2, max_output_tokens=9)
    asked = request.body.reveal()
    assert (asked["reasoning_effort"], asked["logprobs"], asked["top_logprobs"]) == ("low", True, 2)
    assert "reasoning" not in parsed(reasoning={"effort": None, "summary": None}).parameters
    assert request.max_tokens == 9
    assert not asked.keys() & {"max_tokens", "max_completion_tokens"}  # each provider has its own name for it
    assert sent(include=["message.output_text.logprobs"])["logprobs"] is True
    assert parsed(max_output_tokens=0).max_tokens is None


def test_fields_that_are_the_same_in_chat_pass_and_routers_fields_are_read() -> None:
    passed = {"temperature": 0.5, "top_p": 0.9, "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k",
              "service_tier": "default", "top_k": 7, "seed": 3, "x_made_up": {"deep": [1]}}  # fmt: skip
    request = parsed(**passed, provider={"order": ["acme"]}, models=["acme/slow-1"], session_id="s", store=False, truncation="disabled")
    assert request.body.reveal() == {"model": "acme/fast-1", "messages": [USER], **passed}
    assert (request.models, request.preferences, request.session_id, request.n) == (("acme/slow-1",), {"order": ["acme"]}, "s", 1)


def test_a_preset_is_put_in() -> None:
    known = {"short": Preset(parameters={"max_tokens": 9, "temperature": 0.5})}
    request, echo = parse(json.dumps(body(preset="short")).encode(), known)
    assert (request.max_tokens, request.body.reveal()["temperature"]) == (9, 0.5)
    assert (echo.fields.reveal()["max_output_tokens"], echo.fields.reveal()["temperature"]) == (9, 0.5)
    assert parse(json.dumps(body(preset="short", max_output_tokens=3)).encode(), known)[0].max_tokens == 3
    with pytest.raises(UnknownPreset):
        parsed(preset="long")


@pytest.mark.parametrize(
    ("fields", "adjusted"),
    [
        ({"store": True}, ("store",)),
        ({"store": False}, ()),
        *(({"service_tier": tier}, ("service_tier",)) for tier in ("flex", "priority", "scale")),
        ({"truncation": "auto"}, ("truncation",)),
        ({"max_tool_calls": 3}, ("max_tool_calls",)),
        ({"context_management": [{"type": "compaction"}]}, ("context_management",)),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, ("stream_options",)),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, ()),
        ({"background": False, "previous_response_id": None, "conversation": None, "prompt": None}, ()),
    ],
)
def test_what_is_not_done_as_asked_is_named(fields: dict[str, Any], adjusted: tuple[str, ...]) -> None:
    request = parsed(**fields)
    assert request.adjusted == adjusted
    assert request.body.reveal() == sent(**({"stream": True} if request.stream else {}))


def test_the_request_is_not_shown_by_a_log() -> None:
    assert "Hello" not in repr(both(instructions="Hello"))


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "web_search_2025_08_26"])
def test_an_offer_to_search_the_web_is_left_out_and_named(kind: str) -> None:
    request = parsed(tools=[{"type": kind, "external_web_access": False}, TOOL])
    assert [tool["function"] for tool in request.body.reveal()["tools"]] == [NESTED]
    assert request.adjusted == ("tools",)
    alone = parsed(tools=[{"type": kind}])
    assert "tools" not in alone.body.reveal()
