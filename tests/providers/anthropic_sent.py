"""A call of the anthropic dialect for tests, and its body as the API would take it."""

import base64
from typing import Any

import msgspec
import pytest

from metering.price import Price
from providers.anthropic_request import headers, payload
from providers.content import Content
from providers.errors import Inexpressible
from providers.provider import Call, ChatRequest, Endpoint, Model, Provider
from tests.fakes.anthropic_checks import complaints

USER: Any = {"role": "user", "content": "Hello"}
LOOKUP: Any = {
    "type": "function",
    "function": {"name": "lookup", "description": "Finds.", "parameters": {"type": "object", "properties": {}}},
}
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"city": "Bern"}'}}
CLAUDE = "anthropic-claude-v1"
THOUGHT: Any = {"type": "reasoning.text", "text": "Hm.", "signature": "signature-of-1", "format": CLAUDE, "index": 0}
PNG = base64.b64encode(b"png").decode()


def call(
    *messages: Any, model: str = "some-model", limit: int | None = 8000, output_max: int | None = None, stream: bool = False, **fields: Any
) -> tuple[Call, list[str]]:
    adjusted: list[str] = []
    provider = Provider(slug="a", name="A", dialect="anthropic", base_url="http://127.0.0.1:9")
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
    )
    body = {"model": "a/b", "messages": list(messages), "stream": stream, **fields}
    request = ChatRequest(
        body=Content(body), model="a/b", stream=stream, include_usage=False, max_tokens=None, n=fields.get("n", 1), prompt_tokens_max=10
    )
    return Call(
        request=request, endpoint=endpoint, api_key="sk-key", max_tokens=limit, generation_id="gen-1", adjust=adjusted.append
    ), adjusted


def sent(*messages: Any, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The body, which the API would take, and the names of what was adjusted."""
    made, adjusted = call(*messages, **fields)
    body = msgspec.json.decode(payload(made))
    assert list(complaints(body, headers(made))) == []
    return body, adjusted


def refused(*messages: Any, **fields: Any) -> str:
    with pytest.raises(Inexpressible) as caught:
        payload(call(*messages, **fields)[0])
    assert caught.value.param
    return caught.value.param


def blocks(*messages: Any, **fields: Any) -> list[tuple[str, list[Any]]]:
    """The turns, and that nothing had to be adjusted."""
    body, adjusted = sent(*messages, **fields)
    assert adjusted == []
    return [(turn["role"], turn["content"]) for turn in body["messages"]]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}
