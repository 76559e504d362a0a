"""An API key as clients see it: OpenRouter's object of the key that asks, and of one among the account's. Amounts are JSON numbers."""

from typing import Any, Final

from gateway.timespan import iso
from metering import ledger
from metering.money import json_usd
from metering.periods import period
from metering.tables import Account
from policy import key_policy
from policy.account_keys import public_id
from policy.caller import Caller
from policy.key_use import Seen, Spent

PERIODS: Final = {"": "total", "_daily": "day", "_weekly": "week", "_monthly": "month"}
SCOPES: Final = {"account": "workspace", "project": "project", "member": "member", "key": "api_key"}


def current_key_object(caller: Caller, seen: Seen, bounding: list[tuple[Account, str]], now: int) -> dict[str, Any]:
    """GET key. What this gateway does not have is null, empty or false; the effective budget is the one with the least left."""
    budgets = sorted(bounding, key=lambda bound: bound[0].overdraft - _spend(bound[0], now))
    own = seen.key.limit_id
    objects = [_budget_object(limit, "key_limit" if limit.id == own else SCOPES[scope], now) for limit, scope in budgets]
    return {
        **_figures(seen, now),
        "is_free_tier": caller.free_tier,
        "is_management_key": caller.kind == "management",
        "is_provisioning_key": caller.kind == "management",
        "rate_limit": {"requests": caller.requests_per_minute or -1, "interval": "1m", "note": "requests per minute; -1 = no limit"},
        "free_model_daily_requests": {"used": 0, "limit": 0, "remaining": 0},
        "allowed_data_regions": [],
        "organization_id": None,
        "workspace_id": caller.account_id,
        "budgets": objects,
        "effective_budget": objects[0] if objects else None,
    }


def key_object(seen: Seen, now: int) -> dict[str, Any]:
    """GET keys. An account is its only workspace; `id` is how exports name the key."""
    key = seen.key
    return {
        "hash": public_id(key),
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "disabled": key.disabled_at is not None,
        "logging": key.logging,
        **_figures(seen, now),
        "created_at": iso(key.created_at),
        "updated_at": _moment(key.updated_at),
        "last_used_at": _moment(seen.use.last_used_at),
        "workspace_id": key.account_id,
        "external_user": None,
    }


def _figures(seen: Seen, now: int) -> dict[str, Any]:
    """`limit` bounds what the account is charged, the fee for own provider keys included and nothing that a provider bills itself."""
    key, limit, use = seen.key, seen.limit, seen.use
    return {
        "label": key.label,
        "limit": None if limit is None else json_usd(limit.overdraft),
        "limit_remaining": None if limit is None else json_usd(max(0, ledger.room(limit, now))),
        "limit_reset": None if limit is None else limit.reset,
        "include_byok_in_limit": False,
        "data_policy": key_policy.shown(key.data_policy),
        **_spent("usage", use.charged),
        **_spent("byok_usage", use.own),
        "creator_user_id": None,
        "expires_at": _moment(key.expires_at),
    }


def _budget_object(limit: Account, scope: str, now: int) -> dict[str, Any]:
    """What running requests hold is not spent yet."""
    spend = _spend(limit, now)
    return {
        "scope": scope,
        "budget_id": limit.id,
        "guardrail_id": None,
        "limit_usd": json_usd(limit.overdraft),
        "spend_usd": json_usd(spend),
        "remaining_usd": json_usd(limit.overdraft - spend),
        "reset_interval": limit.reset,
        "resets_at": iso(period(limit.reset, now)[1]) if limit.reset else None,
        "include_byok": False,
    }


def _spend(limit: Account, now: int) -> int:
    return limit.overdraft - limit.held - ledger.room(limit, now)


def _spent(name: str, spent: Spent) -> dict[str, Any]:
    return {name + period: json_usd(getattr(spent, field)) for period, field in PERIODS.items()}


def _moment(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
