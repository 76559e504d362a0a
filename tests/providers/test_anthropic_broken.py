"""Answers that the Messages API does not allow, its errors, and anything at all: an error of the provider's, never a crash."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.meter import Meter
from metering.tokens import tokenizer
from providers.content import Content
from providers.errors import (
    ProviderError,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRefused,
)
from tests.providers.anthropic_answers import STOP, answer, begin, call, change, end, grow, joined, sse, start, until_it_broke, whole
from tests.providers.test_openai import Server, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


# Broken answers

SAID = sse(start(), begin(0, "text", text=""), grow(0, "text_delta", text="a"))
BROKEN: dict[str, tuple[str, type[ProviderError]]] = {
    "nothing": ("", ProviderInvalidAnswer),
    "comments alone": (": hi\n\n", ProviderInvalidAnswer),
    "cut after the start": (sse(start()), ProviderUnavailable),
    "cut in the middle": (SAID, ProviderUnavailable),
    "cut before the stop": (SAID + sse(end(0), change()), ProviderUnavailable),
    "torn": (SAID + 'event: content_block_delta\ndata: {"type": "content', ProviderUnavailable),
    "garbage": (SAID + "data: {\n\n" + sse(STOP), ProviderInvalidAnswer),
    "OpenAI's end": (SAID + "data: [DONE]\n\n", ProviderInvalidAnswer),
    "HTML": ("<html>\n\n</html>", ProviderInvalidAnswer),
    "a list": (SAID + "data: []\n\n", ProviderInvalidAnswer),
    "no type": (SAID + "data: {}\n\n", ProviderInvalidAnswer),
    "a type that is none": (SAID + 'data: {"type": ["ping"]}\n\n', ProviderInvalidAnswer),
    "a second start": (SAID + sse(start()), ProviderInvalidAnswer),
    "no start": (sse(begin(0, "text", text="")), ProviderInvalidAnswer),
    "a stop first": (sse(STOP), ProviderInvalidAnswer),
    "a stop without a reason": (SAID + sse(end(0), STOP), ProviderInvalidAnswer),
    "a message that is none": (sse({"type": "message_start", "message": "a"}), ProviderInvalidAnswer),
    "an index twice": (SAID + sse(begin(0, "text", text="")), ProviderInvalidAnswer),
    "an index that is none": (sse(start(), begin(True, "text", text="")), ProviderInvalidAnswer),
    "an unknown index": (SAID + sse(grow(1, "text_delta", text="a")), ProviderInvalidAnswer),
    "a closed index": (SAID + sse(end(0), grow(0, "text_delta", text="a")), ProviderInvalidAnswer),
    "an end of nothing": (SAID + sse(end(1)), ProviderInvalidAnswer),
    "an end of no number": (SAID + sse({"type": "content_block_stop", "index": [0]}), ProviderInvalidAnswer),
    "a block that is none": (sse(start(), {"type": "content_block_start", "index": 0, "content_block": 1}), ProviderInvalidAnswer),
    "a block without a type": (sse(start(), {"type": "content_block_start", "index": 0, "content_block": {}}), ProviderInvalidAnswer),
    "a delta that is none": (SAID + sse({"type": "content_block_delta", "index": 0, "delta": "a"}), ProviderInvalidAnswer),
    "a delta of another kind": (SAID + sse(grow(0, "input_json_delta", partial_json="a")), ProviderInvalidAnswer),
    "a text that is none": (SAID + sse(grow(0, "text_delta", text=1)), ProviderInvalidAnswer),
    "a text that is missing": (SAID + sse(grow(0, "text_delta")), ProviderInvalidAnswer),
    "a call without an id": (sse(start(), begin(0, "tool_use", name="a", input={})), ProviderInvalidAnswer),
    "a call without a name": (sse(start(), begin(0, "tool_use", id="a", input={})), ProviderInvalidAnswer),
    "a thought without data": (sse(start(), begin(0, "redacted_thinking")), ProviderInvalidAnswer),
    "a reason that is none": (SAID + sse(change(5)), ProviderInvalidAnswer),  # type: ignore[arg-type]
    "a change that is none": (SAID + sse({"type": "message_delta", "delta": None}), ProviderInvalidAnswer),
    "too deep": (SAID + 'data: {"type": ' + "[" * 5000 + "]" * 5000 + "}\n\n", ProviderInvalidAnswer),
    "a lone surrogate": (SAID + 'data: {"type": "\\ud800"}\n\n', ProviderInvalidAnswer),
    "an event above the bound": (SAID + sse(grow(0, "text_delta", text="a" * 2**20)), ProviderInvalidAnswer),
    "JSON that is cut": ('{"type": "message", "content": [', ProviderInvalidAnswer),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_the_api_does_not_allow_is_an_error(server: Server, name: str) -> None:
    body, kind = BROKEN[name]
    with pytest.raises(ProviderError) as caught:
        await answer(server, body, call(server))
    assert type(caught.value) is kind


@pytest.mark.parametrize("frame", ["data: {\n\n", sse(grow(7, "text_delta", text="b"))])
async def test_what_came_before_a_bad_event_counts_however_it_was_cut(server: Server, frame: str) -> None:
    events, error = await until_it_broke(server, SAID + frame)
    assert type(error) is ProviderInvalidAnswer
    assert joined([*events, {"choices": [{"finish_reason": "error"}]}])["content"] == "a"


@pytest.mark.parametrize(
    "body",
    [
        *("", "hello", "[]", "{}", '{"content": {}}', '{"content": ["a"]}'),
        *(json.dumps(whole("text", **more)) for more in ({"stop_reason": None}, {"stop_reason": 1}, {"content": [{"type": "text"}]})),
        json.dumps(whole("text", content=[{"type": "tool_use", "id": "a", "name": "b", "input": "{}"}])),
        json.dumps(whole("text", content=[{"type": "tool_use", "id": "a", "input": {}}])),
        json.dumps(whole("text", content=[{"type": "thinking", "thinking": "a", "signature": 1}])),
        json.dumps(whole("text", content=[{"type": "redacted_thinking"}])),
    ],
)
async def test_a_whole_answer_that_the_api_does_not_allow_is_an_error(server: Server, body: str) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await answer(server, body, call(server, stream=False))


# Errors


def refusal(kind: object, message: str = "secret") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


KINDS: list[tuple[str, int, type[ProviderError]]] = [
    ("invalid_request_error", 400, RequestRefused),
    ("authentication_error", 401, ProviderRefusedKey),
    ("billing_error", 402, ProviderRefusedKey),
    ("permission_error", 403, ProviderRefusedKey),
    ("not_found_error", 404, ProviderUnavailable),
    ("request_too_large", 413, RequestRefused),
    ("rate_limit_error", 429, ProviderOverloaded),
    ("api_error", 500, ProviderUnavailable),
    ("timeout_error", 504, ProviderTimeout),
    ("overloaded_error", 529, ProviderOverloaded),
]


@pytest.mark.parametrize(
    ("kind", "status", "expected"), [*KINDS, ("tomorrow_error", 502, ProviderUnavailable), (5, 502, ProviderUnavailable)]
)
@pytest.mark.parametrize("shape", ["in the stream", "in its place", "whole"])
async def test_an_error_in_an_answer_is_judged_by_its_type(
    server: Server, kind: str, status: int, expected: type[ProviderError], shape: str
) -> None:
    body = SAID + sse(refusal(kind)) if shape == "in the stream" else json.dumps(refusal(kind))
    with pytest.raises(ProviderError) as caught:
        await answer(server, body, call(server, stream=shape != "whole"))
    assert (type(caught.value), caught.value.status, caught.value.code) == (expected, status, str(kind))
    assert "secret" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(("kind", "status", "expected"), KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_alone_is_judged_by_its_status(
    server: Server, kind: str, status: int, expected: type[ProviderError], stream: bool
) -> None:
    server.status, server.headers = status, {"retry-after": "3"}
    with pytest.raises(ProviderError) as caught:
        await answer(server, refusal("odd_error" if status == 404 else kind), call(server, stream=stream))
    assert (type(caught.value), caught.value.status, caught.value.retry_after_seconds) == (expected, status, 3)
    assert isinstance(caught.value.detail, Content)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 208310 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length or `max_tokens` and try again",
    ],
)
@pytest.mark.parametrize("alone", [True, False])
async def test_a_prompt_that_is_too_long_has_openai_s_code(server: Server, message: str, alone: bool) -> None:
    server.status = 400 if alone else 200
    with pytest.raises(RequestRefused) as caught:
        await answer(server, refusal("invalid_request_error", message), call(server))
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.detail is not None
    assert caught.value.detail.reveal() == message


async def test_the_operator_s_empty_account_is_not_the_client_s_fault(server: Server) -> None:
    server.status = 400
    message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
    with pytest.raises(ProviderRefusedKey) as caught:
        await answer(server, refusal("invalid_request_error", message), call(server))
    assert caught.value.detail is None


# Anything at all

NAMES = st.sampled_from(
    [
        *("type", "message", "index", "content_block", "delta", "usage", "text", "thinking", "signature", "data", "partial_json", "input"),
        *("id", "name", "content", "stop_reason", "input_tokens", "output_tokens", "cache_read_input_tokens", "error"),
    ]
)
TYPES = st.sampled_from(
    [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop", "ping"),
        *("text", "tool_use", "thinking", "redacted_thinking", "text_delta", "input_json_delta", "thinking_delta", "signature_delta"),
        *("error", "message", "end_turn"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a"])
    | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
EVENT = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "index": st.integers(0, 2) | JSON,
        "message": JSON,
        "content_block": st.fixed_dictionaries(
            {"type": TYPES}, optional={"id": st.just("a"), "name": st.just("b"), "text": JSON, "input": JSON}
        ),
        "delta": st.fixed_dictionaries(
            {"type": TYPES}, optional={"text": JSON, "partial_json": JSON, "thinking": JSON, "stop_reason": TYPES}
        ),
        "usage": JSON,
        "content": st.lists(JSON, max_size=3),
        "stop_reason": JSON,
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENT, min_size=1, max_size=6), stream=st.booleans(), started=st.booleans())
def test_no_answer_makes_the_dialect_or_the_meter_stumble(events: list[Any], stream: bool, started: bool) -> None:
    """Either events that can be counted and charged, or a ProviderError; never anything else."""
    asyncio.run(_metered([start(), begin(9, "text", text=""), *events] if started else events, stream=stream))


async def _metered(events: list[Any], *, stream: bool) -> None:
    async with serving() as server:
        meter = Meter(tokenizer("o200k_base"), tokens_max=100, tokens_limit=100, prompt_tokens_max=100)
        body = sse(*events, change(), STOP) if stream else json.dumps({**whole("text"), **events[-1]})
        try:
            seen = await answer(server, body, call(server, stream=stream))
        except ProviderError:
            return
        for event in seen:
            meter.see(event)
        usage, _ = meter.usage(5, whole=True)
        assert usage.completion_tokens <= 100
        assert usage.prompt_tokens <= 100
