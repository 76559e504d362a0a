"""May this request be served, by which endpoints, in which order, and why: pure, so that the same inputs give the same route.

Every endpoint of the wanted models walks down the steps; the funnel remembers how many each step left and why an endpoint went.
What is left is ordered by the wanted models, then the client's `order`, then priority, then price.
"""

from collections.abc import Set as AbstractSet

import msgspec

from metering import price
from metering.price import UNITS
from policy import preferences
from policy.errors import NoEndpoint, UnknownModel
from policy.preferences import Preferences
from providers.catalog import Catalog
from providers.provider import ChatRequest, Endpoint

CAPABILITY_WORDS = {"tools": "tool use", "images": "image input", "json_schema": "structured outputs", "audio": "audio input"}
CAPABILITY_WORDS["provider_tools"] = "tools that the provider runs and bills itself, which have no price here"


class Step(msgspec.Struct, frozen=True):
    """One step of the funnel: how many endpoints were left after it, and why the others went (endpoint id -> reason)."""

    step: str
    endpoint_count: int
    removed: dict[str, str] = {}


class Plan(msgspec.Struct, frozen=True):
    """The endpoints to try, in order, and how they were chosen."""

    endpoints: tuple[Endpoint, ...]
    funnel: tuple[Step, ...]


def plan(request: ChatRequest, catalog: Catalog, *, keys: AbstractSet[str]) -> Plan:
    """`keys` are the names of the provider keys that are set. UnknownModel, InvalidPreferences, or NoEndpoint with the funnel."""
    wanted = preferences.parse(request.preferences)
    models = [request.model, *(model for model in request.models if model != request.model)]
    for model in models:
        if model not in catalog.models:
            raise UnknownModel(model, catalog.close_names(model))
    candidates = [endpoint for model in models for endpoint in catalog.endpoints.get(model, ())]
    left, funnel = _walk(candidates, request, wanted, keys)
    if not left:
        raise NoEndpoint(_message(request, funnel), [msgspec.to_builtins(step) for step in funnel], funnel[-1].step)
    left.sort(key=lambda endpoint: _order(endpoint, models, wanted))
    if not wanted.allow_fallbacks and not wanted.order:
        left = left[:1]
    return Plan(tuple(left), tuple(funnel))


def output_max(request: ChatRequest, endpoint: Endpoint) -> int:
    """The most completion tokens that one choice can have here: the smallest of the client's limit and the endpoint's."""
    bounds = (request.max_tokens, endpoint.max_output_tokens, endpoint.context_length)
    return min(bound for bound in bounds if bound is not None)


def ceiling(request: ChatRequest, endpoints: tuple[Endpoint, ...]) -> int:
    """The worst-case cost of the request at the dearest of these endpoints, nano-USD."""
    return max(
        price.ceiling(
            endpoint.price,
            prompt_tokens=min(request.prompt_tokens_max, endpoint.context_length),
            completion_tokens=output_max(request, endpoint) * request.n,
            extras=request.extras,
        )
        for endpoint in endpoints
    )


def _walk(
    candidates: list[Endpoint], request: ChatRequest, wanted: Preferences, keys: AbstractSet[str]
) -> tuple[list[Endpoint], list[Step]]:
    """Endpoints fall at the first step that rules them out; steps that removed none are not listed."""
    gone: dict[str, dict[str, str]] = {}
    left = []
    for endpoint in candidates:
        verdict = _removed(endpoint, request, keys) or preferences.removed(endpoint, wanted)
        if verdict is None:
            left.append(endpoint)
        else:
            gone.setdefault(verdict[0], {})[endpoint.id] = verdict[1]
    count, funnel = len(candidates), [Step("Initial Endpoints", len(candidates))]
    for step, reasons in gone.items():
        count -= len(reasons)
        funnel.append(Step(step, count, reasons))
    return left, funnel


def _removed(endpoint: Endpoint, request: ChatRequest, keys: AbstractSet[str]) -> tuple[str, str] | None:
    provider = endpoint.provider
    if provider.api_key_env and provider.api_key_env not in keys:
        return "Filter by Provider Key", "this installation has no key for the provider"
    unpriced = price.unpriced(endpoint.price, request.extras)
    if unpriced:
        return "Filter by Price", f"it has no price for {', '.join(unpriced)}; unpriced is blocked, never free"
    lacking = sorted(request.capabilities - endpoint.capabilities)
    if lacking:
        return "Filter by Capabilities", f"it does not support {', '.join(CAPABILITY_WORDS.get(name, name) for name in lacking)}"
    return None


def _order(endpoint: Endpoint, models: list[str], wanted: Preferences) -> tuple[int, ...]:
    rates = sum(endpoint.price.rate(unit) or 0 for unit in UNITS if unit in ("prompt", "completion"))
    by_price, by_priority = (rates, 0) if wanted.sort == "price" else (0, endpoint.priority)
    return (models.index(endpoint.model.id), preferences.rank(endpoint, wanted), by_price, by_priority, rates)


def _message(request: ChatRequest, funnel: list[Step]) -> str:
    last = funnel[-1]
    if last.step == "Initial Endpoints":
        return f"No endpoint serves {request.model} at present."
    reasons = "; ".join(dict.fromkeys(last.removed.values()))
    return f"No endpoint of {request.model} can take this request ({last.step}): {reasons}."
