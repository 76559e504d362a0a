"""GET key, GET credits, GET generation: what a key may know of its account. Amounts are JSON numbers in USD with all their digits."""

from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromQuery

from gateway.api.key_object import current_key_object
from gateway.asgi import headers_of, token_of
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import iso
from metering import generations, ledger
from metering.money import format_rate, json_usd, now_ms
from metering.price import WHOLE_BPS, Price, cost
from metering.tables import Generation
from metering.usage import Usage
from policy import key_use
from policy.caller import Caller
from policy.errors import Forbidden

Plain = Request[Any, Any, Any]


@get(["/v1/key", "/api/v1/key", "/v1/auth/key", "/api/v1/auth/key"], summary="The key of this request: limit and usage")
async def get_key(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await caller_of(request, at)
    now = now_ms()
    return {"data": current_key_object(caller, *await at.database.read(key_use.of_caller, caller.key_id, now=now), now)}


@get(["/v1/credits", "/api/v1/credits"], summary="Credits ever deposited and used, USD")
async def get_credits(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await caller_of(request, at)
    balance = await at.database.read(ledger.balance, caller.account_id)
    return {"data": {"total_credits": json_usd(balance.credits), "total_usage": json_usd(balance.usage)}}


@get(["/v1/generation", "/api/v1/generation"], summary="One generation: what it used, what it cost and how that was computed")
async def get_generation(request: Plain, state: State, id: FromQuery[str] = "") -> dict[str, Any]:
    at: Services = state.services
    caller = await caller_of(request, at)
    return {"data": generation_object(*await generation_of(id, caller, at))}


async def caller_of(request: Plain, at: Services) -> Caller:
    scope: Any = request.scope
    return await at.callers.identify(token_of(headers_of(scope)), now_ms(), reading=scope["method"] == "GET")


async def generation_of(id: str, caller: Caller, at: Services) -> tuple[Generation, Price | None]:
    """The account's own generation and its price. BadRequest without an id, 404 also for another account's."""
    if not id:
        raise BadRequest("id: is required; X-Generation-Id of an answer holds it.", param="id")
    found = await at.database.read(generations.find, id, caller.account_id) if id.isprintable() else None
    if found is None:
        raise BadRequest("There is no such generation in this account.", param="id", status=404, error_type="not_found")
    return found


async def manager_of(request: Plain, at: Services, what: str) -> Caller:
    """The owner or a manager. Forbidden for an inference key, which may not do `what`."""
    caller = await caller_of(request, at)
    if caller.kind == "inference":
        raise Forbidden(f"An inference key may not {what}: use the owner's key or a management key.")
    return caller


NOT_KEPT: Final = (
    *("external_user", "native_tokens_completion_images", "num_fetches", "num_input_audio_prompt", "num_media_completion"),
    *("num_media_prompt", "num_search_results", "preset_id", "router", "service_tier", "user_agent", "web_search_engine", "workspace_id"),
)
"""Fields of OpenRouter's generation object that its SDK requires and of which nothing is kept here: null."""


def generation_object(row: Generation, rates: Price | None) -> dict[str, Any]:
    """OpenRouter's generation object, and our `cost_arithmetic`: each line units x rate, the share of their sum that is charged (less than
    100 % only where the customer's own key paid the provider), and the remainder of the floor."""
    usage = Usage(**{name: getattr(row, name) for name in Usage.__struct_fields__})
    own = row.own_key_id is not None
    counted = row.charge + row.shortfall or (own and row.usage_source)
    exact = cost(usage, rates) if rates and counted else None
    lines = exact.lines if exact else ()
    attempts = msgspec.json.decode(row.attempts)
    return {
        "id": row.id,
        "upstream_id": row.upstream_id,
        "total_cost": json_usd(row.charge),
        "usage": json_usd(row.charge),
        "cache_discount": None,
        "upstream_inference_cost": json_usd(exact.listed if own and exact else row.charge),
        "created_at": iso(row.created_at),
        "model": row.model,
        "app_id": None,
        "origin": row.origin or "",
        "http_referer": row.origin,
        "streamed": bool(row.streamed),
        "cancelled": row.outcome == "cancelled",
        "provider_name": row.provider,
        "provider_responses": [
            {
                "provider_name": attempt["provider"],
                "status": attempt["status"],
                "latency": attempt["first_byte_ms"],
                "endpoint_id": attempt["endpoint"],
                "is_byok": attempt.get("is_byok", False),
                "error_class": attempt["error_class"],
                "started_ms": attempt["started_ms"],
                "ended_ms": attempt["ended_ms"],
            }
            for attempt in attempts
        ],
        "latency": row.first_byte_ms,
        "generation_time": row.duration_ms,
        "moderation_latency": None,
        "finish_reason": row.finish_reason,
        "native_finish_reason": row.native_finish_reason,
        "tokens_prompt": usage.prompt_tokens,
        "tokens_completion": usage.completion_tokens,
        "native_tokens_prompt": usage.prompt_tokens,
        "native_tokens_completion": usage.completion_tokens,
        "native_tokens_reasoning": usage.reasoning,
        "native_tokens_cached": usage.cached_prompt,
        "is_byok": own,
        "api_type": row.api_type,
        "data_region": "global",
        **dict.fromkeys(NOT_KEPT),
        "outcome": row.outcome,
        "error_type": row.error_type,
        "usage_source": row.usage_source,
        "hold": json_usd(row.held),
        "cost_arithmetic": {
            "price_version": row.price_id,
            "lines": [{"unit": line.unit, "units": line.units, "usd_per_unit": format_rate(line.rate_pico)} for line in lines],
            "share_percent": format_percent(rates.share_bps if rates else WHOLE_BPS),
            "total_usd": format_rate(row.total_pico),
            "remainder_usd": format_rate(row.remainder),
            "shortfall": json_usd(row.shortfall),
        },
    }


def format_percent(bps: int) -> str:
    """Basis points as a decimal string: 10000 -> "100", 525 -> "5.25"."""
    whole, rest = divmod(bps, 100)
    return f"{whole}.{rest:02}".rstrip("0") if rest else str(whole)
