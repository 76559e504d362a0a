"""GET usage/export and GET activity: what an account used, as a file of rows or added up per day. For the account's owner and managers."""

from contextlib import aclosing
from typing import Annotated, Any, Final

from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromQuery, QueryParameter
from litestar.types import ASGIApp

from gateway.api.account import manager_of
from gateway.download import Download
from gateway.errors import BadRequest
from gateway.export_formats import MEDIA_TYPES
from gateway.services import Services
from gateway.timespan import DAY_MS, WrongSpan, day, iso_day, span
from gateway.usage_export import BY, FORMATS, usage_export
from metering import daily, own_use
from metering.money import PICO_PER_NANO, json_usd, now_ms
from metering.price import UNITS, Price, listed
from metering.usage import Usage
from policy import account_keys
from policy.caller import Caller

ACTIVITY_DAYS: Final = 30
READ: Final = "read the account's usage"
_GROUP: Final = ("model", "endpoint", "provider", "own_key_id", "price_id", "usage_source")
_NOT_HERE: Final = ("user_id", "workspace_id", "group_by")
_EXPORT_QUERY: Final = {
    "from": "First UTC day (YYYY-MM-DD), or an ISO 8601 moment",
    "to": "Last UTC day, included, or an ISO 8601 moment, excluded; at most 400 days after `from`",
}
Plain = Request[Any, Any, Any]


@get(["/v1/usage/export", "/api/v1/usage/export"], summary="Usage as CSV, JSON Lines or Parquet, per generation or per day")
async def export_usage(
    request: Plain,
    state: State,
    first: Annotated[str | None, QueryParameter(name="from", description=_EXPORT_QUERY["from"])] = None,
    last: Annotated[str | None, QueryParameter(name="to", description=_EXPORT_QUERY["to"])] = None,
    format: FromQuery[str] = "csv",
    by: FromQuery[str] = "generation",
) -> ASGIApp:
    at: Services = state.services
    caller = await manager_of(request, at, READ)
    _one_of(format, FORMATS, "format")
    _one_of(by, tuple(BY), "by")
    try:
        start, end = span(first, last, names=("from", "to"))
    except WrongSpan as error:
        raise BadRequest(f"{error}.", param=error.param) from None
    chunks = usage_export(at.database, caller.account_id, start=start, end=end, format=format, by=by)
    file_name = f"tollway-usage-{iso_day(start)}-{iso_day(end - 1)}.{format}"
    return Download(chunks, media_type=MEDIA_TYPES[format], file_name=file_name, stall_seconds=at.settings.idle_seconds)


@get(["/v1/activity", "/api/v1/activity"], summary="Usage of the last 30 completed UTC days, per day, model and endpoint")
async def get_activity(
    request: Plain, state: State, date: FromQuery[str | None] = None, api_key_hash: FromQuery[str | None] = None
) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, READ)
    for name in _NOT_HERE:
        if name in request.query_params:
            raise BadRequest(f"{name}: is not supported here; leave it out.", param=name)
    start, end = _days_of(date, now_ms())
    key_id = None if api_key_hash is None else await _key_id(api_key_hash, caller, at)
    found = daily.sums(at.database, caller.account_id, start=start, end=end, group=_GROUP, key_id=key_id)
    rates: dict[str, Price] = {}
    rows: list[dict[str, Any]] = []
    async with aclosing(found):
        async for day, groups in found:
            missing = {price_id for *_, own, price_id, _ in groups if own and price_id} - rates.keys()
            rates |= await at.database.read(own_use.prices, missing)
            rows += _rows(day, groups, rates)
    return {"data": rows}


def _rows(day: str, groups: dict[daily.Group, daily.Sums], rates: dict[str, Price]) -> list[dict[str, Any]]:
    """One per model and endpoint: what own provider keys used is told apart by price, and requests that got no answer used nothing."""
    added: dict[daily.Group, tuple[daily.Sums, int]] = {}
    for (model, endpoint, provider, own, price_id, source), sums in groups.items():
        pico = listed(sums.units, sums.requests, rates[price_id]) if own and source and price_id else 0
        before = added.get((model, endpoint, provider))
        if before is not None:
            sums.add(before[0])
            pico += before[1]
        added[model, endpoint, provider] = sums, pico
    return [activity_object(day, names, sums, pico // PICO_PER_NANO) for names, (sums, pico) in added.items()]


def activity_object(day: str, names: daily.Group, sums: daily.Sums, own: int) -> dict[str, Any]:
    """OpenRouter's activity item. What is not known, such as the endpoint of a request that reached none, is an empty string.

    `own` in nano-USD: what the customer's own provider keys used at list price.
    """
    model, endpoint, provider = (name or "" for name in names)
    usage = Usage(**dict(zip(UNITS, sums.units, strict=True)))
    return {
        "date": day,
        "model": model,
        "model_permaslug": model,
        "endpoint_id": endpoint,
        "provider_name": provider,
        "usage": json_usd(sums.charge),
        "byok_usage_inference": json_usd(own),
        "requests": sums.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning,
        "cached_tokens": usage.cached_prompt,
    }


async def _key_id(named: str, caller: Caller, at: Services) -> str:
    """Of a key of the account, also of one that was deleted."""
    found = await at.database.read(account_keys.id_of, caller.account_id, named) if named.isprintable() else None
    if found is None:
        raise BadRequest("There is no such key in this account.", param="api_key_hash", status=404, error_type="not_found")
    return found


def _days_of(date: str | None, now: int) -> tuple[int, int]:
    today = now - now % DAY_MS
    start = today - ACTIVITY_DAYS * DAY_MS
    if date is None:
        return start, today
    try:
        wanted = day(date, "date")
    except WrongSpan as error:
        raise BadRequest(f"{error}.", param="date") from None
    if not start <= wanted < today:
        days = f"{iso_day(start)} to {iso_day(today - 1)}"
        raise BadRequest(f"date must be one of the last {ACTIVITY_DAYS} completed UTC days, {days}.", param="date")
    return wanted, wanted + DAY_MS


def _one_of(value: str, allowed: tuple[str, ...], param: str) -> None:
    if value not in allowed:
        raise BadRequest(f"{param} must be {', '.join(allowed[:-1])} or {allowed[-1]}, not {value[:40]!r}.", param=param)
