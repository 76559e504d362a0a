"""POST route/explain: which endpoints a chat request would get, in which order and why. No provider is called, nothing is charged."""

import asyncio
import secrets
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.params import QueryParameter

from gateway.api import chat_body
from gateway.api.account import caller_of
from gateway.api.inference import INLINE_BYTES_MAX
from gateway.api.rules import raw_body
from gateway.deprecation import day
from gateway.errors import BadRequest
from gateway.explanation import OF_PROMPT, OF_SIZE, PROMPT_TOKENS, explanation
from gateway.services import Services
from metering.money import now_ms
from policy.caller import Caller
from policy.route import draw_of
from providers.provider import ChatRequest

STAND_IN: Final = [{"role": "user", "content": "?"}]
"""The messages of a request that has none."""
_DRAW: Final = "A number from 0 up to 1, as in an earlier answer, to see the same order again; without it, a new one"
Plain = Request[Any, Any, Any]


@post(
    ["/v1/route/explain", "/api/v1/route/explain"],
    status_code=200,
    summary="Explains the route of a chat request: the funnel, the order with its reasons, the ceiling",
)
async def explain_route(
    request: Plain, state: State, draw: Annotated[float | None, QueryParameter(name="draw", description=_DRAW)] = None
) -> dict[str, Any]:
    """Any kind of key may ask; the answer is by the rules of its account and the provider health that this process knows."""
    at: Services = state.services
    caller = await caller_of(request, at)
    if draw is None:
        draw = draw_of(secrets.token_hex(8))
    elif not 0 <= draw < 1:
        raise BadRequest("draw: write a number from 0 up to, but not including, 1.", param="draw")
    raw = await raw_body(request, bytes_max=at.settings.body_bytes_max, seconds_max=at.settings.body_seconds)
    asked, assumed = read_asked(raw, caller) if len(raw) <= INLINE_BYTES_MAX else await asyncio.to_thread(read_asked, raw, caller)
    return explanation(
        asked,
        at.catalog,
        assumed=(assumed,),
        keys=at.provider_keys.keys(),
        rules=caller.rules,
        stats=at.health.stats,
        draw=draw,
        own_keys=caller.own_keys,
        today=day(now_ms()),
        charged=at.tariffs.of(caller).charged,
    )


def read_asked(raw: bytes, caller: Caller) -> tuple[ChatRequest, str]:
    """The request, and what was assumed of its prompt's length."""
    body = chat_body.decode(raw)
    if body.get("messages") is not None:
        return chat_body.parse(raw, caller.rules.presets), OF_SIZE
    raw = msgspec.json.encode({**body, "messages": STAND_IN})
    return msgspec.structs.replace(chat_body.parse(raw, caller.rules.presets), prompt_tokens_max=PROMPT_TOKENS), OF_PROMPT
