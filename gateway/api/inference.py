"""Every POST that costs money: who calls, what they ask, and a watch on the client while the generation's own task answers.

A client API is a `ClientApi`: how its body becomes the canonical request, and how its answers and refusals look.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway import idempotency
from gateway.asgi import Receive, Scope, cutter, headers_of, read_body, request_id_of, send_refusal, token_of
from gateway.errors import Busy, ClientGone, Problem, log_unforeseen, problem
from gateway.generation import Generation, Interrupt
from gateway.hiding import hide_reasoning
from gateway.ids import Ids
from gateway.pipeline import answer
from gateway.recording import record
from gateway.resuming import HEADER as RESUMABLE
from gateway.resuming import make_resumable
from gateway.services import Services
from gateway.streaming import Reply, Send, Writer
from gateway.timing import Timing
from metering.money import now_ms
from policy.caller import Caller
from policy.errors import Forbidden
from policy.idempotency import Claim
from policy.presets import Preset
from policy.privacy import Level, level_of, strictest
from policy.shedding import shed
from providers.provider import ChatRequest

INLINE_BYTES_MAX: Final = 256 * 1024
"""A larger body is parsed in a thread: at 3 ms it would delay every other stream."""
TITLE_CHARACTERS_MAX: Final = 64
SESSION_CHARACTERS_MAX: Final = 256
LOGGING: Final = b"x-tollway-logging"
IDS: Final = Ids()


class Asked(msgspec.Struct, frozen=True):
    """What a client asked for, as the pipeline takes it, and how its answer is to be written."""

    request: ChatRequest
    reply: Callable[[Writer], Reply]


class ClientApi(msgspec.Struct, frozen=True, kw_only=True):
    """`route` below /v1, which an Idempotency-Key is bound to; `parse` takes the body and the account's presets; BadRequest from it.

    `refusal` is the body of an error before the answer began, given the answer's x-request-id.
    """

    route: str
    parse: Callable[[bytes, Mapping[str, Preset]], Asked]
    refusal: Callable[[Problem, str | None], dict[str, Any]] = lambda problem, request_id: problem.body()


async def serve(api: ClientApi, scope: Scope, receive: Receive, send: Send, at: Services) -> None:
    """Refusals that need no plan are answered here; everything else is the generation's."""
    headers = headers_of(scope)
    created_ms, timing = now_ms(), Timing()
    try:
        caller = await _inference_caller(headers, created_ms, at)
        timing.lap("auth")
        _refuse_if_too_busy(caller, at)
        raw = await read_body(receive, headers, bytes_max=at.settings.body_bytes_max, seconds_max=at.settings.body_seconds)
        presets = caller.rules.presets
        level = level_of(headers[LOGGING].decode("latin-1"), "X-Tollway-Logging") if LOGGING in headers else None
        asked = api.parse(raw, presets) if len(raw) <= INLINE_BYTES_MAX else await asyncio.to_thread(api.parse, raw, presets)
        claim = None
        if idempotency.HEADER in headers:
            claim = await idempotency.claim_of(headers, raw, route=api.route, account_id=caller.account_id, at=at)
        timing.lap("body")
    except ClientGone:
        return
    except Exception as error:  # noqa: BLE001 - the edge: every refusal becomes JSON with its status
        refusal = problem(error)
        log_unforeseen(refusal, error, api.route)
        timing.lap("refusal")
        await send_refusal(send, refusal, api.refusal(refusal, request_id_of(scope)), timing)
        return
    adjusted = list(asked.request.adjusted)
    writer = Writer(send, cut=cutter(scope), timing=timing, adjusted=adjusted, request_id=request_id_of(scope))
    generation = _generation(asked, caller, headers, created_ms, writer, claim, timing, adjusted, level)
    if asked.request.stream and headers.get(RESUMABLE, b"").lower() == b"on":
        make_resumable(generation, writer, at)
    record(generation, at)
    hide_reasoning(generation)
    await _own(generation, receive, at)


def _refuse_if_too_busy(caller: Caller, at: Services) -> None:
    """Before anything is read or held: Busy says why."""
    queue_ms, lag_ms = at.ledger.waiting_ms, int(at.watch.lag_seconds * 1000)
    reason = shed(len(at.watch.live), at.settings.generations_max, queue_ms, lag_ms, caller.free_tier)
    if reason is not None:
        at.telemetry.metrics.shed += 1
        raise Busy(f"Too busy: {reason}. Try again in a moment; nothing was sent or charged.")


async def _inference_caller(headers: dict[bytes, bytes], now: int, at: Services) -> Caller:
    caller = await at.callers.identify(token_of(headers), now)
    if caller.kind == "management":
        raise Forbidden("This is a management key: it may use the account API, but not call models. Create an inference key.")
    return caller


def _generation(
    asked: Asked,
    caller: Caller,
    headers: dict[bytes, bytes],
    created_ms: int,
    writer: Writer,
    claim: Claim | None,
    timing: Timing,
    adjusted: list[str],
    asked_level: Level | None,
) -> Generation:
    id = IDS.generation(created_ms)
    writer.headers.append((b"x-generation-id", id.encode()))
    return Generation(
        id=id,
        request=asked.request,
        caller=caller,
        reply=asked.reply(writer),
        created_ms=created_ms,
        clock=asyncio.get_running_loop().time(),
        origin=origin_of(headers.get(b"http-referer") or headers.get(b"referer")),
        title=title_of(headers.get(b"x-title") or headers.get(b"x-openrouter-title")),
        claim=claim,
        session_id=headers.get(b"x-session-id", b"").decode("latin-1")[:SESSION_CHARACTERS_MAX] or None,
        traced=headers.get(b"x-tollway-trace", b"").lower() == b"on",
        timing=timing,
        adjusted=adjusted,
        notices=writer.notices,
        level=strictest(caller.level, asked_level),
        traceparent=headers[b"traceparent"].decode("latin-1") if b"traceparent" in headers else None,
        unwatched=b"1" in (headers.get(b"sec-gpc"), headers.get(b"dnt")),
    )


async def _own(generation: Generation, receive: Receive, at: Services) -> None:
    """Starts the owner and waits for the client to leave or for the answer to be complete, which ASGI reports alike.

    A taped answer goes on without its client; its tape interrupts it once nobody could listen any more.
    """
    owner = asyncio.get_running_loop().create_task(answer(generation, at))
    generation.owner = owner
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    if not owner.done():
        if not generation.detach():
            generation.interrupt(Interrupt.CLIENT_LEFT)
        await asyncio.shield(owner)


def origin_of(referer: bytes | None) -> str | None:
    """The scheme and host of HTTP-Referer; its path and query may hold anything, so they are not kept."""
    try:
        parts = urlsplit((referer or b"").decode("latin-1"))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:200] if parts.scheme in ("http", "https") and parts.netloc else None
    except ValueError:
        return None


def title_of(title: bytes | None) -> str | None:
    text = (title or b"").decode("utf-8", "replace").strip()
    return "".join(character for character in text if character.isprintable())[:TITLE_CHARACTERS_MAX] or None
