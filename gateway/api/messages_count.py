"""POST messages/count_tokens: how long a prompt is by its model's tokenizer. Free: nothing is held, charged or recorded."""

import asyncio
from typing import Any, Final, cast

from litestar import MediaType, Request, Response, post
from litestar.datastructures import State

from gateway.api import messages_body
from gateway.api.account import caller_of
from gateway.api.inference import INLINE_BYTES_MAX
from gateway.api.messages_reply import error_body
from gateway.api.rules import raw_body
from gateway.asgi import request_id_of
from gateway.errors import Busy, log_unforeseen, problem
from gateway.services import Services
from policy.caller import Caller
from policy.errors import Forbidden
from policy.wanted import resolve
from providers import prompt

AT_ONCE_MAX: Final = 32
"""Counting is all work and costs nobody anything, so it may not crowd out the requests that are paid for."""
Plain = Request[Any, Any, Any]


def refused(request: Plain, error: Exception) -> Response[Any]:
    """Errors as Anthropic's clients read them."""
    found = problem(error)
    log_unforeseen(found, error, "messages/count_tokens")
    body = error_body(found, request_id_of(cast("dict[str, Any]", request.scope)))
    return Response(body, status_code=found.status, headers=found.headers, media_type=MediaType.JSON)


@post(
    ["/v1/messages/count_tokens", "/api/v1/messages/count_tokens"],
    status_code=200,
    summary="Counts the tokens of a prompt in the shape of POST messages; free",
    exception_handlers={Exception: refused},
)
async def count_tokens(request: Plain, state: State) -> dict[str, int]:
    at: Services = state.services
    caller = await caller_of(request, at)
    if caller.kind == "management":
        raise Forbidden("This is a management key: it may use the account API, but not call models. Create an inference key.")
    raw = await raw_body(request, bytes_max=at.settings.body_bytes_max, seconds_max=at.settings.body_seconds)
    if _RUNNING.number >= AT_ONCE_MAX:
        raise Busy("Too busy: too many prompts are being counted. Try again in a moment.")
    _RUNNING.number += 1
    try:
        return {"input_tokens": await _count(raw, caller, at)}
    finally:
        _RUNNING.number -= 1


async def _count(raw: bytes, caller: Caller, at: Services) -> int:
    """UnknownModel as for an answer; of several models it is the first one's tokenizer."""
    presets = caller.rules.presets
    inline = len(raw) <= INLINE_BYTES_MAX
    read = _read(raw, presets) if inline else await asyncio.to_thread(_read, raw, presets)
    model = resolve(read.request, at.catalog, caller.rules, 0.0)[0].model
    tokenizer = await asyncio.to_thread(at.tokenizer, at.catalog.models[model].tokenizer)
    return await prompt.count(read.request.body.reveal(), tokenizer)


def _read(raw: bytes, presets: Any) -> messages_body.Read:
    return messages_body.parse(raw, presets, counting=True)


class _Running:
    number = 0


_RUNNING: Final = _Running()
