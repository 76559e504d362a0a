"""The gemini dialect: which answers are whole, which are broken, what Google's errors mean, and that nothing makes it stumble."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.meter import Meter
from metering.tokens import tokenizer
from providers.errors import (
    ProviderError,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRefused,
)
from providers.gemini_answer import Answer
from providers.reading import json_object
from tests.providers.gemini_server import GENERATION, Server, answer, call, said, serving, sse


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


# Ends

OK = said({"text": "a"}, finish="STOP")
WHOLE = {
    "one event": (sse(OK), 1),
    "without its blank line": (sse(said({"text": "a"})) + "data: " + json.dumps(said(finish="STOP")), 2),
    "usage after the finish": (sse(OK, {"usageMetadata": {"promptTokenCount": 1}}), 2),
    "a torn event after the finish": (sse(OK) + 'data: {"candidates": [', 1),
    "comments": (": hi\n\n" + sse(OK), 1),
    "JSON instead of a stream": (json.dumps(OK), 1),
    "a list instead of a stream": (" \n" + json.dumps([said({"text": "a"}), OK]), 2),
    "null in place of nothing": (sse({"candidates": [{"content": None, "finishReason": None}]}, OK), 2),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_stream_that_ended_properly_is_whole(server: Server, name: str) -> None:
    body, events = WHOLE[name]
    assert len(await answer(server, body, call(server))) == events


BROKEN = {
    "nothing": ("", ProviderInvalidAnswer),
    "comments alone": (": hi\n\n", ProviderInvalidAnswer),
    "no finish": (sse(said({"text": "a"}), said({"text": "b"})), ProviderUnavailable),
    "usage alone": (sse({"usageMetadata": {"promptTokenCount": 1}}), ProviderUnavailable),
    "an unspecified finish": (sse(said({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED")), ProviderUnavailable),
    "torn": (sse(said({"text": "a"})) + 'data: {"candidates": [', ProviderUnavailable),
    "garbage": (sse(said({"text": "a"}), "{", OK), ProviderInvalidAnswer),
    "OpenAI's end": (sse(OK, "[DONE]"), ProviderInvalidAnswer),
    "a number": (sse("1"), ProviderInvalidAnswer),
    "HTML": ("<html>\n\n</html>", ProviderInvalidAnswer),
    "a list without a finish": (json.dumps([said({"text": "a"})]), ProviderUnavailable),
    "an empty list": ("[]", ProviderInvalidAnswer),
    "a list of numbers": ("[1]", ProviderInvalidAnswer),
    "torn JSON": ('{"candidates": [', ProviderInvalidAnswer),
    "candidates that are none": (sse({"candidates": {"a": 1}}), ProviderInvalidAnswer),
    "a candidate that is none": (sse({"candidates": [1]}), ProviderInvalidAnswer),
    "a candidate that was not asked for": (sse(said({"text": "a"}, index=1)), ProviderInvalidAnswer),
    "an index below": (sse(said({"text": "a"}, index=-1)), ProviderInvalidAnswer),
    "an index that is none": (sse({"candidates": [{"index": "0"}]}), ProviderInvalidAnswer),
    "a content that is none": (sse({"candidates": [{"content": "a"}]}), ProviderInvalidAnswer),
    "parts that are none": (sse({"candidates": [{"content": {"parts": {"a": 1}}}]}), ProviderInvalidAnswer),
    "a part that is none": (sse({"candidates": [{"content": {"parts": ["a"]}}]}), ProviderInvalidAnswer),
    "a text that is none": (sse(said({"text": ["secret"]})), ProviderInvalidAnswer),
    "a thought that is none": (sse(said({"text": 1, "thought": True})), ProviderInvalidAnswer),
    "a signature that is none": (sse(said({"text": "a", "thoughtSignature": 1})), ProviderInvalidAnswer),
    "a finish that is none": (sse({"candidates": [{"finishReason": 1}]}), ProviderInvalidAnswer),
    "a call that is none": (sse(said({"functionCall": "f"})), ProviderInvalidAnswer),
    "a call without a name": (sse(said({"functionCall": {"args": {}}})), ProviderInvalidAnswer),
    "arguments that are none": (sse(said({"functionCall": {"name": "f", "args": [1]}})), ProviderInvalidAnswer),
    "chances that are none": (sse({"candidates": [{"logprobsResult": {"chosenCandidates": [1]}}]}), ProviderInvalidAnswer),
    "an event above the bound": (sse(said({"text": "a" * 2**20})), ProviderInvalidAnswer),
    "too deep": (sse('{"candidates": ' + "[" * 5000 + "]" * 5000 + "}"), ProviderInvalidAnswer),
    "an error": (sse({"error": {"code": 503, "message": "secret", "status": "UNAVAILABLE"}}), ProviderOverloaded),
    "an error in the middle": (sse(said({"text": "a"}), {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}), ProviderOverloaded),
    "an error without a code": (sse({"error": {"message": "secret"}}), ProviderUnavailable),
    "an error as text": (sse({"error": "secret"}), ProviderUnavailable),
    "an error in a list": ('[{"error": {"code": 500, "message": "secret"}}]', ProviderUnavailable),
    "a blocked prompt": (sse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}), RequestRefused),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_did_not_end_properly_is_an_error(server: Server, name: str) -> None:
    body, kind = BROKEN[name]
    with pytest.raises(ProviderError) as caught:
        await answer(server, body, call(server))
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("body", ["", "hello", "[]", "{}", '{"candidates": []}', '{"usageMetadata": {"promptTokenCount": 1}}'])
async def test_a_whole_answer_without_candidates_is_an_error(server: Server, body: str) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await answer(server, body, call(server, stream=False))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_blocked_prompt_is_the_clients_to_mend(server: Server, stream: bool) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []}, "usageMetadata": {"promptTokenCount": 9}}
    with pytest.raises(RequestRefused) as caught:
        await answer(server, sse(blocked) if stream else json.dumps(blocked), call(server, stream=stream))
    assert (caught.value.status, caught.value.code) == (400, "content_filter")
    assert "SAFETY" in caught.value.summary


# Errors


def refusal(code: int, status: str, message: str = "No.", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, **({"details": list(details)} if details else {})}}


BAD_KEY = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}
QUOTA = (
    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinute"}]},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "57.238747106s"},
)
LONG = "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576)."


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (refusal(400, "INVALID_ARGUMENT"), RequestRefused, "invalid_argument"),
        (refusal(400, "INVALID_ARGUMENT", LONG), RequestRefused, "context_length_exceeded"),
        (
            refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", BAD_KEY),
            ProviderRefusedKey,
            "invalid_argument",
        ),
        (refusal(400, "FAILED_PRECONDITION", "Please enable billing."), ProviderRefusedKey, "failed_precondition"),
        (refusal(401, "UNAUTHENTICATED"), ProviderRefusedKey, "unauthenticated"),
        (refusal(403, "PERMISSION_DENIED"), ProviderRefusedKey, "permission_denied"),
        (refusal(404, "NOT_FOUND"), ProviderUnavailable, "not_found"),
        (refusal(429, "RESOURCE_EXHAUSTED", "Quota.", *QUOTA), ProviderOverloaded, "resource_exhausted"),
        (refusal(500, "INTERNAL"), ProviderUnavailable, "internal"),
        (refusal(503, "UNAVAILABLE"), ProviderOverloaded, "unavailable"),
        (refusal(504, "DEADLINE_EXCEEDED"), ProviderTimeout, "deadline_exceeded"),
    ],
)
async def test_googles_errors_by_status(server: Server, body: dict[str, Any], kind: type[ProviderError], code: str, stream: bool) -> None:
    server.status = body["error"]["code"]
    with pytest.raises(ProviderError) as caught:
        await answer(server, json.dumps([body] if stream else body), call(server, stream=stream))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code) == (server.status, code)
    assert error.detail is not None
    assert error.detail.reveal() == body["error"]["message"]
    assert error.retry_after_seconds == (58 if server.status == 429 else None)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("3s", 3), ("0.2s", 1), ("-5s", 0), ("1e999s", None), ("nans", None), ("soon", None), (7, None), ("99999999s", 86400)],
)
async def test_a_retry_delay_is_a_bounded_number_of_seconds_or_nothing(server: Server, delay: object, seconds: int | None) -> None:
    server.status = 429
    with pytest.raises(ProviderOverloaded) as caught:
        await answer(server, json.dumps(refusal(429, "RESOURCE_EXHAUSTED", "No.", {"retryDelay": delay})), call(server))
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "1",
        '{"error": 1}',
        '{"error": "x"}',
        '[{"error": {"status": "A B\\n", "details": [1], "code": "x"}}]',
        '{"error": {"details": {}}}',
    ],
)
async def test_an_odd_refusal_is_still_judged_by_its_status(server: Server, body: str) -> None:
    server.status, server.headers = 503, {"retry-after": "4"}
    with pytest.raises(ProviderOverloaded) as caught:
        await answer(server, body, call(server))
    assert (caught.value.code, caught.value.retry_after_seconds) == (None, 4)


# Anything at all

NAMES = st.sampled_from(
    [
        *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args", "id", "inlineData"),
        *("mimeType", "data", "finishReason", "index", "usageMetadata", "promptTokenCount", "candidatesTokenCount", "promptFeedback"),
        *("blockReason", "error", "code", "message", "status", "details", "retryDelay", "logprobsResult", "chosenCandidates", "token"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "STOP", "SAFETY"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
PART = st.fixed_dictionaries({}, optional=dict.fromkeys(("text", "thought", "thoughtSignature", "functionCall", "inlineData"), JSON))
CONTENT = st.fixed_dictionaries({"parts": st.lists(PART, max_size=3)}) | JSON
CANDIDATE = st.fixed_dictionaries(
    {}, optional={"content": CONTENT, "finishReason": JSON, "index": st.just(0) | JSON, "logprobsResult": JSON}
)
EVENT = (
    st.fixed_dictionaries(
        {"candidates": st.lists(CANDIDATE, max_size=2)}, optional={"usageMetadata": JSON, "promptFeedback": JSON, "error": JSON}
    )
    | JSON
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENT, min_size=1, max_size=3), stream=st.booleans())
def test_no_answer_makes_the_dialect_or_the_meter_stumble(events: list[object], stream: bool) -> None:
    """Either events that can be counted, charged and written, or a ProviderError; never anything else."""
    reader, meter = Answer(GENERATION, 1), Meter(tokenizer("o200k_base"), tokens_max=100, tokens_limit=100, prompt_tokens_max=100)
    try:
        frames = [json.dumps(event).encode() for event in events]
        seen = [event for frame in frames for event in reader.read(frame)] if stream else [reader.completion(json_object(frames[0]))]
    except ProviderError:
        return
    for event in seen:
        json.dumps(event)
        meter.see(event)
    usage, _ = meter.usage(5, whole=True)
    assert usage.completion_tokens <= 100
    assert usage.prompt_tokens <= 100
