"""Embeddings at the openai dialect: what is asked, which answers are whole, and that any other is an error and never a crash."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.price import Price
from providers.content import Content
from providers.errors import (
    ProviderError,
    ProviderInvalidAnswer,
    ProviderOverloaded,
    ProviderRefusedKey,
    ProviderUnavailable,
    RequestRefused,
)
from providers.openai import OpenAIDialect
from providers.openai_embeddings import INLINE_BYTES_MAX, completion
from providers.provider import Call, ChatRequest, Endpoint, Event, Model, Provider
from providers.vectors import packed, unpacked
from providers.wire import Bounds, Wire
from tests.providers.test_openai import Server, serving

NUMBERS = [0.5, -0.25, 1.0]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        running.headers = {"content-type": "application/json"}
        yield running


def call(server: Server, *inputs: Any, **fields: object) -> Call:
    provider = Provider(slug="acme", name="Acme", dialect="openai", base_url=server.base_url)
    model = Model(id="acme/vectors", name="Vectors", company="acme", context_length=1000)
    price = Price(prompt=1, completion=0)
    endpoint = Endpoint(
        id="acme/acme/vectors", model=model, provider=provider, upstream_model="v-1", price=price, price_id=price.id, context_length=1000
    )
    body = {"model": "acme/vectors", "input": list(inputs or ("a",)), **fields}
    request = ChatRequest(
        body=Content(body), operation="embeddings", model="acme/vectors", stream=False, include_usage=False, max_tokens=None, n=1,
        prompt_tokens_max=10,
    )  # fmt: skip
    return Call(request=request, endpoint=endpoint, api_key="key", max_tokens=0, generation_id="gen-1")


async def answer(server: Server, body: object, wanted: Call) -> Event:
    server.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    dialect = OpenAIDialect(Wire(Bounds()))
    try:
        [event] = [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()
    return event


def row(embedding: object, index: int | None = 0) -> dict[str, Any]:
    return {"object": "embedding", "embedding": embedding} | ({} if index is None else {"index": index})


def pack(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def read(data: object, wanted: int = 1, **more: object) -> Event:
    return completion(json.dumps({"object": "list", "data": data, **more}).encode(), wanted)


def vectors(event: Event) -> list[list[float]]:
    [choice] = event["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    return [list(vector) for vector in choice["message"]["embeddings"]]


# What is asked


async def test_the_request_is_the_clients_at_the_path_of_embeddings(server: Server) -> None:
    wanted = call(server, "a", "b", dimensions=3, user="u", x_made_up=1)
    event = await answer(server, {"data": [row(pack(*NUMBERS)), row(NUMBERS, 1)], "usage": {"prompt_tokens": 2, "total_tokens": 2}}, wanted)
    [(headers, sent)] = server.sent
    assert sent == {"model": "v-1", "input": ["a", "b"], "dimensions": 3, "user": "u", "x_made_up": 1, "encoding_format": "base64"}
    assert headers["authorization"] == "Bearer key"
    assert vectors(event) == [NUMBERS, NUMBERS]
    assert event["usage"] == {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}


@pytest.mark.parametrize(("asked", "sent"), [("float", "float"), ("base64", "base64"), (None, "base64")])
async def test_base64_is_asked_for_unless_the_client_insists_on_numbers(server: Server, asked: str | None, sent: str) -> None:
    await answer(server, {"data": [row(NUMBERS)]}, call(server, encoding_format=asked))
    assert server.sent[0][1]["encoding_format"] == sent


async def test_a_large_answer_is_read_in_a_thread_and_is_the_same(server: Server) -> None:
    texts, long = [str(number) for number in range(40)], [number / 256 for number in range(1536)]
    rows = [row(long, index) for index in range(40)]
    event = await answer(server, {"data": rows}, call(server, *texts))
    assert len(server.body) > INLINE_BYTES_MAX
    assert vectors(event) == [long] * 40


# Which answers are whole


def test_both_codings_are_read_and_numbers_stay_what_they_are() -> None:
    assert vectors(read([row([0.1, 1, -2e-5])])) == [[0.1, 1.0, -2e-5]]
    assert vectors(read([row(pack(0.1, 1, -2e-5))])) == [list(struct.unpack("<3f", struct.pack("<3f", 0.1, 1, -2e-5)))]


def test_vectors_stand_in_the_order_of_their_inputs() -> None:
    assert vectors(read([row([2.0], 1), row([3.0], 2), row([1.0], 0)], wanted=3)) == [[1.0], [2.0], [3.0]]
    assert vectors(read([row([1.0], None), row([2.0], None)], wanted=2)) == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, (5, 0)),
        ({"total_tokens": 5}, (5, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, (5, 0)),
        ({}, (None, 0)),
        (None, None),
        ([], None),
        ("x", None),
    ],
)
def test_the_usage_of_an_embedding_is_its_prompt(usage: object, expected: tuple[int | None, int] | None) -> None:
    found = read([row(NUMBERS)], usage=usage)["usage"]
    assert (found and (found["prompt_tokens"], found["completion_tokens"])) == expected


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        {},
        "x",
        [row(NUMBERS), row(NUMBERS, 1)],
        [row(NUMBERS, 1)],
        [row(NUMBERS, -1)],
        [5],
        [{}],
        [row([])],
        [row("")],
        [row(None)],
        [row(["a"])],
        [row([None])],
        [row([True])],
        [row([[0.5]])],
        [row({})],
        [row("AAA")],
        [row("A A=")],
        [row(base64.b64encode(b"12345").decode())],
        [row(pack(math.nan))],
        [row(pack(1.0, math.inf))],
        [row(NUMBERS, "0")],  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_is_no_vector_per_input_is_an_invalid_answer(data: object) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        read(data)


def test_vectors_of_two_lengths_or_for_one_input_twice_are_invalid() -> None:
    twice = [row([1.0]), row([1.0])]
    for rows in ([row([1.0]), row([1.0, 2.0], 1)], twice, [*twice, row([1.0], 1)]):
        with pytest.raises(ProviderInvalidAnswer):
            read(rows, wanted=2)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff\xfe", b'{"data":' + b"[" * 5000])
def test_what_is_no_json_object_is_an_invalid_answer(body: bytes) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        completion(body, 1)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "secret"}}, ProviderUnavailable),
        ({"error": {"code": 429}}, ProviderOverloaded),
        ({"error": {"code": "401"}}, ProviderRefusedKey),
        ({"error": {"code": 400, "message": "too long"}, "data": [row(NUMBERS)]}, RequestRefused),
        ({"object": "error", "message": "too long", "code": 400}, RequestRefused),
        ({"error": "out of memory"}, ProviderUnavailable),
    ],
)
async def test_an_error_with_status_200_is_the_error_it_says(server: Server, body: object, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        await answer(server, body, call(server))


REFUSALS: dict[int, type[ProviderError]] = {
    400: RequestRefused,
    401: ProviderRefusedKey,
    404: ProviderUnavailable,
    429: ProviderOverloaded,
    500: ProviderUnavailable,
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_is_read_as_a_chats(server: Server, status: int) -> None:
    server.status, server.headers = status, {"retry-after": "7"}
    with pytest.raises(REFUSALS[status]) as caught:
        await answer(server, {"error": {"message": "no", "code": "some_code"}}, call(server))
    assert (caught.value.status, caught.value.code) == (status, "some_code")


# Whatever comes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)
ROWS = st.fixed_dictionaries({}, optional={"embedding": VALUES, "index": VALUES, "object": VALUES})
ANSWERS = st.fixed_dictionaries({}, optional={"data": st.lists(ROWS, max_size=3) | VALUES, "usage": VALUES, "id": VALUES, "error": VALUES})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS, st.integers(1, 3))
def test_any_json_is_whole_vectors_or_a_provider_error(body: dict[str, Any], wanted: int) -> None:
    try:
        event = completion(json.dumps(body).encode(), wanted)
    except ProviderError:
        return
    found = vectors(event)
    assert len(found) == wanted
    assert all(found)
    assert all(type(number) is float and math.isfinite(number) for vector in found for number in vector)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_what_is_packed_is_unpacked_to_the_same_float32(numbers: list[float]) -> None:
    assert packed(numbers) == struct.pack(f"<{len(numbers)}f", *numbers)
    if math.isfinite(sum(numbers)):
        assert list(unpacked(packed(numbers))) == numbers
