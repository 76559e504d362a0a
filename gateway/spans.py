"""One generation as a trace, put together when it has ended: a span for the whole, children for route, hold, each attempt and settle.

The port is the OpenTelemetry API; the names are its conventions for generative AI, without any of those that hold content. Only the
`traceparent` of a client is joined: its `tracestate` and `baggage` are free text, and stay outside. `gen_ai.system`, the older name of
`gen_ai.provider.name`, is left out.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from gateway.generation import Attempt, Generation

Attributes = dict[str, AttributeValue]
_FAILED: Final = Status(StatusCode.ERROR)


class Spans:
    """`close` sends what waits; it may block, for seconds at most."""

    def __init__(self, tracer: Tracer, close: Callable[[], object]) -> None:
        self._tracer = tracer
        self._close = close
        self._joined = TraceContextTextMapPropagator()

    def put(self, generation: Generation, model: str) -> None:
        """`model` is what was asked for, as far as the catalog knows it."""
        began, ended = generation.created_ms * 1_000_000, time.time_ns()
        context = self._joined.extract({"traceparent": generation.traceparent}, Context()) if generation.traceparent else Context()
        attributes = _whole(generation, model)
        name = f"{generation.request.operation} {model}"
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes=attributes, start_time=began)
        if span.is_recording():
            inside = set_span_in_context(span, context)
            for stage, start, end in _stages(generation, began):
                self._tracer.start_span(stage, inside, start_time=start).end(min(end, ended))
            received = began + _nanos(sum(s for stage, s in generation.timing.laps if stage in ("auth", "body")))
            for attempt in generation.attempts:
                self._attempt(attempt, inside, received, ended, model)
        if "error.type" in attributes:
            span.set_status(_FAILED)
        span.end(ended)

    def _attempt(self, attempt: Attempt, inside: Context, received: int, ended: int, model: str) -> None:
        start = received + attempt.started_ms * 1_000_000
        end = ended if attempt.ended_ms is None else min(received + attempt.ended_ms * 1_000_000, ended)
        attributes: Attributes = {"gen_ai.provider.name": attempt.provider, "gen_ai.request.model": model}
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        if attempt.error_class is not None:
            attributes["error.type"] = attempt.error_class
        span = self._tracer.start_span("attempt", inside, SpanKind.CLIENT, attributes=attributes, start_time=min(start, end))
        if attempt.error_class is not None:
            span.set_status(_FAILED)
        span.end(end)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)


def _whole(generation: Generation, model: str) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": generation.request.operation,
        "gen_ai.request.model": model,
        "tollway.generation.id": generation.id,
    }
    result, error = generation.result, generation.refusal
    if result is not None:
        found["tollway.outcome"] = result.outcome
        found["gen_ai.usage.input_tokens"] = result.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = result.usage.completion_tokens
        if result.endpoint is not None:
            found["gen_ai.provider.name"] = result.endpoint.provider.slug
            found["gen_ai.response.model"] = result.endpoint.model.id
        if result.finish_reason is not None:
            found["gen_ai.response.finish_reasons"] = (result.finish_reason,)
        error = generation.attempts[-1].error_class if generation.attempts else None
    if error is not None:
        found["error.type"] = error
    return found


def _stages(generation: Generation, began: int) -> Iterator[tuple[str, int, int]]:
    """(name, begin, end) in Unix nanoseconds. The lap of the settlement also holds the relay before it, so its own time counts."""
    at = began
    for stage, seconds in generation.timing.laps:
        start, at = at, at + _nanos(seconds)
        if stage in ("route", "hold"):
            yield stage, start, at
        elif stage == "settle" and generation.result is not None:
            yield stage, at - _nanos(generation.result.settle_seconds), at


def _nanos(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
