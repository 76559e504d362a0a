"""account/requests and account/profile: what an owner asks of the operator under a privacy law, and corrects themselves."""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import get, patch, post
from litestar.datastructures import State

from gateway.api.account import Plain
from gateway.api.owner import again, owner_of
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import iso
from metering.money import now_ms
from policy import profiles, rights_requests
from policy.profiles import Profile
from policy.rights_requests import is_overdue
from policy.rights_tables import RightsRequest

REQUESTS: Final = ["/v1/account/requests", "/api/v1/account/requests"]
PROFILE: Final = ["/v1/account/profile", "/api/v1/account/profile"]
ASKED: Final = {"kind": str, "law": str, "note": str}
ASK: Final = "ask for what a privacy law gives them"
CORRECT: Final = "read or correct the profile"


@get(REQUESTS, summary="What was asked under privacy laws: open requests, overdue ones first, then the last closed ones")
async def list_requests(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await owner_of(request, at, ASK)
    still = await at.database.read(rights_requests.open_page, account_id=caller.account_id)
    closed = await at.database.read(rights_requests.last_closed, account_id=caller.account_id)
    return {"data": [request_object(row, now_ms()) for row in (*still, *closed)]}


@post(REQUESTS, status_code=201, summary="Asks the operator under a privacy law: due in 30 days (gdpr) or 45 (ccpa)")
async def open_request(request: Plain, state: State) -> dict[str, Any]:
    """Works while the account is suspended or closing too: its owner keeps these rights."""
    at: Services = state.services
    caller = await owner_of(request, at, ASK)
    given = await again(request, caller, at, ASKED)
    for name, known in (("kind", rights_requests.KINDS), ("law", tuple(rights_requests.DAYS))):
        if name not in given:
            raise BadRequest(f"{name}: is required; write one of {', '.join(known)}.", param=name)
    now, note = now_ms(), given.pop("note", "")
    work = partial(rights_requests.open_request, id=f"req_{secrets.token_hex(12)}", note=note, by=caller.key_id, now=now)
    return {"data": request_object(await at.database.write(work, account_id=caller.account_id, **given), now)}


@get(PROFILE, summary="The owner's address and name, and what the account is called")
async def get_profile(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await owner_of(request, at, CORRECT)
    return _profile_object(caller.account_id, await at.database.read(profiles.of, caller.account_id))


@patch(PROFILE, summary="Corrects them; the address of somebody who signs in is changed where they are signed in")
async def patch_profile(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await owner_of(request, at, CORRECT, reading=False)
    given = await again(request, caller, at, dict.fromkeys(profiles.FIELDS, str))
    work = partial(profiles.change, fields=given, by=caller.key_id, now=now_ms())
    return _profile_object(caller.account_id, await at.database.write(work, account_id=caller.account_id))


def request_object(row: RightsRequest, now: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "law": row.law,
        "opened_at": iso(row.opened_at),
        "due_at": iso(row.due_at),
        "overdue": is_overdue(row, now),
        "closed_at": None if row.closed_at is None else iso(row.closed_at),
        "note": row.note,
        "outcome": row.outcome,
    }


def _profile_object(account_id: str, profile: Profile) -> dict[str, Any]:
    return {"account_id": account_id, **msgspec.to_builtins(profile)}
