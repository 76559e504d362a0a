"""The faults that stand in place of an answer: refused, broken, silent or monstrous responses."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping

from tests.fakes.completions import error_body
from tests.fakes.faults import MIB, Json
from tests.fakes.framing import dumps
from tests.fakes.sending import JSON_TYPE, OPERATOR_HEADERS, Exchange, send_body, send_head, send_json
from tests.fakes.usage import text_of

SSE_TYPE = "text/event-stream; charset=utf-8"
LEAKED_KEY = "sk-secret-upstream-key"
LEAKED_HOST = "10.7.7.7"

_KINDS = {400: "invalid_request_error", 401: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 429: "requests"}


async def refuse(x: Exchange) -> bool | None:
    """Plays the first such fault of the plan: whether the connection lives on, or None when there is none."""
    for name, play in REFUSALS.items():
        if x.plan.has(name) and (name != "needs-key" or x.request.headers.get("authorization") != "Bearer good-key"):
            return await play(x)
    return None


async def _status(x: Exchange) -> bool:
    status = x.plan.number("status", 500)
    kind = "insufficient_quota" if x.plan.text("code") == "insufficient_quota" else _KINDS.get(status, "server_error")
    kind = "invalid_request_error" if kind == "server_error" and status < 500 else kind
    message = x.plan.text("message", f"The fake provider answers {status}.")
    headers = {"retry-after": x.plan.text("retry_after")} if "retry_after" in x.plan.params else {}
    return await send_json(x, status, error_body(message, kind=kind, code=x.plan.text("code") or None), headers=headers)


async def _rate_limit(x: Exchange) -> bool:
    headers = {"retry-after": x.plan.text("secs"), "x-ratelimit-remaining-requests": "0", **OPERATOR_HEADERS}
    body = error_body(x.plan.text("message"), kind="requests", code=x.plan.text("code"))
    return await send_json(x, x.plan.number("status"), body, headers=headers)


async def _html(x: Exchange) -> bool:
    page = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
    return await send_body(x, x.plan.number("status"), page, kind="text/html")


async def _empty(x: Exchange) -> bool:
    return await send_body(x, x.plan.number("status"), b"", kind="text/plain")


async def _echo_prompt(x: Exchange) -> bool:
    text = " ".join(text_of(message) for message in _messages(x))
    return await send_json(
        x, 400, error_body(f"Invalid prompt: {text}", kind="invalid_request_error", code="invalid_prompt", param="messages")
    )


async def _context_length(x: Exchange) -> bool:
    message = "This model's maximum context length is 10 tokens. Please reduce the length of the messages."
    error = error_body(message, kind="invalid_request_error", code="context_length_exceeded", param="messages")
    return await send_json(x, 400, error)


async def _leaky(x: Exchange) -> bool:
    message = f"Incorrect API key provided: {LEAKED_KEY}. Asked http://{LEAKED_HOST}:8000/v1 for org-operator-secret."
    error = error_body(message, kind="invalid_request_error", code="invalid_api_key")
    return await send_json(x, x.plan.number("status"), error, headers=OPERATOR_HEADERS)


async def _needs_key(x: Exchange) -> bool:
    message = "You didn't provide a correct API key in an Authorization header (i.e. Authorization: Bearer YOUR_KEY)."
    return await send_json(x, 401, error_body(message, kind="invalid_request_error", code="invalid_api_key"))


async def _reset(x: Exchange) -> bool:
    return x.reset()


async def _close(x: Exchange) -> bool:
    return x.close()


async def _stall(x: Exchange) -> bool:
    await x.forever()
    return False


async def _headers_then_stall(x: Exchange) -> bool:
    length = (
        {"content-type": SSE_TYPE, "transfer-encoding": "chunked"}
        if x.record.stream
        else {"content-type": JSON_TYPE, "content-length": "99"}
    )
    await send_head(x, 200, length)
    await x.forever()
    return False


async def _redirect(x: Exchange) -> bool:
    return await send_body(x, x.plan.number("status"), b"", kind="text/plain", headers={"location": x.plan.text("location")})


async def _empty_body(x: Exchange) -> bool:
    return await send_body(x, 200, b"", kind=SSE_TYPE if x.record.stream else JSON_TYPE)


async def _bad_json(x: Exchange) -> bool:
    body = '{"id": "chatcmpl-0", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "Hel'
    return await _monster(x, [f"data: {body}\n\n".encode()] if x.record.stream else [body.encode()])


async def _huge_body(x: Exchange) -> bool:
    row = {"index": 0, "message": {"role": "assistant", "content": "@"}, "finish_reason": "stop"}
    head, _, tail = dumps({"id": "chatcmpl-0", "object": "chat.completion", "model": "huge-body", "choices": [row]}).partition("@")
    start = ("data: " if x.record.stream else "") + head
    return await _monster(x, [start.encode(), *([b"x" * MIB] * x.plan.number("mb")), tail.encode()])


async def _gzip_bomb(x: Exchange) -> bool:
    """One packed block, repeated: a full flush lets it stand at any place of the stream."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(b" " * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    number, crc = x.plan.number("mb"), 0
    for _ in range(number):
        crc = zlib.crc32(b" " * MIB, crc)
        await asyncio.sleep(0)
    trailer = b"\x03\x00" + crc.to_bytes(4, "little") + (number * MIB % 2**32).to_bytes(4, "little")
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return await _monster(x, [header, *([block] * number), trailer], headers={"content-encoding": "gzip"})


async def _monster(x: Exchange, parts: list[bytes], headers: dict[str, str] | None = None) -> bool:
    kind = SSE_TYPE if x.record.stream else JSON_TYPE
    await send_head(x, 200, {"content-type": kind, "content-length": str(sum(map(len, parts))), **(headers or {})})
    for part in parts[:-1]:
        await x.wire.send(part)
    x.record.finish("failed")
    await x.wire.send(parts[-1])
    return x.request.keep_alive


def _messages(x: Exchange) -> list[Json]:
    return x.wish.messages if x.wish else []


REFUSALS: Mapping[str, Callable[[Exchange], Awaitable[bool]]] = {
    "stall-before-headers": _stall,
    "reset-before-headers": _reset,
    "close-before-headers": _close,
    "needs-key": _needs_key,
    "rate-limit": _rate_limit,
    "status": _status,
    "status-html": _html,
    "status-empty": _empty,
    "echo-prompt-error": _echo_prompt,
    "context-length": _context_length,
    "leaky-error": _leaky,
    "redirect": _redirect,
    "headers-then-stall": _headers_then_stall,
    "empty-body": _empty_body,
    "bad-json": _bad_json,
    "huge-body": _huge_body,
    "gzip-bomb": _gzip_bomb,
}
