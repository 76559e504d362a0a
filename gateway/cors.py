"""Which web pages may call the API: all of them. A key is sent by the page's own code, never by the browser, so no page gets at another's.

OPTIONS is answered for every path of the API without a key, as browsers send none, and without a look at whether the route exists.
"""

from typing import Any, Final

from gateway.streaming import Send

PREFIXES: Final = ("/v1/", "/api/v1/")
METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_STAINLESS: Final = (
    *("Arch", "Async", "Custom-Poll-Interval", "Helper", "Helper-Method", "Lang", "OS", "Package-Version", "Poll-Helper", "Raw-Response"),
    *("Read-Timeout", "Retry-Count", "Runtime", "Runtime-Version", "Stream-Helper", "Timeout"),
)
SENT: Final = (
    *("Authorization", "Content-Type", "Accept", "User-Agent", "HTTP-Referer", "X-Title", "X-OpenRouter-Title", "X-OpenRouter-Categories"),
    *("X-OpenRouter-App-Visibility", "X-OpenRouter-Metadata", "X-OpenRouter-Experimental-Metadata", "X-OpenRouter-Cache"),
    *("X-OpenRouter-Cache-TTL", "X-OpenRouter-Cache-Clear", "X-Session-Id", "X-Session-Affinity", "Idempotency-Key", "X-Api-Key"),
    *("Anthropic-Version", "Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "X-Anthropic-Beta", "OpenAI-Organization"),
    *("OpenAI-Project", "OpenAI-Beta", "X-Tollway-Trace", "X-Tollway-Resumable", "Last-Event-ID", "traceparent", "tracestate", "baggage"),
    *(f"X-Stainless-{name}" for name in _STAINLESS),
    "*",
)
"""By name what clients are known to send, as `*` never stands for Authorization, nor for anything in an old browser."""
READ: Final = (
    *("X-Generation-Id", "X-Tollway-Adjusted", "X-Tollway-Deprecated", "X-Request-Id", "Retry-After", "X-Should-Retry", "Server-Timing"),
    "Content-Disposition",
)

HEADERS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", ", ".join(READ).encode()),
)
"""On every response of the API."""
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", METHODS.encode()),
    (b"access-control-allow-headers", ", ".join(SENT).encode()),
    (b"access-control-max-age", b"86400"),
)


def is_api(path: str) -> bool:
    return path.startswith(PREFIXES)


def asks(scope: dict[str, Any]) -> bool:
    return bool(scope["method"] == "OPTIONS" and is_api(scope["path"]))


async def allow(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
