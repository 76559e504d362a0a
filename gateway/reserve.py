"""Sets the worst case aside before anything is sent; where that is not affordable, less of it.

Not streamed: as many completion tokens as the account affords, and the provider is told so. Streamed: a quantum of them at most, which
`extension` raises while the answer grows; the provider is told the client's own limit.
"""

from typing import Final

from gateway.generation import Generation, State
from gateway.services import Services
from metering import price
from metering.batch import Held, Refused
from metering.errors import InsufficientCredits
from metering.money import AMOUNT_MAX
from metering.usage import COUNT_MAX
from policy import route
from policy.caller import Caller
from providers import prompt
from providers.content import Content
from providers.errors import RequestRefused
from providers.provider import ChatRequest, Endpoint

QUANTUM_TOKENS: Final = 4096
"""Completion tokens per choice that a stream holds at a time where the worst case is not affordable."""
TRIES_MAX: Final = 3
"""Other requests of the account take and free money in between; after so many misses the answer is 402."""

ENDPOINTS_MAX: Final = 8
"""More endpoints than this are never tried for one request, so they are not held for."""
Endpoints = tuple[Endpoint, ...]
Paid = tuple[tuple[Endpoint, int], ...]
"""The endpoints to try, each with the completion tokens per choice that the hold pays for there."""


async def reserve(generation: Generation, plan: route.Plan, at: Services) -> Paid:
    """Holds, durably when it returns; `generation.held` is the amount. InsufficientCredits if no endpoint affords one token."""
    request, caller = generation.request, generation.caller
    endpoints = await _within_context(request, plan.endpoints[:ENDPOINTS_MAX], at)
    amount = route.ceiling(request, endpoints)
    paid: Paid = tuple((endpoint, route.output_max(request, endpoint)) for endpoint in endpoints)
    for left in reversed(range(TRIES_MAX)):
        outcome = await at.ledger.hold(generation.id, account_id=caller.account_id, limits=caller.budgets, amount=amount)
        if isinstance(outcome, Held):
            generation.state, generation.held = State.HELD, outcome.amount
            return paid
        if left == 0:
            raise _insufficient(caller, outcome, required=amount, least=amount)
        amount, paid = await _affordable(request, endpoints, outcome, caller, at)
    raise AssertionError("the last try returns or raises")


async def _within_context(request: ChatRequest, endpoints: Endpoints, at: Services) -> Endpoints:
    """Those whose context holds the prompt: a price may be one up to that length only. Counted only where its size leaves it open."""
    if request.operation != "chat" or all(request.prompt_tokens_max <= each.context_length for each in endpoints):
        return endpoints
    counts: dict[str, int] = {}
    for name in {each.model.tokenizer for each in endpoints}:
        counts[name] = await prompt.count(request.body.reveal(), at.tokenizer(name))
    fitting = tuple(each for each in endpoints if counts[each.model.tokenizer] <= _context(each, at))
    if not fitting:
        longest = max(endpoints, key=lambda each: each.context_length)
        raise _too_long(longest.context_length, counts[longest.model.tokenizer])
    return fitting


def _context(endpoint: Endpoint, at: Services) -> int:
    """Where the count is an estimate, the provider is asked about what is close to its own limit; a limit of ours, for its price, holds."""
    ours = endpoint.context_length < endpoint.model.context_length
    exact = at.tokenizer(endpoint.model.tokenizer).exact
    return endpoint.context_length if exact or ours else endpoint.context_length * 5 // 4


def _too_long(context_length: int, counted: int) -> RequestRefused:
    text = (
        f"This model's maximum context length is {context_length} tokens here, but your messages have about {counted}. "
        "Shorten them, or choose a model with a longer context."
    )
    return RequestRefused("the prompt is too long", status=400, code="context_length_exceeded", detail=Content(text))


async def _affordable(request: ChatRequest, endpoints: Endpoints, refused: Refused, caller: Caller, at: Services) -> tuple[int, Paid]:
    """The endpoints that what is available can pay for, with the tokens it pays for; now the prompt is counted, not bounded."""
    if refused.available <= 0 and refused.held <= 0 and all(route.ceiling(request, (each,)) for each in endpoints):
        # Nothing there and nothing to wait for: not worth counting the prompt.
        least = min(_cost(request, each, request.prompt_tokens_estimate, min(1, route.output_max(request, each))) for each in endpoints)
        raise _insufficient(caller, refused, required=route.ceiling(request, endpoints), least=least)
    fitting, amount, least = [], 0, AMOUNT_MAX
    counts: dict[str, int] = {}
    for endpoint in endpoints:
        prompt_tokens = await _prompt_tokens(request, endpoint, counts, at)
        fewest = min(1, route.output_max(request, endpoint))
        least = min(least, _cost(request, endpoint, prompt_tokens, fewest))
        tokens = price.affordable_tokens(endpoint.price, prompt_tokens=prompt_tokens, amount=refused.available, extras=request.extras)
        tokens = min(tokens // request.n, route.output_max(request, endpoint), QUANTUM_TOKENS if request.stream else COUNT_MAX)
        if tokens >= fewest:
            fitting.append((endpoint, tokens))
            amount = max(amount, _cost(request, endpoint, prompt_tokens, tokens))
    if not fitting:
        first = endpoints[0]
        required = _cost(request, first, await _prompt_tokens(request, first, counts, at), route.output_max(request, first))
        raise _insufficient(caller, refused, required=required, least=least)
    return amount, tuple(fitting)


async def _prompt_tokens(request: ChatRequest, endpoint: Endpoint, counts: dict[str, int], at: Services) -> int:
    """The prompt, counted once per tokenizer, with an eighth more where that is an estimate; never above the bound by size."""
    name = endpoint.model.tokenizer
    tokenizer = at.tokenizer(name)
    if name not in counts:
        counts[name] = await prompt.count(request.body.reveal(), tokenizer)
    counted = counts[name]
    if not tokenizer.exact:
        counted += counted // 8 + prompt.BOUND_PER_MESSAGE
    return min(counted, prompt.most(request, endpoint))


def _cost(request: ChatRequest, endpoint: Endpoint, prompt_tokens: int, tokens: int) -> int:
    return price.ceiling(endpoint.price, prompt_tokens=prompt_tokens, completion_tokens=tokens * request.n, extras=request.extras)


def _insufficient(caller: Caller, refused: Refused, *, required: int, least: int) -> InsufficientCredits:
    scope = dict(zip(caller.budgets, caller.budget_scopes, strict=True)).get(refused.bucket)
    return InsufficientCredits(scope=scope, required=required, least=least, available=refused.available, held=refused.held)
