"""A route in the open: the funnel, the order with its reasons, the ceiling, and of a generation its attempts and timings."""

from typing import Any

import msgspec

from gateway.generation import Generation
from metering.money import format_usd
from policy import route
from policy.route import Plan
from providers.provider import ChatRequest


def plan_object(plan: Plan, request: ChatRequest) -> dict[str, Any]:
    """What `route explain` prints and POST route/explain returns: nothing in it comes from a prompt."""
    return {
        "endpoints": [msgspec.to_builtins(each) for each in plan.ranked],
        "funnel": [msgspec.to_builtins(step) for step in plan.funnel],
        "ceiling_usd": format_usd(route.ceiling(request, plan.endpoints)),
    }


def trace_object(generation: Generation) -> dict[str, Any]:
    """For who sent `X-Tollway-Trace: on`."""
    planned = plan_object(generation.plan, generation.request) if generation.plan else {}
    return {
        **planned,
        "held_usd": format_usd(generation.held),
        "attempts": [msgspec.to_builtins(attempt) for attempt in generation.attempts],
        "timing_ms": {stage: round(ms, 3) for stage, ms in generation.timing.milliseconds().items()},
    }
