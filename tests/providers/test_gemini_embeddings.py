"""The gemini dialect: batchEmbedContents, what is sent and what its answers become."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering.usage import Usage, from_openai
from providers.errors import Inexpressible, ProviderError, ProviderInvalidAnswer, ProviderOverloaded
from providers.gemini import GeminiDialect
from providers.gemini_embeddings import batches
from providers.provider import Event
from providers.wire import Bounds, Wire
from tests.providers import gemini_sent
from tests.providers.gemini_server import Server, call, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


# Embeddings


def vectors(*values: list[Any], tokens: int | None = None) -> bytes:
    usage = {} if tokens is None else {"usageMetadata": {"promptTokenCount": tokens}}
    return json.dumps({"embeddings": [{"values": each} for each in values], **usage}).encode()


async def embedded(server: Server, bodies: list[bytes], inputs: list[str] | str) -> list[Event]:
    server.bodies = bodies
    dialect = GeminiDialect(Wire(Bounds()))
    wanted = call(server, stream=False, operation="embeddings", input=inputs)
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await dialect.aclose()


async def test_embeddings_are_one_canonical_answer_in_the_order_of_their_texts(server: Server) -> None:
    [event] = await embedded(server, [vectors([0.5, 1], [-2.25, 3e-3], tokens=7)], ["a", "b"])
    [choice] = event["choices"]
    assert choice == {"index": 0, "message": {"role": "assistant", "embeddings": [[0.5, 1], [-2.25, 0.003]]}, "finish_reason": "stop"}
    assert from_openai(event["usage"]) == Usage(prompt=7)
    assert server.sent[0][0].startswith("POST /prefix/v1beta/models/tuned%2Ffast%201:batchEmbedContents ")


async def test_many_texts_are_several_requests_and_their_usage_the_sum(server: Server) -> None:
    many = vectors(*([float(number)] for number in range(100)), tokens=100)
    [event] = await embedded(server, [many, many, vectors([7.0], tokens=1), b""], ["text"] * 201)
    assert [len(sent["requests"]) for _, _, sent in server.sent] == [100, 100, 1]
    assert [vector[0] for vector in event["choices"][0]["message"]["embeddings"]] == [*range(100), *range(100), 7]
    assert event["usage"]["prompt_tokens"] == 201


async def test_usage_of_a_part_of_the_texts_is_none(server: Server) -> None:
    many = vectors(*([1.0] for _ in range(100)), tokens=100)
    [event] = await embedded(server, [many, vectors([7.0]), b""], ["text"] * 101)
    assert "usage" not in event


async def test_a_large_answer_is_read_beside_the_other_streams(server: Server) -> None:
    [event] = await embedded(server, [vectors([1 / 3] * 20_000)], "a")
    assert event["choices"][0]["message"]["embeddings"] == [[1 / 3] * 20_000]
    assert "usage" not in event


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        *(
            (body, ProviderInvalidAnswer)
            for body in (b"", b"[]", b"{}", b'{"embeddings": 1}', b'{"embeddings": [{}]}', b'{"embeddings": [1]}')
        ),
        *((vectors(*rows), ProviderInvalidAnswer) for rows in ([], [[]], [[1.0], [1.0]], [["a"]], [[None]], [[True]])),
        (b'{"embeddings": [{"values": [1e999]}]}', ProviderInvalidAnswer),
        (b'{"error": {"code": 503, "message": "secret"}}', ProviderOverloaded),
    ],
)
async def test_embeddings_that_are_none_are_an_error(server: Server, body: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        await embedded(server, [body], "a")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


# What is sent


def test_embeddings_are_asked_for_a_hundred_texts_at_a_time() -> None:
    adjusted: list[str] = []
    texts = [f"text {number}" for number in range(250)]
    body = {"input": texts, "model": "x", "dimensions": 8, "encoding_format": "base64", "user": "me"}
    sizes = list(batches(gemini_sent.call(body, model="gemini-embedding-001", operation="embeddings", adjusted=adjusted)))
    assert [len(batch) for batch in sizes] == [100, 100, 50]
    first = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "text 0"}]}, "outputDimensionality": 8}
    assert sizes[0][0] == first
    assert adjusted == ["user"]


def test_one_text_is_one_request() -> None:
    [batch] = batches(gemini_sent.call({"input": "Hi"}, operation="embeddings"))
    assert batch == [{"model": f"models/{gemini_sent.OLD}", "content": {"parts": [{"text": "Hi"}]}}]


@pytest.mark.parametrize(("given", "place"), [([1, 2], "input[0]"), (["a", [1]], "input[1]")])
def test_tokens_cannot_be_embedded(given: list[Any], place: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        list(batches(gemini_sent.call({"input": given}, operation="embeddings")))
    assert caught.value.param == place
