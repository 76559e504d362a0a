"""One request, start to finish: route -> hold -> attempt -> meter -> settle -> record. Read this file first.

`answer` runs as the generation's own task (see `generation.py`). Everything that can refuse happens before the first content leaves;
afterwards there is only draining, and whatever ends the relay, the settlement follows.
"""

import asyncio
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

from gateway import settlement
from gateway.deprecation import deprecation
from gateway.errors import ClientGone, log_unforeseen, problem, provider_problem
from gateway.extension import Extension
from gateway.generation import Attempt, Generation, Interrupt, Interrupted, State
from gateway.idempotency import once
from gateway.labels import Labels
from gateway.reserve import Paid, reserve
from gateway.routing import remember, routed
from gateway.services import Services
from gateway.settlement import End, Outcome
from gateway.trace import trace_object
from gateway.trials import adjusting, keyed, next_of, observed, own_key_id
from metering.errors import InsufficientCredits, LedgerBusy
from metering.meter import Meter
from metering.money import now_ms
from policy import limits
from policy.route import Plan, output_max
from providers import prompt
from providers.errors import Inexpressible, ProviderError, ProviderTimeout, RequestRefused
from providers.provider import Call, ChatRequest, Endpoint, Event

ATTEMPTS_MAX: Final = 3
HELD_BACK_MAX: Final = 64


async def answer(generation: Generation, at: Services) -> None:
    """The owner task. Whatever happens, the client gets exactly one end and the hold gets exactly one end."""
    at.watch.add(generation)
    try:
        await _answer(generation, at)
    except ClientGone:
        pass  # everything is settled; there is nobody to tell
    except Exception as error:  # noqa: BLE001 - the edge: whatever was not foreseen is a 500, and is looked at
        refusal = problem(error)
        generation.refusal = refusal.metadata.get("error_type")
        log_unforeseen(refusal, error, generation.id)
        with suppress(ClientGone):
            await generation.reply.fail(refusal, None)
    finally:
        at.watch.remove(generation)
        at.telemetry.ended(generation)


async def _answer(generation: Generation, at: Services) -> None:
    """Route and limits; then the paid part; then the limits learn what was really used."""
    scopes, id, taken_ms, used = generation.caller.limits, generation.id, generation.created_ms, 0
    route = await routed(generation, at)
    estimate = generation.request.prompt_tokens_estimate
    if scopes:
        await limits.enter(at.limits, scopes, tokens=estimate, holder=id, now_ms=taken_ms)
    generation.timing.lap("route")
    try:
        if generation.claim is None:
            used = await _paid(generation, route, at)
        else:
            used = await once(generation, generation.claim, partial(_paid, generation, route, at), at)
    finally:
        if scopes:
            await limits.leave(at.limits, scopes, tokens=estimate, used=used, holder=id, taken_ms=taken_ms, now_ms=now_ms())


async def _paid(generation: Generation, route: Plan, at: Services) -> int:
    """Hold, relay, settle, and only then the end of the reply. Returns the tokens used."""
    try:
        paid = await reserve(generation, route, at)
    except (InsufficientCredits, LedgerBusy):
        raise  # it is known that nothing is held
    except BaseException:
        at.ledger.void_later(generation.id)
        raise
    generation.timing.lap("hold")
    try:
        end = await relay(generation, paid, at)
    except BaseException:
        await at.ledger.void(generation.id, generation=None)
        raise
    receipt = await settlement.settle(generation, end, at)
    generation.timing.lap("settle")
    trace = trace_object(generation) if generation.traced else None
    if end.problem is not None:
        if trace is not None:
            end.problem.metadata["tollway_trace"] = trace
        await generation.reply.fail(end.problem, {**end.labels.broken(), "usage": receipt.usage} if end.labels else None)
    else:
        assert end.labels is not None
        await generation.reply.finish(receipt.usage, end.labels.chunk([]), trace)
    await remember(generation, end, at)
    return receipt.tokens


async def relay(generation: Generation, paid: Paid, at: Services) -> End:
    """Tries the endpoints in order until one has given content; then its end is the end."""
    end, left = End(outcome=Outcome.FAILED), paid
    while left and len(generation.attempts) < ATTEMPTS_MAX and (place := next_of(left, generation, at)) is not None:
        endpoint, tokens = left[place]
        end = await attempt(generation, endpoint, tokens, at)
        if end.final:
            break
        # Another provider of the same model would say the same, unless only this one's dialect had no words for it.
        refused = isinstance(end.error, RequestRefused) and not isinstance(end.error, Inexpressible)
        left = tuple(each for each in left if each[0] is not endpoint and not (refused and each[0].model is endpoint.model))
    if end.problem is not None and len(generation.attempts) > 1:
        end.problem.metadata["previous_errors"] = [
            {"provider": tried.provider, "code": tried.error_class, "status": tried.status, "is_byok": tried.is_byok}
            for tried in generation.attempts[:-1]
        ]
    return end


async def attempt(generation: Generation, endpoint: Endpoint, tokens: int, at: Services) -> End:
    """One endpoint, with `tokens` per choice paid for: relays its events while they are counted.

    Never raises for anything a provider or a client can do.
    """
    clock = asyncio.get_running_loop().time
    request = generation.request
    own = own_key_id(endpoint, generation)
    record = Attempt(
        endpoint=endpoint.id, provider=endpoint.provider.slug, is_byok=own is not None, started_ms=_ms(clock() - generation.started)
    )
    generation.attempts.append(record)
    generation.adjusted[:] = request.adjusted
    generation.notices[:] = deprecation(endpoint.model)
    labels = Labels(generation_id=generation.id, created=generation.created_ms // 1000, endpoint=endpoint, request=request)
    tokens_max = output_max(request, endpoint)
    meter = Meter(
        at.tokenizer(endpoint.model.tokenizer),
        tokens_max=tokens * request.n,
        tokens_limit=tokens_max * request.n,
        prompt_tokens_max=prompt.reported_max(request, endpoint),
        strict=request.stream and tokens < tokens_max,
    )
    end = End(outcome=Outcome.COMPLETED, endpoint=endpoint, own_key_id=own, meter=meter, labels=labels)
    generation.progress = partial(settlement.progress, generation, end, at)
    call = Call(
        request=request,
        endpoint=endpoint,
        api_key=at.provider_keys.get(endpoint.provider.api_key_env or ""),
        max_tokens=_limit(request, endpoint, tokens_max if request.stream else tokens),
        generation_id=generation.id,
        on_connect=partial(generation.timing.lap, "connect"),
        adjust=partial(adjusting, generation),
    )
    with observed(generation, end, record, at):
        await _try(generation, call, end, Extension(generation, endpoint, tokens, meter, at), record, at)
    return end


async def _try(generation: Generation, call: Call, end: End, extension: Extension, record: Attempt, at: Services) -> None:
    """Whatever ends it becomes an `end`."""
    clock = asyncio.get_running_loop().time
    try:
        with generation.relaying(clock()):
            await _pump(generation, keyed(call, end.own_key_id, generation, at), end, extension, record, at)
        record.status = 200
    except Interrupted as interrupted:
        _interrupted(end, interrupted.why)
    except ClientGone:
        generation.interrupt(Interrupt.CLIENT_LEFT)
        _interrupted(end, Interrupt.CLIENT_LEFT)
    except ProviderError as error:
        if not _all_said(end):
            _failed(end, error)
    record.ended_ms = _ms(clock() - generation.started)
    record.status = record.status or (end.error.status if end.error else None)
    record.error_class = type(end.error).__name__ if end.error else end.interrupt.name.lower() if end.interrupt else None


def _limit(request: ChatRequest, endpoint: Endpoint, tokens: int) -> int | None:
    """The limit to send: none if the client sent none and the endpoint would give no more anyway."""
    lower = tokens < (endpoint.max_output_tokens or endpoint.context_length)
    return tokens if lower or request.max_tokens is not None else None


async def _pump(generation: Generation, call: Call, end: End, extension: Extension, record: Attempt, at: Services) -> None:
    """Provider -> meter -> client. Batches without content are held back, so that an attempt that only says hello can still be replaced."""
    clock, meter, labels, reply = asyncio.get_running_loop().time, end.meter, end.labels, generation.reply
    assert meter is not None
    assert labels is not None
    held_back = []
    async with aclosing(at.dialects[call.endpoint.provider.dialect].stream(call)) as batches:
        async for batch in batches:
            generation.heard = clock()
            if batch and generation.state is State.DISPATCHED:
                record.first_byte_ms = _ms(generation.heard - generation.started)
                generation.timing.lap("provider")
                generation.state = State.ANSWERING
            held_back += await _counted(batch, call, end, extension)
            extension.look_ahead()
            if held_back and (meter.delivered or labels.finished or len(held_back) > HELD_BACK_MAX):
                end.relayed = True
                await reply.events(held_back)
                held_back, end.sent = [], meter.events
            if end.cut:
                break
    if end.cut:
        end.problem = extension.problem
    wanting = end.cut or meter.delivered  # an answer of nothing at all keeps its blank end, and is free
    if call.request.stream and wanting and (last := labels.last("length" if end.cut else "stop")) is not None:
        held_back.append(last)
    if held_back:
        end.relayed |= not end.cut
        await reply.events(held_back)


async def _counted(batch: list[Event], call: Call, end: End, extension: Extension) -> list[Event]:
    """The events that may leave: counted, labelled, and not beyond what was held for."""
    meter, labels, leaving = end.meter, end.labels, []
    assert meter is not None
    assert labels is not None
    for event in batch:
        meter.see(event)
        if call.request.stream and meter.over and await extension.over():
            meter.drop()
            end.cut = True
            break
        labels.put(event)
        if event["choices"]:
            leaving.append(event)
    return leaving


def _interrupted(end: End, why: Interrupt) -> None:
    end.interrupt = why
    if why in (Interrupt.CLIENT_LEFT, Interrupt.CLIENT_STALLED):
        end.outcome = Outcome.CANCELLED
    elif why is Interrupt.IDLE and _all_said(end):
        end.interrupt = None
    else:
        _failed(end, ProviderTimeout(why.value))
        end.final = end.relayed or why in (Interrupt.TOTAL, Interrupt.SHUTDOWN)


def _all_said(end: End) -> bool:
    """Every choice had ended and left; only the provider's goodbye was missing."""
    return end.relayed and end.labels is not None and end.labels.all_finished


def _failed(end: End, error: ProviderError) -> None:
    end.outcome = Outcome.FAILED
    end.error = error
    end.final = end.relayed
    end.problem = provider_problem(error, end.endpoint.provider.name if end.endpoint else None, end.own_key_id)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
