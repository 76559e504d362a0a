"""The bedrock dialect where things go wrong: which streams are broken, what exceptions mean, and that nothing makes it stumble."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.meter import Meter
from metering.tokens import tokenizer
from providers.bedrock import BedrockDialect
from providers.errors import (
    ProviderError,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderTimeout,
    ProviderUnavailable,
    RequestRefused,
)
from providers.provider import Event
from providers.wire import Bounds, Wire
from tests.providers.bedrock_sent import OPUS
from tests.providers.bedrock_server import METADATA, START, STOP, Server, answer, begun, call, ended, frames, grown, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def whole(*content: Any, stop: Any = "end_turn") -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": stop}


TEXT = grown({"text": "a"})
WHOLE = {
    "usage after the end": (frames(START, TEXT, ended(), STOP, METADATA), 4),
    "no usage": (frames(START, TEXT, ended(), STOP), 3),
    "a torn usage": (frames(START, TEXT, STOP, METADATA)[:-3], 3),
    "usage before the end": (frames(START, TEXT, METADATA, STOP), 4),
    "what comes after usage does not count": (frames(START, TEXT, STOP, METADATA, grown({"text": "b"})) + b"garbage", 4),
    "unknown events and deltas": (frames(START, {"ofTomorrow": {}}, grown({"citation": {"title": "x"}}), TEXT, STOP, METADATA), 4),
    "blocks of other kinds": (frames(START, {"contentBlockStart": {"contentBlockIndex": 0, "start": {"image": {}}}}, TEXT, STOP), 3),
    "nothing said": (frames(START, STOP, METADATA), 3),
    "usage that cannot be believed": (frames(START, STOP, {"metadata": {"usage": {"inputTokens": -1, "outputTokens": "x"}}}), 2),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_stream_that_ended_properly_is_whole(server: Server, name: str) -> None:
    body, events = WHOLE[name]
    assert len(await answer(server, body, call(server))) == events


BROKEN = {
    "nothing": (b"", ProviderInvalidAnswer),
    "no end": (frames(START, TEXT, ended()), ProviderUnavailable),
    "usage without an end": (frames(START, TEXT, METADATA), ProviderUnavailable),
    "torn": (frames(START, TEXT, STOP)[:-1], ProviderUnavailable),
    "a wrong checksum": (frames(START, TEXT)[:-1] + b"?", ProviderInvalidAnswer),
    "server-sent events": (b'data: {"choices": []}\n\n', ProviderInvalidAnswer),
    "HTML": (b"<html></html>" * 9, ProviderInvalidAnswer),
    "an event before the message": (frames(TEXT, STOP), ProviderInvalidAnswer),
    "two messages": (frames(START, START), ProviderInvalidAnswer),
    "two ends": (frames(START, STOP, STOP), ProviderInvalidAnswer),
    "more after the end": (frames(START, STOP, TEXT), ProviderInvalidAnswer),
    "no place": (frames(START, {"contentBlockDelta": {"delta": {"text": "a"}}}), ProviderInvalidAnswer),
    "no delta": (frames(START, {"contentBlockDelta": {"contentBlockIndex": 0}}), ProviderInvalidAnswer),
    "a text that is none": (frames(START, grown({"text": 1})), ProviderInvalidAnswer),
    "arguments without a call": (frames(START, grown({"toolUse": {"input": "{}"}})), ProviderInvalidAnswer),
    "arguments that are an object": (frames(START, begun("1", "f", 0), grown({"toolUse": {"input": {}}})), ProviderInvalidAnswer),
    "a call twice": (frames(START, begun("1", "f", 0), begun("2", "f", 0)), ProviderInvalidAnswer),
    "a call without a name": (
        frames(START, {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "1"}}}}),
        ProviderInvalidAnswer,
    ),
    "a thought that is none": (frames(START, grown({"reasoningContent": "x"})), ProviderInvalidAnswer),
    "no reason": (frames(START, {"messageStop": {}}), ProviderInvalidAnswer),
    "an exception": (frames({"!internalServerException": {"message": "secret"}}), ProviderUnavailable),
    "JSON that is no answer": (b"{}", ProviderInvalidAnswer),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_did_not_end_properly_is_an_error(server: Server, name: str) -> None:
    body, kind = BROKEN[name]
    with pytest.raises(kind) as caught:
        await answer(server, body, call(server))
    assert "secret" not in str(caught.value) + repr(caught.value)


async def test_what_came_before_a_break_was_said(server: Server) -> None:
    server.body, seen = frames(START, TEXT, {"!throttlingException": {"message": "x"}}, TEXT), list[Event]()
    dialect = BedrockDialect(Wire(Bounds()))

    async def relay() -> None:
        async for batch in dialect.stream(call(server)):
            seen.extend(batch)

    with pytest.raises(ProviderOverloaded):
        await relay()
    assert [event["choices"][0]["delta"].get("content") for event in seen] == ["", "a"]
    await dialect.aclose()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"hello", b"[]", b"{}", b'{"message": "x"}', b'{"output": {}, "stopReason": "end_turn"}'),
        *(
            whole(1),
            whole({"text": 1}),
            whole({"toolUse": {"name": "f", "toolUseId": "1"}}),
            whole({"reasoningContent": {}}),
            whole(stop=None),
        ),
    ],
)
async def test_a_whole_answer_that_its_api_does_not_allow_is_an_error(server: Server, body: Any) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await answer(server, body, call(server, stream=False))


# Errors

ERRORS = [
    (400, "ValidationException", RequestRefused, 400),
    (400, "ServiceQuotaExceededException", ProviderOverloaded, 429),
    (400, "ExpiredTokenException", ProviderRefusedKey, 403),
    (400, "IncompleteSignatureException", ProviderRefusedKey, 403),
    (403, "AccessDeniedException", ProviderRefusedKey, 403),
    (403, "UnrecognizedClientException", ProviderRefusedKey, 403),
    (403, "InvalidSignatureException", ProviderRefusedKey, 403),
    (404, "ResourceNotFoundException", ProviderUnavailable, 404),
    (408, "ModelTimeoutException", ProviderTimeout, 408),
    (424, "ModelErrorException", ProviderUnavailable, 502),
    (429, "ThrottlingException", ProviderOverloaded, 429),
    (429, "ModelNotReadyException", ProviderOverloaded, 429),
    (500, "InternalServerException", ProviderUnavailable, 500),
    (503, "ServiceUnavailableException", ProviderOverloaded, 503),
    (418, "OfTomorrowException", RequestRefused, 418),
]


@pytest.mark.parametrize(("status", "name", "kind", "ours"), ERRORS)
async def test_an_exception_says_whose_fault_it_is(server: Server, status: int, name: str, kind: type[ProviderError], ours: int) -> None:
    server.status, server.headers = status, {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
    with pytest.raises(ProviderError) as caught:
        await answer(server, {"message": "Something is wrong."}, call(server))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (ours, name)
    assert caught.value.detail is not None
    assert caught.value.detail.reveal() == "Something is wrong."


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"Message": "Authentication failed"}, None),
        ({"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "x"}, "UnrecognizedClientException"),
        (b"<html>", None),
        (b"", None),
    ],
)
async def test_the_front_doors_errors_are_read_too(server: Server, body: Any, code: str | None) -> None:
    server.status, server.headers = 403, {}
    with pytest.raises(ProviderRefusedKey) as caught:
        await answer(server, body, call(server, stream=False))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 214330 tokens > 200000 maximum",
        "The model returned the following errors: input length and `max_tokens` exceed context limit: 198404 + 8192 > 204698",
        "Too many input tokens. Max input tokens: 128000, request input token count: 130000",
        "This model's maximum context length is 131072 tokens. Please reduce the length of the prompt",
    ],
)
async def test_a_prompt_that_is_too_long_has_openais_code(server: Server, message: str) -> None:
    server.status, server.headers = 400, {"x-amzn-errortype": "ValidationException"}
    with pytest.raises(RequestRefused) as caught:
        await answer(server, {"message": message}, call(server))
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "message",
    [
        "The provided model identifier is invalid.",
        "Invocation of model ID x with on-demand throughput isn’t supported. Retry with an inference profile that contains this model.",
        "This model version has reached the end of its life.",
    ],
)
async def test_a_model_that_is_not_there_is_not_the_clients_fault(server: Server, message: str) -> None:
    server.status, server.headers = 400, {"x-amzn-errortype": "ValidationException"}
    with pytest.raises(ProviderUnavailable):
        await answer(server, {"message": message}, call(server))


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("throttlingException", ProviderOverloaded, 429),
        ("serviceUnavailableException", ProviderOverloaded, 503),
        ("modelStreamErrorException", ProviderUnavailable, 502),
        ("internalServerException", ProviderUnavailable, 500),
        ("modelTimeoutException", ProviderTimeout, 408),
        ("validationException", RequestRefused, 400),
        ("ofTomorrowException", ProviderUnavailable, 502),
    ],
)
async def test_an_exception_in_a_stream_says_the_same(server: Server, name: str, kind: type[ProviderError], status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        await answer(server, frames(START, {f"!{name}": {"message": "Broken."}}), call(server))
    assert (type(caught.value), caught.value.status) == (kind, status)


async def test_retry_after_is_kept(server: Server) -> None:
    server.status, server.headers = 429, {"x-amzn-errortype": "ThrottlingException", "retry-after": "5"}
    with pytest.raises(ProviderOverloaded) as caught:
        await answer(server, {"message": "Too many requests"}, call(server))
    assert caught.value.retry_after_seconds == 5


# Anything at all

NAMES = st.sampled_from(
    [
        *("contentBlockIndex", "delta", "start", "text", "toolUse", "input", "name", "toolUseId", "reasoningContent", "signature"),
        *("redactedContent", "stopReason", "usage", "inputTokens", "outputTokens", "cacheReadInputTokens", "role", "message"),
        *("output", "content", "reasoningText", "citationsContent"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    LEAVES | st.sampled_from(["", "a", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KINDS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "!throttlingException")
PLACE = st.integers(0, 2)
FIELDS = st.fixed_dictionaries({}, optional={"contentBlockIndex": PLACE, "delta": JSON, "start": JSON, "stopReason": JSON}) | JSON
EVENT = st.tuples(st.sampled_from([*KINDS, "other"]), FIELDS).map(lambda pair: {pair[0]: pair[1]})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENT, max_size=5), stream=st.booleans(), made=JSON)
def test_no_answer_makes_the_dialect_or_the_meter_stumble(events: list[Any], stream: bool, made: Any) -> None:
    """Either events that can be counted and charged, or a ProviderError; never anything else."""
    body = (
        frames(START, *events, STOP, METADATA) if stream else {"output": {"message": {"content": [made]}}, "stopReason": "x", "usage": made}
    )
    asyncio.run(_metered(body, stream=stream))


async def _metered(body: Any, *, stream: bool) -> None:
    async with serving() as server:
        meter = Meter(tokenizer("o200k_base"), tokens_max=100, tokens_limit=100, prompt_tokens_max=100)
        try:
            seen = await answer(server, body, call(server, stream=stream, model=OPUS))
        except ProviderError:
            return
        for event in seen:
            meter.see(event)
        usage, _ = meter.usage(5, whole=True)
        assert usage.completion_tokens <= 100
        assert usage.prompt_tokens <= 100
