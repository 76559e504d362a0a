"""The body of a chat request: what is understood, what is passed on, and what routing and metering learn from it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.chat_body import DEPTH_MAX, OURS, REFUSED, VALUES_MAX, ChatBody, parse
from gateway.errors import BadRequest
from metering.tokens import tokenizer
from policy.errors import UnknownPreset
from policy.presets import Preset
from providers import prompt
from providers.provider import ChatRequest


def body(**fields: object) -> dict[str, Any]:
    return {"model": "acme/fast-1", "messages": [{"role": "user", "content": "Hello"}], **fields}


def parsed(**fields: object) -> ChatRequest:
    return parse(json.dumps(body(**fields)).encode())


def refusal(raw: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(raw)
    return caught.value


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A body whose deepest value is `depth` levels deep, the body itself being one."""
    return json.dumps(body(metadata="HERE")).replace('"HERE"', opening * (depth - 1) + closing * (depth - 1)).encode()


def test_a_plain_request_is_understood() -> None:
    request = parsed()
    assert (request.model, request.stream, request.n, request.max_tokens, request.include_usage) == ("acme/fast-1", False, 1, None, False)
    assert request.body.reveal() == body()
    assert (request.extras, request.capabilities, request.models, request.preferences) == (frozenset(), {"text"}, (), {})


@pytest.mark.parametrize("name", [name for name in OURS if name != "preset"])
def test_fields_of_routers_are_taken_out(name: str) -> None:
    known = {"provider": {}, "models": ["a/b"]}
    assert name not in parsed(**{name: known.get(name, "x")}).body.reveal()


def test_a_preset_is_put_in_and_its_name_taken_out() -> None:
    known = {"short": Preset(parameters={"max_tokens": 9, "temperature": 0.5})}
    request = parse(json.dumps(body(preset="short", temperature=1)).encode(), known)
    assert (request.max_tokens, request.body.reveal()["temperature"]) == (9, 1)
    assert "preset" not in request.body.reveal()
    assert parse(json.dumps(body(model="acme/fast-1@preset/short")).encode(), known).model == "acme/fast-1"
    with pytest.raises(UnknownPreset):
        parse(json.dumps(body(preset="long")).encode(), known)


@pytest.mark.parametrize("name", REFUSED)
def test_fields_that_would_redirect_a_request_are_refused(name: str) -> None:
    assert refusal(json.dumps(body(**{name: "x"})).encode()).param == name


def test_reasoning_effort_is_passed_on_in_openai_s_words() -> None:
    assert parsed(reasoning={"effort": "low"}).body.reveal()["reasoning_effort"] == "low"
    assert parsed(reasoning={"effort": "low"}, reasoning_effort="high").body.reveal()["reasoning_effort"] == "high"


def test_reasoning_stays_for_the_dialects_that_have_words_for_it() -> None:
    assert parsed(reasoning={"max_tokens": 5}).body.reveal()["reasoning"] == {"max_tokens": 5}
    assert "reasoning" not in parsed(reasoning="high").body.reveal()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 0}, None),
        ({"max_tokens": 0, "max_completion_tokens": 3}, 3),
        ({"max_tokens": None, "max_completion_tokens": 0}, None),
    ],
)
def test_the_smallest_limit_above_zero_counts(limits: dict[str, Any], expected: int | None) -> None:
    assert parsed(**limits).max_tokens == expected


@pytest.mark.parametrize(
    ("fields", "extras", "capabilities"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, {"image"}, {"images"}),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]}, {"audio"}, set()),
        ({"modalities": ["text", "audio"]}, {"audio_completion"}, set()),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]}, {"cache_write"}, set()),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, set(), {"tools"}),
        ({"tools": []}, set(), set()),
        ({"response_format": {"type": "json_schema"}}, set(), {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, set(), set()),
    ],
)
def test_what_a_request_needs_is_seen(fields: dict[str, Any], extras: set[str], capabilities: set[str]) -> None:
    request = parsed(**fields)
    assert (request.extras, request.capabilities) == (extras, capabilities | {"text"})


# Bounds


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_64_levels_pass_and_65_do_not(opening: str, closing: str) -> None:
    filled = "1" if opening != "[" else ""
    assert parse(nested(DEPTH_MAX, opening, closing).replace(b":}", f":{filled or 1}}}".encode()))
    assert "64 levels" in refusal(nested(DEPTH_MAX + 1, opening, closing).replace(b":}", b":1}")).message


def test_brackets_inside_texts_are_no_levels() -> None:
    assert parsed(messages=[{"role": "user", "content": "[{" * 1000}])


def test_a_million_values_are_refused_before_they_are_made() -> None:
    error = refusal(b'{"metadata": [' + b"1," * VALUES_MAX + b"1]}")
    assert (error.status, error.error_type) == (413, "payload_too_large")


@pytest.mark.parametrize("raw", [b"\\u0000", b"\\\\\\u0000", b"a\\u0000b"])
def test_an_escaped_nul_is_refused(raw: bytes) -> None:
    error = refusal(json.dumps(body(user="HERE")).encode().replace(b"HERE", raw))
    assert error.param == "user"


@pytest.mark.parametrize("raw", [b"\\\\u0000", b"\\\\\\\\u0000", b"u0000", b"\\u0001"])
def test_what_only_looks_like_an_escaped_nul_passes(raw: bytes) -> None:
    assert parse(json.dumps(body(user="HERE")).encode().replace(b"HERE", raw))


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", -1), ("n", 0), ("n", 129), ("stream", "true"), ("messages", []), ("temperature", 2.5), ("top_p", "x")],
)
def test_an_error_names_its_field_and_never_quotes_a_value_of_the_client(field: str, value: object) -> None:
    error = refusal(json.dumps(body(**{field: value})).encode())
    assert error.param == field
    assert error.message.startswith(f"{field}: ")
    assert error.message.endswith(".")
    assert "`" not in error.message


@pytest.mark.parametrize("name", [name for name in ChatBody.__struct_fields__ if name not in ("model", "messages")])
def test_null_counts_as_absent(name: str) -> None:
    assert parsed(**{name: None}).n == 1


# The bound of the prompt

TEXTS = st.text(max_size=200) | st.sampled_from(
    ["a" * 500, "1 2 3 " * 50, "漢字" * 100, "😀" * 50, "\n" * 100, "<|endoftext|>", "ZWJ\u200d" * 30]
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXTS}), min_size=1, max_size=5)
TOOLS = st.lists(
    st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries({"name": st.just("f"), "description": TEXTS})}),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(messages=MESSAGES, tools=TOOLS, escaped=st.booleans())
async def test_the_bound_by_size_is_never_below_the_count_of_plain_text(messages: list[Any], tools: list[Any], escaped: bool) -> None:
    cleaned = json.loads(json.dumps(body(messages=messages, tools=tools)).replace("\\u0000", " "))
    raw = json.dumps(cleaned, ensure_ascii=escaped).encode("utf-8", "replace")
    request = parse(raw)
    assert request.prompt_tokens_max >= await prompt.count(request.body.reveal(), tokenizer("o200k_base"))


def test_a_picture_counts_by_its_bound_and_not_by_its_bytes() -> None:
    small, large = _bounds_of("image_url")
    assert large - small < 100
    assert small > prompt.IMAGE_TOKENS


@pytest.mark.parametrize("kind", ["video_url", "file"])
def test_a_file_or_video_counts_by_its_bytes(kind: str) -> None:
    small, large = _bounds_of(kind)
    assert large - small > 50_000


def _bounds_of(kind: str) -> tuple[int, int]:
    """The bounds of a prompt with 10 bytes and with 1 MB of data in a part of this kind."""
    small, large = (
        parsed(messages=[{"role": "user", "content": [{"type": kind, kind: {"url": "data:" + "A" * size}}]}]).prompt_tokens_max
        for size in (10, 1_000_000)
    )
    return small, large


def test_a_cache_is_written_for_five_minutes_whatever_was_asked_and_that_is_said() -> None:
    def message(**cache: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", **cache}}]}

    for cache, adjusted in (({}, ()), ({"ttl": "5m"}, ()), ({"ttl": "1h"}, ("cache_control",))):
        request = parsed(messages=[message(**cache)])
        assert request.adjusted == adjusted
        assert request.body.reveal()["messages"] == [message()]
