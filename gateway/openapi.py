"""/openapi.json: Litestar's own description of its routes, and the raw chat route added from the struct that checks its body."""

from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.openapi import OpenAPIConfig

from gateway.api.chat_body import ChatBody

CONFIG: Final = OpenAPIConfig(title="Tollway", version="1", path="/schema", render_plugins=[])
CHAT_PATHS: Final = {"V1ChatCompletions": "/v1/chat/completions", "ApiV1ChatCompletions": "/api/v1/chat/completions"}


@get("/openapi.json", include_in_schema=False)
async def document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    schema = dict(request.app.openapi_schema.to_schema())
    (reference,), components = msgspec.json.schema_components([ChatBody], ref_template="#/components/schemas/{name}")
    chat = {
        "summary": "Answer a chat request, streamed or whole",
        "security": [{"key": []}],
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {
            "200": {"description": "A chat completion, or server-sent events when `stream` is true", "headers": _HEADERS},
            **{str(status): {"description": text} for status, text in _REFUSALS.items()},
        },
    }
    schema["paths"] = {**schema.get("paths", {}), **{path: {"post": {"operationId": id, **chat}} for id, path in CHAT_PATHS.items()}}
    known = schema.get("components", {})
    schema["components"] = {
        **known,
        "schemas": {**known.get("schemas", {}), **components},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "sk-tw-v1-..."}},
    }
    return schema


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
