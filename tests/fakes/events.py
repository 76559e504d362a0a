"""The events of a streamed answer, in order, and the transforms by which faults change that order or the events."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tests.fakes.answers import Step, Wish, steps
from tests.fakes.completions import Shape, error_body
from tests.fakes.faults import Json
from tests.fakes.plans import Plan
from tests.fakes.usage import Count, reported


class Kind(Enum):
    ROLE = "role"
    TOKEN = "token"
    FINISH = "finish"
    USAGE = "usage"
    ERROR = "error"
    RAW = "raw"
    DONE = "done"
    ACT = "act"


@dataclass(frozen=True)
class Event:
    """One `data:` event: JSON, or raw text. An ACT is no event but what happens to the connection, `data` its name."""

    kind: Kind
    data: Json
    tokens: int = 0
    index: int = 0


DONE = Event(Kind.DONE, "[DONE]")
GARBAGE = Event(Kind.RAW, '{"id":"chatcmpl-0","choices":[{"delta":{"con')
ACTS = {
    "reset-midstream": "reset",
    "close-midstream": "close",
    "clean-eof-midstream": "eof",
    "stall-midstream": "stall",
    "truncated-json": "short",
}


def stream_events(wish: Wish, count: Count) -> Iterator[Event]:
    """All that the player has to send and do for one streamed answer."""
    shape, plan = Shape.of(wish), wish.plan
    if plan.has("empty-stream"):
        return iter([DONE])
    events = _with_usage(_answer(shape, plan.number("reasoning")), shape, count)
    for name, act in ACTS.items():
        if plan.has(name):
            events = _insert(events, plan.number("k", 3), Event(Kind.ACT, act))
    for at, extra in _extras(shape, plan):
        events = _insert(events, at, extra)
    return _ending(events, shape)


def stream_error(shape: Shape, plan: Plan, *, bare: bool = False) -> dict[str, Json]:
    body = error_body("The server had an error while processing your request.", code=plan.text("code", "server_error"))
    error: dict[str, Json] = body["error"]
    if bare:
        return {"error": error["message"]} if plan.text("shape") == "string" else {"object": "error", **error, "code": 500}
    if plan.text("shape") == "chunk":
        row = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": "error"}
        return {**shape.envelope("chat.completion.chunk"), "choices": [row], **body}
    return body


def _answer(shape: Shape, hidden: int) -> Iterator[Event]:
    started: set[int] = set()
    for step in steps(shape.wish):
        index = step.choice.index
        if index not in started:
            opening = shape.chunk(step.choice, {"role": "assistant", "content": ""})
            yield Event(Kind.ROLE, opening, tokens=0 if started else hidden, index=index)
            started.add(index)
        yield _event(shape, step)


def _event(shape: Shape, step: Step) -> Event:
    choice, piece = step.choice, step.piece
    if piece is None:
        return Event(Kind.FINISH, shape.chunk(choice, {}, finish=choice.finish), index=choice.index)
    return Event(Kind.TOKEN, shape.chunk(choice, piece.delta, text=piece.text), tokens=piece.tokens, index=choice.index)


def _with_usage(events: Iterable[Event], shape: Shape, count: Count) -> Iterator[Event]:
    """Usage as OpenAI's last chunk when it was asked for, or where the plan says."""
    plan, options = shape.wish.plan, shape.wish.body.get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage") is True
    emitted = 0
    for event in _merged(events) if plan.has("usage-in-last-content") else events:
        emitted += event.tokens
        if plan.has("usage-every-chunk"):
            event = replace(event, data={**event.data, "usage": reported(count.usage(emitted), plan)})
        elif plan.has("usage-in-last-content") and event.kind is Kind.USAGE:
            event = replace(event, kind=Kind.FINISH, data={**event.data, "usage": reported(count.usage(emitted), plan)})
        elif asked and not plan.has("missing-usage"):
            event = replace(event, data={**event.data, "usage": None})
        yield event
    if asked and not plan.has("missing-usage", "usage-in-last-content"):
        yield Event(Kind.USAGE, shape.usage_chunk(reported(count.usage(emitted), plan)))


def _merged(events: Iterable[Event]) -> Iterator[Event]:
    """A choice's last token and its finish reason in one chunk; the very last one is marked for usage."""
    held: Event | None = None
    for event in events:
        if held and event.kind is Kind.FINISH and held.kind is Kind.TOKEN and held.index == event.index:
            held = replace(held, kind=Kind.FINISH, data=_finished(held, event))
            continue
        if held:
            yield held
        held = event
    if held:
        yield replace(held, kind=Kind.USAGE)


def _finished(token: Event, finish: Event) -> dict[str, Json]:
    row = {**token.data["choices"][0], "finish_reason": finish.data["choices"][0]["finish_reason"]}
    return {**token.data, "choices": [row]}


def _extras(shape: Shape, plan: Plan) -> Iterator[tuple[int, Event]]:
    k = plan.number("k", 3)
    if plan.has("malformed-sse"):
        yield k, GARBAGE
    if plan.has("garbage-first"):
        yield 0, GARBAGE
    if plan.has("error-200"):
        yield 0, Event(Kind.ERROR, stream_error(shape, plan))
    if plan.has("error-midstream"):
        yield k, Event(Kind.ERROR, stream_error(shape, plan))
    if plan.has("error-bare-midstream"):
        yield k, Event(Kind.ERROR, stream_error(shape, plan, bare=True))


def _insert(events: Iterable[Event], at: int, extra: Event) -> Iterator[Event]:
    """Before event number `at`, or before the first finish chunk of a shorter answer."""
    waiting = True
    for number, event in enumerate(events):
        if waiting and (number >= at or event.kind in (Kind.FINISH, Kind.USAGE)):
            waiting = False
            yield extra
        yield event


def _ending(events: Iterable[Event], shape: Shape) -> Iterator[Event]:
    plan = shape.wish.plan
    for event in events:
        yield event
        if event.kind is Kind.ERROR:
            if plan.number("done"):
                yield DONE
            return
    if plan.has("no-done"):
        return
    yield DONE
    if plan.has("doubled-done"):
        yield DONE
    if plan.has("after-done"):
        ghost = {"index": 0, "delta": {"content": " ghost"}, "logprobs": None, "finish_reason": None}
        yield Event(Kind.RAW, {**shape.envelope("chat.completion.chunk"), "choices": [ghost]})
        yield DONE
