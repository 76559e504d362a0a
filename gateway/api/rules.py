"""account/routing and account/limits: what the account's owner sets for all its requests. For owners' and management keys.

A change holds within a second, which is how long a caller is remembered.
"""

import re
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, get, patch, put
from litestar.datastructures import State
from sqlmodel import Session

from gateway.api.account import manager_of
from gateway.asgi import headers_of, read_body
from gateway.errors import BadRequest, ClientGone
from gateway.services import Services
from metering.money import now_ms
from policy import account_limits, account_rules, audit
from policy.audit import Deed
from policy.caller import Caller
from policy.errors import InvalidRules
from policy.rules import Rules
from policy.tables import AccountLimits

LIMIT_MAX: Final = 2**31 - 1
PARAM_CHARACTERS_MAX: Final = 200
ROUTING: Final = ["/v1/account/routing", "/api/v1/account/routing"]
LIMITS: Final = ["/v1/account/limits", "/api/v1/account/limits"]
LIMIT_NAMES: Final = ("requests_per_minute", "tokens_per_minute", "concurrency")
WHAT: Final = "read or change the account's rules and limits"
_PATH: Final = re.compile(r"[^\s:]+")
Plain = Request[Any, Any, Any]


@get(ROUTING, summary="The account's routing rules, as the owner wrote them")
async def get_routing(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    return await at.database.read(account_rules.document, caller.account_id)


@put(ROUTING, summary="Replaces the account's routing rules")
async def put_routing(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    document = await object_of(request, at)
    try:
        work = partial(account_rules.put, account_id=caller.account_id, raw=document, now=now_ms())
        await at.database.write(audit.noted, _changed_rules(caller, document), now_ms(), work)
    except InvalidRules as error:
        raise _wrong(error) from None
    return document


@patch(ROUTING, summary="Changes some of the account's routing rules: a JSON merge patch of the top level, null removes a rule")
async def patch_routing(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    changes = await object_of(request, at)
    try:
        work = partial(account_rules.patch, account_id=caller.account_id, raw=changes, now=now_ms())
        return await at.database.write(audit.noted, _changed_rules(caller, changes), now_ms(), work)
    except InvalidRules as error:
        raise _wrong(error) from None


@get(LIMITS, summary="What all keys of the account may do together; null = no limit")
async def get_limits(request: Plain, state: State) -> dict[str, int | None]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    return limits_object(await at.database.read(account_limits.of, caller.account_id))


@put(LIMITS, summary="Sets what all keys of the account may do together; a limit that is left out is removed")
async def put_limits(request: Plain, state: State) -> dict[str, int | None]:
    """They only restrict: what the operator limits, such as the free tier, stays limited."""
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    limits = _limits(await object_of(request, at))
    work = partial(_set_limits, account_id=caller.account_id, limits=limits)
    deed = Deed(actor=caller.key_id, action="limits.change", account_id=caller.account_id, change=limits)
    await at.database.write(audit.noted, deed, now_ms(), work)
    return limits


def _set_limits(session: Session, account_id: str, limits: dict[str, int | None]) -> None:
    account_limits.set_limits(session, account_id, **limits, now=now_ms())


def _changed_rules(caller: Caller, given: dict[str, Any]) -> Deed:
    """Its fields alone: what stands in them may be the owner's own words."""
    fields = sorted(set(given) & set(Rules.__struct_fields__))
    return Deed(actor=caller.key_id, action="rules.change", account_id=caller.account_id, change={"fields": fields})


def limits_object(limits: AccountLimits | None) -> dict[str, int | None]:
    return {name: None if limits is None else getattr(limits, name) for name in LIMIT_NAMES}


def _limits(given: dict[str, Any]) -> dict[str, int | None]:
    for name, value in given.items():
        if name not in LIMIT_NAMES:
            raise BadRequest(f"{name[:100]}: is not a known field; use {', '.join(LIMIT_NAMES)}.", param=name[:PARAM_CHARACTERS_MAX])
        if value is not None and not (type(value) is int and 1 <= value <= LIMIT_MAX):
            raise BadRequest(f"{name}: write a whole number from 1 to {LIMIT_MAX}, or null for no limit.", param=name)
    return {name: given.get(name) for name in LIMIT_NAMES}


async def raw_body(request: Plain, *, bytes_max: int, seconds_max: float) -> bytes:
    """The whole body as it came. BadRequest 413 or 408 beyond the bounds."""
    scope: Any = request.scope
    receive: Any = request.receive
    try:
        return await read_body(receive, headers_of(scope), bytes_max=bytes_max, seconds_max=seconds_max)
    except ClientGone:
        raise BadRequest("The client left before its request was complete.") from None


async def object_of(request: Plain, at: Services) -> dict[str, Any]:
    raw = await raw_body(request, bytes_max=account_rules.BYTES_MAX, seconds_max=at.settings.body_seconds)
    try:
        document = msgspec.json.decode(raw)
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}. Send a JSON object in UTF-8.") from None
    if not isinstance(document, dict):
        raise BadRequest("The request body must be a JSON object.")
    return document


def _wrong(error: InvalidRules) -> BadRequest:
    """The message begins with the path of the field, or with the first of two that are at odds."""
    path = _PATH.match(error.message)
    return BadRequest(error.message, param=path[0][:PARAM_CHARACTERS_MAX] if path else None)
