"""A route that nobody takes: what `plan` would decide for a request, as an object for POST route/explain and `tollway route explain`.

Nothing is called, held or charged. A request that no endpoint can take is an answer too: its error says with which status it would be
refused.
"""

import datetime
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from gateway.errors import problem
from gateway.trace import plan_object
from metering.money import format_rate
from metering.price import WHOLE_BPS, Price
from policy.errors import NoEndpoint
from policy.ranking import StatsOf
from policy.route import NO_KEYS, Plan, never, plan
from policy.rules import NO, Rules
from providers.catalog import Catalog
from providers.provider import ChatRequest, Endpoint

PROMPT_TOKENS: Final = 1000
OF_PROMPT: Final = f"a prompt of {PROMPT_TOKENS} tokens, because the request has no messages"
OF_SIZE: Final = "a prompt of one token per byte at most, which is what would be held for it"
NO_MAX_TOKENS: Final = "the longest answer that the endpoint gives, because the request has no max_tokens"
NO_STICKY: Final = "a new conversation: no endpoint has served it before"
PER_MILLION: Final = 10**6


def explanation(
    request: ChatRequest,
    catalog: Catalog,
    *,
    assumed: tuple[str, ...],
    keys: AbstractSet[str],
    rules: Rules = NO,
    stats: StatsOf = never,
    draw: float,
    own_keys: Mapping[str, str] = NO_KEYS,
    today: datetime.date = datetime.date.min,
    charged: Callable[[Plan], Plan] = lambda planned: planned,
) -> dict[str, Any]:
    """`assumed` says what was taken for granted, the prompt's length above all. By the same `draw` the order is the same.

    `charged` puts what would be charged in the place of list prices, where one of `own_keys` pays the provider.
    """
    assumptions = [*assumed, *([NO_MAX_TOKENS] if request.max_tokens is None else []), NO_STICKY]
    found = {"model": request.model, "draw": draw, "assumed": assumptions}
    try:
        planned = plan(request, catalog, keys=keys, rules=rules, stats=stats, draw=draw, own_keys=own_keys, today=today)
    except NoEndpoint as error:
        refusal = {"code": problem(error).status, "message": error.message, "failed_routing_step": error.failed_step}
        return {**found, "endpoints": [], "funnel": error.funnel, "ceiling_usd": None, "error": refusal}
    planned = charged(planned)
    described = plan_object(planned, request)
    described["endpoints"] = [
        {**words, **_facts(planned, endpoint)} for words, endpoint in zip(described["endpoints"], planned.endpoints, strict=True)
    ]
    return {**found, **described, "error": None}


def _facts(planned: Plan, endpoint: Endpoint) -> dict[str, Any]:
    """Prices as they would be charged, in USD per million tokens, `request` in USD each."""
    price = endpoint.price
    rates = {"prompt": _per_million(price.prompt, price), "completion": _per_million(price.completion, price)}
    return {
        "model": endpoint.model.id,
        "provider": endpoint.provider.slug,
        "own_key": endpoint.id in planned.own_keys,
        "usd_per_million_tokens": rates,
        "usd_per_request": format_rate(price.request * price.share_bps // WHOLE_BPS),
    }


def _per_million(pico: int | None, price: Price) -> str | None:
    """Exact: a million has more zeros than a share has digits."""
    return None if pico is None else format_rate(pico * PER_MILLION * price.share_bps // WHOLE_BPS)
