"""What the tests of Responses requests share: small requests, and what becomes of them."""

import json
from typing import Any

import pytest

from gateway.api.responses_body import Echo, parse
from gateway.errors import BadRequest
from providers.provider import ChatRequest

TOOL = {"type": "function", "name": "weather", "description": "The weather.", "parameters": {"type": "object"}, "strict": True}
CLOCK = {"type": "function", "name": "clock", "parameters": None}
NESTED = {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}, "strict": True}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Bern"}',
    "status": "completed",
}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "12 degrees"}
USER = {"role": "user", "content": "Hello"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def body(**fields: object) -> dict[str, Any]:
    return {"model": "acme/fast-1", "input": "Hello", **fields}


def both(**fields: object) -> tuple[ChatRequest, Echo]:
    return parse(json.dumps(body(**fields)).encode())


def parsed(**fields: object) -> ChatRequest:
    return both(**fields)[0]


def sent(**fields: object) -> dict[str, Any]:
    return parsed(**fields).body.reveal()


def messages(*items: object, **fields: object) -> list[dict[str, Any]]:
    return list(sent(input=items, **fields)["messages"])


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parsed(**fields)
    return caught.value
