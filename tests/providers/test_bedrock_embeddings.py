"""Embeddings from Bedrock: Titan a call per text, Cohere a call per 96, in the order of the texts, and what cannot be had."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from metering.usage import Usage, from_openai
from providers.bedrock import EMBEDDING_CALLS_AT_ONCE
from providers.errors import Inexpressible, ProviderInvalidAnswer, ProviderOverloaded
from tests.providers.bedrock_sent import SONNET, call
from tests.providers.bedrock_server import Server, answer, serving

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-v4:0"
COHERE_3 = "cohere.embed-multilingual-v3"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        running.headers = {"content-type": "application/json", "x-amzn-bedrock-input-token-count": "3"}
        yield running


async def embedded(server: Server, body: Any, model: str, given: list[Any], **fields: Any) -> tuple[dict[str, Any], list[str]]:
    made, adjusted = call(model=model, input=given, base_url=server.base_url, **fields)
    [event] = await answer(server, body, made)
    return event, adjusted


async def test_titan_is_asked_for_each_text_and_some_at_a_time(server: Server) -> None:
    texts = [f"text {number}" for number in range(20)]
    for number, text in enumerate(texts):
        server.bodies[msgspec.json.encode({"inputText": text, "dimensions": 256}).decode()] = b'{"embedding": [%d, 0.5]}' % number
    event, adjusted = await embedded(server, {}, TITAN, texts, dimensions=256, encoding_format="base64", user="me")
    assert event["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "embeddings": [[number, 0.5] for number in range(20)]},
            "finish_reason": "stop",
        }
    ]
    assert from_openai(event["usage"]) == Usage(prompt=60)
    assert adjusted == ["user"]
    assert {target for target, _, _ in server.sent} == {"/prefix/model/amazon.titan-embed-text-v2%3A0/invoke"}
    assert 1 < server.most <= EMBEDDING_CALLS_AT_ONCE


async def test_cohere_is_asked_for_many_texts_at_once(server: Server) -> None:
    texts = [f"text {number}" for number in range(100)]
    first = msgspec.json.encode({"texts": texts[:96], "input_type": "search_document"}).decode()
    server.bodies[first] = msgspec.json.encode({"embeddings": [[1.0]] * 96, "response_type": "embeddings_floats"})
    event, adjusted = await embedded(server, {"embeddings": {"float": [[2.0]] * 4}}, COHERE, texts)
    assert event["choices"][0]["message"]["embeddings"] == [[1.0]] * 96 + [[2.0]] * 4
    assert (len(server.sent), adjusted) == (2, [])


@pytest.mark.parametrize(
    ("model", "fields", "sent", "adjusted"),
    [
        (COHERE, {"dimensions": 512, "input_type": "search_query"}, {"input_type": "search_query", "output_dimension": 512}, []),
        (COHERE_3, {"dimensions": 512}, {"input_type": "search_document"}, ["dimensions"]),
    ],
)
async def test_what_cohere_takes_is_sent(
    server: Server, model: str, fields: dict[str, Any], sent: dict[str, Any], adjusted: list[str]
) -> None:
    _, named = await embedded(server, {"embeddings": [[1.0]]}, model, ["a"], **fields)
    assert server.sent[0][2] == {"texts": ["a"], **sent}
    assert named == adjusted


async def test_usage_is_told_only_where_every_call_told_it(server: Server) -> None:
    server.headers = {}
    event, _ = await embedded(server, {"embedding": [1.0], "inputTextTokenCount": 4}, TITAN, ["a", "b"])
    assert from_openai(event["usage"]) == Usage(prompt=8)
    server.bodies['{"inputText":"b"}'] = b'{"embedding": [1.0]}'
    event, _ = await embedded(server, {"embedding": [1.0], "inputTextTokenCount": 4}, TITAN, ["a", "b"])
    assert "usage" not in event


@pytest.mark.parametrize(
    ("model", "given", "place"),
    [
        (TITAN, [[1, 2]], "input[0]"),
        (COHERE, ["a", [1]], "input[1]"),
        (TITAN, ["a"] * 97, "input"),
        (SONNET, ["a"], "model"),
        ("amazon.nova-2-multimodal-embeddings-v1:0", ["a"], "model"),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name(server: Server, model: str, given: list[Any], place: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        await embedded(server, {}, model, given)
    assert caught.value.param == place
    assert server.sent == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", {}, {"embedding": []}, {"embedding": ["x"]}, {"embeddings": [[1.0], [2.0]]}, {"embeddings": {"int8": [[1]]}}),
        *({"embedding": None}, {"embeddings": "x"}),
    ],
)
async def test_an_answer_without_as_many_vectors_is_an_error(server: Server, body: Any) -> None:
    with pytest.raises(ProviderInvalidAnswer):
        await embedded(server, body, TITAN, ["a"])


async def test_vectors_of_several_lengths_are_an_error(server: Server) -> None:
    server.bodies['{"inputText":"b"}'] = b'{"embedding": [1, 2]}'
    with pytest.raises(ProviderInvalidAnswer):
        await embedded(server, {"embedding": [1.0]}, TITAN, ["a", "b"])


async def test_one_call_that_fails_is_the_failure_of_all(server: Server) -> None:
    server.status, server.headers = 429, {"x-amzn-errortype": "ThrottlingException"}
    with pytest.raises(ProviderOverloaded):
        await embedded(server, {"message": "x"}, TITAN, ["a"] * 30)
    assert len(server.sent) < 30
