"""/openapi.json: Litestar's own description of its routes, and the raw inference routes added from the structs that check their bodies."""

import re
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, get
from litestar.openapi import OpenAPIConfig

from gateway.api.chat_body import ChatBody
from gateway.api.completions_body import CompletionBody
from gateway.api.embeddings_body import EmbeddingsBody
from gateway.api.messages_fields import MessagesBody
from gateway.api.responses_fields import ResponsesBody

CONFIG: Final = OpenAPIConfig(title="Tollway", version="1", path="/schema", render_plugins=[])


class Raw(NamedTuple):
    """A route that no framework describes: what it does, the struct that checks its body, and its answer."""

    summary: str
    body: type[msgspec.Struct]
    answer: str


RAW: Final = {
    "chat/completions": Raw("Answer a chat request, streamed or whole", ChatBody, "A chat completion, or server-sent events if `stream`"),
    "completions": Raw("Complete a text, streamed or whole", CompletionBody, "A text completion, or server-sent events if `stream`"),
    "embeddings": Raw("Give each text its vector", EmbeddingsBody, "A list of embeddings, one for each input"),
    "messages": Raw("Answer an Anthropic client", MessagesBody, "A message, or Anthropic's server-sent events if `stream`"),
    "responses": Raw("Answer a Responses request; nothing is stored", ResponsesBody, "A response, or server-sent events if `stream`"),
}
"""By the route below /v1 and /api/v1."""


@get("/openapi.json", include_in_schema=False)
async def document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    schema = dict(request.app.openapi_schema.to_schema())
    bodies = [raw.body for raw in RAW.values()]
    references, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    paths = dict(schema.get("paths", {}))
    for (route, raw), reference in zip(RAW.items(), references, strict=True):
        for prefix in ("/v1", "/api/v1"):
            path = f"{prefix}/{route}"
            paths[path] = {"post": {"operationId": _operation_id(path), **_operation(raw, reference)}}
    for prefix in ("/v1", "/api/v1"):
        path = f"{prefix}/models/{{author}}/{{slug}}/endpoints"
        paths[path] = {"get": {"operationId": _operation_id(path), **_ENDPOINTS}}
    schema["paths"] = paths
    known = schema.get("components", {})
    schema["components"] = {
        **known,
        "schemas": {**known.get("schemas", {}), **components},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "sk-tw-v1-..."}},
    }
    return schema


def _operation_id(path: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[/_{}]", path))


def _operation(raw: Raw, reference: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": raw.summary,
        "security": [{"key": []}],
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {
            "200": {"description": raw.answer, "headers": _HEADERS},
            **{str(status): {"description": text} for status, text in _REFUSALS.items()},
        },
    }


_ENDPOINTS: Final = {
    "summary": "The endpoints of one model: prices, data policies, health",
    "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("author", "slug")],
    "responses": {"200": {"description": "The model and its endpoints"}, "404": {"description": "No model of this id can be used here"}},
}
"""Answered by the route of the model, whose id takes the rest of the path."""
_HEADERS: Final = {"X-Generation-Id": {"schema": {"type": "string"}}, "x-request-id": {"schema": {"type": "string"}}}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "1 to 255 printable ASCII characters. For 24 hours a repetition is answered with 409 and is never charged again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_REFUSALS: Final = {
    400: "A field is wrong; `error.param` names it",
    401: "No key, or not a valid one",
    402: "The balance or the key's limit does not afford one completion token",
    404: "No endpoint can take the request; `error.metadata.routing_funnel` says why",
    409: "The same request came before with this Idempotency-Key; `error.metadata` has its generation_id and, once it has ended, its cost",
    413: "The body is too large",
    422: "Another request came before with this Idempotency-Key",
    429: "A limit of the key, or the provider's; see Retry-After",
    502: "The provider failed",
    503: "Busy; see Retry-After",
    504: "The provider took too long",
}
