"""Answers POST chat/completions: reads the wish, plays its faults, streams or sends the answer, and books what it did."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

from tests.fakes.answers import THOUGHTS, Step, Wish, choices, steps
from tests.fakes.completions import Shape, error_body
from tests.fakes.events import Event, Kind, stream_error, stream_events
from tests.fakes.faults import Json
from tests.fakes.framing import dumps, framer
from tests.fakes.ledger import MAX_KEPT_BODY
from tests.fakes.plans import Plan, Plans
from tests.fakes.refusals import SSE_TYPE, refuse
from tests.fakes.sending import JSON_TYPE, OPERATOR_HEADERS, ChunkedBody, Exchange, send_body, send_head, send_json
from tests.fakes.usage import Count, count_for, reported

BEFORE_RESET_S = 0.02


async def answer_chat(x: Exchange, plans: Plans) -> bool:
    """Whether the connection may serve another request."""
    body = _parsed(x.request.body)
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not isinstance(body.get("model"), str):
        message = "We could not parse the JSON body of your request: an object with a model and messages is needed."
        return await send_json(x, 400, error_body(message, kind="invalid_request_error"))
    record, model = x.record, body["model"]
    record.model, record.stream = model, body.get("stream") is True
    record.request_body = body if len(x.request.body) <= MAX_KEPT_BODY else None
    return await converse(x, body, plans)


async def converse(x: Exchange, body: dict[str, Json], plans: Plans) -> bool:
    """`body` is a chat request, the client's own or what another API's was translated into; the answer is in `x.tongue`."""
    record, model = x.record, body["model"]
    if x.wire.poison:
        return x.reset() if x.wire.poison == "rst" else x.close()
    plan = Plan() if x.request.path.startswith("/elsewhere/") else plans.choose(model)
    wish = Wish(body, plan, record.id, body["messages"])
    shown = len(THOUGHTS) * len(choices(wish)) if plan.has("reasoning") else 0
    count = count_for(wish.messages, plan, shown_reasoning=shown)
    record.terms = count.terms
    x = replace(x, plan=plan, wish=wish)
    lives_on = await refuse(x)
    return await _answer(x, wish, count) if lives_on is None else lives_on


async def _answer(x: Exchange, wish: Wish, count: Count) -> bool:
    as_stream = x.record.stream != x.plan.has("stream-answered-with-json" if x.record.stream else "json-answered-with-stream")
    if not x.plan.number("headers"):
        await asyncio.sleep(x.plan.seconds("first_ms"))
    lives_on = await (_stream(x, wish, count) if as_stream else _whole(x, wish, count))
    if x.plan.has("ok-then-close-idle"):
        x.wire.poison = x.plan.text("how")
        if x.wire.poison == "idle":
            asyncio.get_running_loop().call_later(x.plan.seconds("idle_ms"), x.wire.close)
    return lives_on


async def _stream(x: Exchange, wish: Wish, count: Count) -> bool:
    kind = x.plan.text("type") if x.plan.has("wrong-content-type") else x.tongue.stream_type or SSE_TYPE
    packed = {"content-encoding": "gzip"} if x.plan.has("gzip") else {}
    headers = {"content-type": kind, "cache-control": "no-cache", "transfer-encoding": "chunked", **packed, **OPERATOR_HEADERS}
    await send_head(x, 200, headers)
    if x.plan.number("headers"):
        await asyncio.sleep(x.plan.seconds("first_ms"))
    body, frame, pause = ChunkedBody(x), x.tongue.framer() or framer(x.plan, named=x.tongue.named), x.plan.seconds("token_ms")
    for event in x.tongue.events(stream_events(wish, count)):
        if event.kind is Kind.ACT:
            if (lives_on := await _act(x, body, event.data)) is not None:
                return lives_on
            continue
        if pause and event.kind is Kind.TOKEN:
            await asyncio.sleep(pause)
        _book(x, event)
        await body.write(frame(event.data))
    x.record.finish("served")
    return await body.end()


def _book(x: Exchange, event: Event) -> None:
    """Before the bytes leave: a client may be gone in the moment that it has them."""
    x.record.emit(event.tokens)
    if isinstance(event.data, dict) and "usage" in event.data:
        x.record.reported_usage = event.data["usage"]
    if event.kind in (Kind.DONE, Kind.ERROR):
        x.record.finish("served" if event.kind is Kind.DONE else "failed")


async def _act(x: Exchange, body: ChunkedBody, act: str) -> bool | None:
    """Breaks or stalls a stream: whether the connection lives on, None when the stream does."""
    if act == "stall":
        await (asyncio.sleep(x.plan.seconds("stall_ms")) if x.plan.number("stall_ms") else x.forever())
        return None
    if act == "eof":
        x.record.finish("failed")
        return await body.end()
    if act == "reset":
        await asyncio.sleep(BEFORE_RESET_S)
        return x.reset()
    if act == "short":
        x.wire.write(b'800\r\ndata: {"id": "chatcmpl-0", "choices": [{"delta": {"con')
    return x.close()


async def _whole(x: Exchange, wish: Wish, count: Count) -> bool:
    shape, plan = Shape.of(wish), x.plan
    if plan.has("error-200", "error-midstream", "error-bare-midstream"):
        return await send_json(x, 200, stream_error(shape, plan, bare=plan.has("error-bare-midstream")), headers=OPERATOR_HEADERS)
    completion: dict[str, Json] = shape.completion(await _generated(x, wish))
    if plan.has("empty-stream"):
        completion["choices"] = []
    if not plan.has("missing-usage"):
        completion["usage"] = reported(count.usage(x.record.completion_tokens), plan)
    body = dumps(x.tongue.completion(completion)).encode("utf-8", "replace")
    if plan.has("reset-midstream", "close-midstream", "stall-midstream", "truncated-json"):
        return await _break_body(x, body)
    if plan.has("clean-eof-midstream", "malformed-sse", "garbage-first"):
        return await send_body(x, 200, body[: len(body) // 2])
    x.record.reported_usage = completion.get("usage")
    kind = plan.text("type") if plan.has("wrong-content-type") else JSON_TYPE
    return await send_body(x, 200, body, kind=kind, headers=OPERATOR_HEADERS, outcome="served")


async def _generated(x: Exchange, wish: Wish) -> list[Step]:
    x.record.emit(x.plan.number("reasoning"))
    done: list[Step] = []
    for step in _none() if x.plan.has("empty-stream") else steps(wish):
        if step.piece:
            await asyncio.sleep(x.plan.seconds("token_ms"))
            x.record.emit(step.piece.tokens)
        if not x.plan.has("endless") or x.plan.number("tokens"):
            done.append(step)
    return done


def _none() -> Iterator[Step]:
    return iter(())


async def _break_body(x: Exchange, body: bytes) -> bool:
    """Half of the body, though the whole length was announced."""
    half = len(body) // 2
    await send_head(x, 200, {"content-type": JSON_TYPE, "content-length": str(len(body)), **OPERATOR_HEADERS})
    await x.wire.send(body[:half])
    if x.plan.has("stall-midstream"):
        await (asyncio.sleep(x.plan.seconds("stall_ms")) if x.plan.number("stall_ms") else x.forever())
        x.record.finish("served")
        await x.wire.send(body[half:])
        return x.request.keep_alive
    if x.plan.has("reset-midstream"):
        await asyncio.sleep(BEFORE_RESET_S)
        return x.reset()
    return x.close()


def _parsed(body: bytes) -> Json:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
