"""The openai dialect: which answers are whole, which are broken, and that nothing a server says makes it stumble."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.meter import Meter
from metering.price import Price
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
from providers.openai import OpenAIDialect
from providers.provider import Call, ChatRequest, Endpoint, Event, Model, Provider
from providers.wire import Bounds, Wire

Sent = list[tuple[dict[str, str], dict[str, Any]]]


class Server:
    """Answers every POST with `status`, `headers` and `body`, then closes; keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {"content-type": "text/event-stream"}, b""
        self.sent: Sent = []
        self.targets: list[str] = []
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            self.targets.append(head[0].split(" ")[1])
            self.sent.append((headers, json.loads(await reader.readexactly(int(headers["content-length"])))))
            lines = [
                f"HTTP/1.1 {self.status} X",
                *(f"{name}: {value}" for name, value in self.headers.items()),
                "connection: close",
                "",
                "",
            ]
            writer.write("\r\n".join(lines).encode() + self.body)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def call(
    server: Server, *, stream: bool = True, n: int = 1, limit: int | None = None, api_key: str | None = None, **fields: object
) -> Call:
    provider = Provider(slug="acme", name="Acme", dialect="openai", base_url=server.base_url)
    model = Model(id="acme/fast-1", name="Fast", company="acme", context_length=1000)
    price = Price(prompt=1, completion=1)
    endpoint = Endpoint(
        id="acme/acme/fast-1", model=model, provider=provider, upstream_model="fast-1", price=price, price_id=price.id, context_length=1000
    )
    body = {"model": "acme/fast-1", "messages": [], "stream": stream, **fields}
    request = ChatRequest(
        body=Content(body), model="acme/fast-1", stream=stream, include_usage=False, max_tokens=None, n=n, prompt_tokens_max=10
    )
    return Call(request=request, endpoint=endpoint, api_key=api_key, max_tokens=limit, generation_id="gen-1")


async def answer(server: Server, body: bytes | str, wanted: Call) -> list[Event]:
    """The events of one answer; nothing stays open."""
    server.body = body.encode() if isinstance(body, str) else body
    wire = Wire(Bounds())
    dialect = OpenAIDialect(wire)
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()


def sse(*events: object) -> str:
    return "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)


def chunk(text: str | None = None, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
WHOLE = {
    "finish, usage, done": (sse(chunk("a"), chunk(finish="stop"), USAGE, "[DONE]"), 3),
    "done alone ends it": (sse(chunk("a"), "[DONE]"), 1),
    "finish alone ends it": (sse(chunk("a"), chunk(finish="stop")), 2),
    "finish without its blank line": (sse(chunk("a")) + "data: " + json.dumps(chunk(finish="stop")), 2),
    "done without its blank line": (sse(chunk("a")) + "data: [DONE]", 1),
    "what comes after done does not count": (sse(chunk("a"), "[DONE]", chunk("b"), "[DONE]"), 1),
    "not even garbage": (sse(chunk("a"), "[DONE]", "{"), 1),
    "blanks around done": (sse(chunk("a"), " [DONE] "), 1),
    "comments and other fields": (": hi\n\nevent: x\n" + sse(chunk("a")) + "id: 1\n\n" + sse("[DONE]"), 1),
    "CRLF": (sse(chunk("a"), "[DONE]").replace("\n", "\r\n"), 1),
    "a torn last event after the finish": (sse(chunk("a"), chunk(finish="stop")) + 'data: {"choices": [', 2),
    "JSON instead of a stream": ('{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}', 1),
    "JSON after blanks": (' \n {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}', 1),
    "no delta": (sse({"choices": [{"index": 0, "finish_reason": "stop"}]}), 1),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_stream_that_ended_properly_is_whole(server: Server, name: str) -> None:
    body, events = WHOLE[name]
    assert len(await answer(server, body, call(server))) == events


BROKEN = {
    "nothing": ("", ProviderInvalidAnswer),
    "done alone": (sse("[DONE]"), ProviderInvalidAnswer),
    "comments alone": (": hi\n\n", ProviderInvalidAnswer),
    "no finish": (sse(chunk("a"), chunk("b")), ProviderUnavailable),
    "no finish, usage": (sse(chunk("a"), USAGE), ProviderUnavailable),
    "torn": (sse(chunk("a")) + 'data: {"choices": [', ProviderUnavailable),
    "garbage": (sse(chunk("a"), "{", chunk(finish="stop")), ProviderInvalidAnswer),
    "garbage first": (sse("hello", chunk(finish="stop")), ProviderInvalidAnswer),
    "a list": (sse([]), ProviderInvalidAnswer),
    "HTML": ("<html>\n\n</html>", ProviderInvalidAnswer),
    "an error": (sse({"error": {"message": "secret"}}), ProviderUnavailable),
    "an error in the middle": (sse(chunk("a"), {"error": {"code": 429}}), ProviderOverloaded),
    "an error with a code": (sse({"error": {"code": "401"}}), ProviderRefusedKey),
    "an error beside choices": (sse({**chunk("a"), "error": {"code": 400}}), RequestRefused),
    "an error as text": (sse({"error": "out of memory"}), ProviderUnavailable),
    "JSON that is an error": ('{"error": {"message": "x", "code": 503}}', ProviderOverloaded),
    "JSON without choices": ("{}", ProviderInvalidAnswer),
    "torn JSON": ('{"choices": [', ProviderInvalidAnswer),
    "choices that are none": (sse({"choices": {}}), ProviderInvalidAnswer),
    "null choices": (sse({"choices": None}), ProviderInvalidAnswer),
    "a choice that is none": (sse({"choices": [1]}), ProviderInvalidAnswer),
    "a delta that is none": (sse({"choices": [{"delta": "a"}]}), ProviderInvalidAnswer),
    "an index that is none": (sse({"choices": [{"index": [0], "delta": {}}]}), ProviderInvalidAnswer),
    "an index that is text": (sse({"choices": [{"index": "0", "delta": {}}]}), ProviderInvalidAnswer),
    "too deep": (sse('{"choices": ' + "[" * 5000 + "]" * 5000 + "}"), ProviderInvalidAnswer),
    "a lone surrogate": (sse('{"choices": [{"delta": {"content": "\\ud800"}}]}'), ProviderInvalidAnswer),
    "an event above the bound": (sse(chunk("a" * 2**20)), ProviderInvalidAnswer),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_stream_that_did_not_end_properly_is_an_error(server: Server, name: str) -> None:
    body, kind = BROKEN[name]
    with pytest.raises(kind) as caught:
        await answer(server, body, call(server))
    assert "secret" not in str(caught.value) + repr(caught.value)


async def test_invalid_utf_8_is_an_error(server: Server) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await answer(server, b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', call(server))


async def test_every_choice_must_finish(server: Server) -> None:
    half = sse(chunk("a"), chunk("a", index=1), chunk(finish="stop"))
    with pytest.raises(ProviderUnavailable):
        await answer(server, half, call(server, n=2))
    assert len(await answer(server, half + sse(chunk(finish="length", index=1)), call(server, n=2))) == 4


async def test_usage_that_groq_hides_is_found(server: Server) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    [_, last] = await answer(server, sse(chunk("a"), {**chunk(finish="stop"), "x_groq": {"id": "1", "usage": usage}}), call(server))
    assert last["usage"] == usage
    assert "x_groq" not in last


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"choices": [{"message": 1}]}',
        '{"choices": [{"message": {}, "index": {}}]}',
    ],
)
async def test_a_whole_answer_without_a_message_is_an_error(server: Server, body: str) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await answer(server, body, call(server, stream=False))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RequestRefused) for status in (400, 413, 415, 422, 451, 499)),
        *((status, ProviderRefusedKey) for status in (401, 402, 403)),
        *((status, ProviderOverloaded) for status in (429, 503, 529)),
        *((status, ProviderTimeout) for status in (408, 504, 524)),
        *((status, ProviderUnavailable) for status in (404, 405, 409, 425, 500, 501, 502, 520, 599, 999)),
        *((status, ProviderInvalidAnswer) for status in (301, 302, 304, 307)),
    ],
)
async def test_the_status_decides_the_error_whatever_the_body_says(server: Server, status: int, kind: type[ProviderError]) -> None:
    server.status = status
    with pytest.raises(ProviderError) as caught:
        await answer(server, "" if status == 304 else '{"error": {"message": "rate limit, bad key", "code": 401}}', call(server))
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5),
        ("0.2", 1),
        ("0", 0),
        ("-5", 0),
        ("1e999", None),
        ("nan", None),
        ("999999999", 86400),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
async def test_retry_after_is_a_bounded_number_of_seconds_or_nothing(server: Server, header: str, seconds: int | None) -> None:
    server.status, server.headers = 429, {"retry-after": header}
    with pytest.raises(ProviderOverloaded) as caught:
        await answer(server, "{}", call(server))
    assert caught.value.retry_after_seconds == seconds


# What is sent


@pytest.mark.parametrize(
    ("fields", "limit", "expected"),
    [
        ({}, None, {}),
        ({}, 5, {"max_tokens": 5}),
        ({"max_tokens": 9}, 5, {"max_tokens": 5}),
        ({"max_completion_tokens": 9}, 5, {"max_completion_tokens": 5}),
        ({"max_tokens": 9, "max_completion_tokens": 8}, 5, {"max_tokens": 5, "max_completion_tokens": 5}),
    ],
)
async def test_the_limit_that_was_held_for_is_the_limit_that_is_sent(
    server: Server, fields: dict[str, int], limit: int | None, expected: dict[str, int]
) -> None:
    await answer(server, sse(chunk("a"), "[DONE]"), call(server, limit=limit, **fields))
    [(headers, sent)] = server.sent
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == expected
    assert sent["model"] == "fast-1"
    assert sent["stream_options"] == {"include_usage": True}
    assert "authorization" not in headers


async def test_openrouter_s_reasoning_object_is_not_sent(server: Server) -> None:
    await answer(server, sse(chunk("a"), "[DONE]"), call(server, reasoning={"max_tokens": 5}, reasoning_effort="low"))
    [(_, sent)] = server.sent
    assert "reasoning" not in sent
    assert sent["reasoning_effort"] == "low"


async def test_only_our_own_headers_are_sent(server: Server) -> None:
    await answer(server, sse(chunk("a"), "[DONE]"), call(server, api_key="k"))
    [(headers, _)] = server.sent
    assert headers["authorization"] == "Bearer k"
    assert headers.keys() == {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization"}


# Anything at all

NAMES = st.sampled_from(
    [
        *(
            "choices",
            "delta",
            "message",
            "content",
            "index",
            "finish_reason",
            "usage",
            "error",
            "tool_calls",
            "function",
            "name",
            "arguments",
        ),
        *("prompt_tokens", "completion_tokens", "total_tokens", "code", "reasoning", "function_call", "x_groq", "id", "logprobs"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "stop", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
CHOICE = st.fixed_dictionaries({}, optional={"index": JSON, "delta": st.dictionaries(NAMES, JSON), "finish_reason": JSON, "message": JSON})
EVENT = st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": JSON, "id": JSON, "error": JSON}) | JSON


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENT, min_size=1, max_size=3), stream=st.booleans())
def test_no_answer_makes_the_dialect_or_the_meter_stumble(events: list[object], stream: bool) -> None:
    """Either events that can be counted and charged, or a ProviderError; never anything else."""
    asyncio.run(_metered(events, stream=stream))


async def _metered(events: list[object], *, stream: bool) -> None:
    async with serving() as server:
        meter = Meter(tokenizer("o200k_base"), tokens_max=100, tokens_limit=100, prompt_tokens_max=100)
        try:
            seen = await answer(server, sse(*events, "[DONE]") if stream else json.dumps(events[0]), call(server, stream=stream))
        except ProviderError:
            return
        for event in seen:
            meter.see(event)
        usage, _ = meter.usage(5, whole=True)
        assert usage.completion_tokens <= 100
        assert usage.prompt_tokens <= 100
