"""Raw ASGI for the hot routes: the request's headers and bounded body in, JSON out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.errors import BadRequest, ClientGone, Problem
from gateway.streaming import Send, Writer
from gateway.timing import Timing

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

REQUEST_ID: Final = "tollway.request_id"
"""Where in a scope the x-request-id of its answer stands."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Lower-case names; of a repeated header the last one counts."""
    return dict(scope["headers"])


def token_of(headers: dict[bytes, bytes]) -> str | None:
    """The token of `Authorization: Bearer`; without that header the one of `x-api-key`, which Anthropic's clients send."""
    if b"authorization" not in headers:
        return headers.get(b"x-api-key", b"").decode("latin-1").strip() or None
    scheme, _, token = headers[b"authorization"].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def request_id_of(scope: Scope) -> str | None:
    request_id: bytes | None = scope.get(REQUEST_ID)
    return request_id.decode() if request_id is not None else None


def cutter(scope: Scope) -> Callable[[], None]:
    """Closes the client's connection at once, whatever waits to be sent; does nothing under a server that cannot."""
    extension = (scope.get("extensions") or {}).get("tollway.cut", {})
    cut: Callable[[], None] = extension.get("cut", lambda: None)
    return cut


async def read_body(receive: Receive, headers: dict[bytes, bytes], *, bytes_max: int, seconds_max: float) -> bytes:
    """The whole body. BadRequest 413 beyond `bytes_max`, 408 beyond `seconds_max`; ClientGone if the client left."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > bytes_max:
        raise _too_large(bytes_max)
    message = await _receive(receive, seconds_max)
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _bounded(body, bytes_max)
    deadline = asyncio.get_running_loop().time() + seconds_max
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await _receive(receive, deadline - asyncio.get_running_loop().time())
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            raise _too_large(bytes_max)
    return b"".join(parts)


async def send_problem(send: Send, problem: Problem, headers: list[tuple[bytes, bytes]]) -> None:
    await Writer(send, headers).json(problem.status, problem.body(), problem.headers)


async def send_refusal(send: Send, problem: Problem, body: dict[str, Any], timing: Timing) -> None:
    """A problem in the shape of its client API."""
    await Writer(send, timing=timing).json(problem.status, body, problem.headers)


async def _receive(receive: Receive, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            message = await receive()
    except TimeoutError:
        raise BadRequest("The request body did not arrive in time.", status=408, error_type="timeout") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _bounded(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body


def _too_large(bytes_max: int) -> BadRequest:
    return BadRequest(f"The request body is larger than {bytes_max} bytes.", status=413, error_type="payload_too_large")
