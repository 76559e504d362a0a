"""A marked word in every place of a request where a client's words can stand, for tests of what must not be seen elsewhere."""

from typing import Any

CANARY = "canary-5b1e-telemetry"
HEADERS = {
    "X-Title": f"{CANARY} app",
    "HTTP-Referer": f"https://{CANARY}.example/{CANARY}",
    "X-Session-Id": CANARY,
    "tracestate": f"vendor={CANARY}",
    "baggage": f"user={CANARY}",
    "Idempotency-Key": f"{CANARY}-1",
}
BODY: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": f"Repeat {CANARY}."},
        {"role": "user", "name": CANARY, "content": f"Say {CANARY} again."},
    ],
    "user": CANARY,
    "metadata": {CANARY: CANARY},
    "tools": [{"type": "function", "function": {"name": CANARY, "description": CANARY, "parameters": {}}}],
}


def headers(number: int) -> dict[str, str]:
    """With an Idempotency-Key of its own."""
    return {**HEADERS, "Idempotency-Key": f"{CANARY}-{number}"}
