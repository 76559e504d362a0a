"""A call of the gemini dialect for tests, and its body, which must be one that Google's own rules allow."""

import json
from typing import Any

from metering.price import Price
from providers.content import Content
from providers.gemini_request import payload
from providers.provider import Call, ChatRequest, Endpoint, Model, Operation, Provider
from tests.fakes.gemini_checks import complaints

OLD, NEW = "gemini-2.5-flash", "gemini-3.8-flash"
PNG = "iVBORw0KGgo="


def call(
    body: dict[str, Any], *, model: str = OLD, limit: int | None = None, adjusted: list[str] | None = None, operation: Operation = "chat"
) -> Call:
    provider = Provider(slug="google", name="Google", dialect="gemini", base_url="https://example.com/v1beta")
    known = Model(id="google/flash", name="Flash", company="google", context_length=100_000)
    price = Price(prompt=1, completion=1)
    endpoint = Endpoint(
        id="google/flash", model=known, provider=provider, upstream_model=model, price=price, price_id=price.id, context_length=100_000
    )
    request = ChatRequest(
        body=Content(body),
        operation=operation,
        model="google/flash",
        stream=False,
        include_usage=False,
        max_tokens=limit,
        n=body.get("n") or 1,
        prompt_tokens_max=10,
    )
    names = [] if adjusted is None else adjusted
    return Call(request=request, endpoint=endpoint, api_key="k", max_tokens=limit, generation_id="gen-1-abc", adjust=names.append)


def sent(*messages: dict[str, Any], model: str = OLD, limit: int | None = None, adjusted: list[str] | None = None, **fields: Any) -> Any:
    """The body, which must be one that Google's own rules allow."""
    body = json.loads(payload(call({"messages": list(messages), **fields}, model=model, limit=limit, adjusted=adjusted)))
    assert list(complaints(body, model)) == []
    return body


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def asked(id: str = "call_1", name: str = "lookup", arguments: str = '{"city":"Zürich"}') -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: Any, id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}
