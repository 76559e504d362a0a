"""A call of the bedrock dialect for tests, and its body as the API would take it."""

import base64
from typing import Any

import msgspec
import pytest

from metering.price import Price
from providers.bedrock_request import payload
from providers.content import Content
from providers.errors import Inexpressible
from providers.provider import Call, ChatRequest, Endpoint, Model, Provider
from tests.fakes.bedrock_checks import complaints

USER: Any = {"role": "user", "content": "Hello"}
LOOKUP: Any = {
    "type": "function",
    "function": {"name": "lookup", "description": "Finds.", "parameters": {"type": "object", "properties": {}}},
}
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"city": "Bern"}'}}
FORMAT = "anthropic-claude-v1"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OPUS = "us.anthropic.claude-opus-4-7"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
PNG = base64.b64encode(b"png").decode()


def call(
    *messages: Any,
    model: str = SONNET,
    limit: int | None = 8000,
    output_max: int | None = None,
    stream: bool = False,
    base_url: str = "http://127.0.0.1:9",
    api_key: str | None = None,
    capabilities: frozenset[str] = frozenset({"text", "tools", "json_schema"}),
    **fields: Any,
) -> tuple[Call, list[str]]:
    adjusted: list[str] = []
    provider = Provider(slug="a", name="A", dialect="bedrock", base_url=base_url)
    made = Model(id="a/b", name="B", company="a", context_length=100_000)
    price = Price(prompt=1, completion=1)
    endpoint = Endpoint(
        id="a/a/b",
        model=made,
        provider=provider,
        upstream_model=model,
        price=price,
        price_id=price.id,
        context_length=100_000,
        max_output_tokens=output_max,
        capabilities=capabilities,
    )
    embeds = "input" in fields
    body = {"model": "a/b", **({} if embeds else {"messages": list(messages), "stream": stream}), **fields}
    request = ChatRequest(
        body=Content(body),
        operation="embeddings" if embeds else "chat",
        model="a/b",
        stream=stream,
        include_usage=False,
        max_tokens=None,
        n=fields.get("n", 1),
        prompt_tokens_max=10,
    )
    made_call = Call(request=request, endpoint=endpoint, api_key=api_key, max_tokens=limit, generation_id="gen-1", adjust=adjusted.append)
    return made_call, adjusted


def sent(*messages: Any, model: str = SONNET, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The body, which the API would take, and the names of what was adjusted."""
    made, adjusted = call(*messages, model=model, **fields)
    body = msgspec.json.decode(payload(made))
    assert list(complaints(body, model)) == []
    return body, adjusted


def kept(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The body, for which nothing had to be adjusted."""
    body, adjusted = sent(*messages, **fields)
    assert adjusted == []
    return body


def refused(*messages: Any, **fields: Any) -> str:
    with pytest.raises(Inexpressible) as caught:
        payload(call(*messages, **fields)[0])
    assert caught.value.param
    return caught.value.param


def turns(*messages: Any, **fields: Any) -> list[tuple[str, list[Any]]]:
    return [(turn["role"], turn["content"]) for turn in kept(*messages, **fields)["messages"]]
