"""keys: the account's API keys over HTTP, for its owner's key and management keys. A key is shown once, when it is made.

What is changed here holds in every process within a second, which is how long a caller is remembered.
"""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery

from gateway.api import key_fields, query
from gateway.api.account import manager_of
from gateway.api.key_object import key_object
from gateway.api.rules import raw_body
from gateway.errors import BadRequest
from gateway.services import Services
from metering.money import now_ms
from policy import account_keys, audit, key_use, keys
from policy.audit import Deed
from policy.key_use import Seen

BODY_BYTES_MAX: Final = 16 * 1024
OFFSET_MAX: Final = 10**6
AT_ONCE: Final = 5
"""Keys whose use is added up in one read: no other reader of SQLite waits for more."""
KEYS: Final = ["/v1/keys", "/api/v1/keys"]
KEY: Final = [f"{path}/{{hash:str}}" for path in KEYS]
READ: Final = "read the account's keys"
CHANGE: Final = "change the account's keys"
Plain = Request[Any, Any, Any]


@get(KEYS, summary=f"The account's keys, oldest first, {account_keys.PAGE} at a time")
async def list_keys(
    request: Plain,
    state: State,
    offset: FromQuery[str | None] = None,
    include_disabled: FromQuery[str | None] = None,
    workspace_id: FromQuery[str | None] = None,
) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, READ)
    skipped = query.whole(offset, "offset", least=0, most=OFFSET_MAX) or 0
    disabled = query.flag(include_disabled, "include_disabled")
    if workspace_id not in (None, caller.account_id):
        raise BadRequest("workspace_id: an account is its only workspace here; leave it out.", param="workspace_id")
    now = now_ms()
    found = await at.database.read(account_keys.page, caller.account_id, offset=skipped, with_disabled=disabled)
    several = [found[first : first + AT_ONCE] for first in range(0, len(found), AT_ONCE)]
    return {"data": [key_object(seen, now) for rows in several for seen in await at.database.read(key_use.seen, rows, now=now)]}


@post(KEYS, status_code=201, summary="Makes an inference key; it is shown only now")
async def create_key(request: Plain, state: State) -> Response[dict[str, Any]]:
    at: Services = state.services
    caller = await manager_of(request, at, CHANGE)
    now = now_ms()
    new, byok = key_fields.new_key(await _body(request, at), caller.account_id, now)
    id, token = f"key_{secrets.token_hex(12)}", keys.generate(secrets.randbelow)
    deed = Deed(actor=caller.key_id, action="key.create", account_id=caller.account_id, subject=id, change={"kind": new.kind})
    work = partial(keys.create, new=new, token=token, pepper=at.pepper, id=id, now=now)
    key = await at.database.write(audit.noted, deed, now, work)
    seen = await at.database.read(account_keys.one, caller.account_id, key.id, now=now)
    return _adjusted({**_found(seen, now), "key": token}, byok, 201)


@get(KEY, summary="One key of the account, by its hash")
async def get_key(request: Plain, state: State, hash: FromPath[str]) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, READ)
    now = now_ms()
    seen = await at.database.read(account_keys.one, caller.account_id, hash, now=now) if hash.isprintable() else None
    return _found(seen, now)


@patch(KEY, summary="Renames, disables or enables a key, or changes its limit")
async def change_key(request: Plain, state: State, hash: FromPath[str]) -> Response[dict[str, Any]]:
    """`limit: null` takes the limit away; a new limit, or one with another reset, begins with nothing spent."""
    at: Services = state.services
    caller = await manager_of(request, at, CHANGE)
    wanted, byok = key_fields.changes(await _body(request, at))
    now, limit_id = now_ms(), f"lim_{secrets.token_hex(12)}"
    seen = None
    if hash.isprintable():
        fields = sorted(name for name, value in msgspec.structs.asdict(wanted).items() if value is not msgspec.UNSET)
        deed = Deed(actor=caller.key_id, action="key.change", account_id=caller.account_id, subject=hash, change={"fields": fields})
        work = partial(
            account_keys.change, account_id=caller.account_id, named=hash, wanted=wanted, by=caller.kind, limit_id=limit_id, now=now
        )
        seen = await at.database.write(audit.noted, deed, now, work, _is_found)
    return _adjusted(_found(seen, now), byok, 200)


@delete(KEY, status_code=200, summary="Deletes a key for good")
async def delete_key(request: Plain, state: State, hash: FromPath[str]) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, CHANGE)
    deed = Deed(actor=caller.key_id, action="key.delete", account_id=caller.account_id, subject=hash)
    work = partial(account_keys.delete, account_id=caller.account_id, named=hash, by=caller.kind, now=now_ms())
    if not hash.isprintable() or not await at.database.write(audit.noted, deed, now_ms(), work, bool):
        raise _unknown()
    return {"deleted": True}


def _is_found(seen: Seen | None) -> bool:
    return seen is not None


def _found(seen: Seen | None, now: int) -> dict[str, Any]:
    if seen is None:
        raise _unknown()
    return {"data": key_object(seen, now)}


def _unknown() -> BadRequest:
    return BadRequest("There is no such key in this account.", param="hash", status=404, error_type="not_found")


def _adjusted(content: dict[str, Any], byok: bool, status: int) -> Response[dict[str, Any]]:
    """`include_byok_in_limit: true` is taken and not kept, as a limit counts what is charged: the answer says so twice."""
    headers = {"Cache-Control": "no-store", **({"X-Tollway-Adjusted": key_fields.BYOK} if byok else {})}
    return Response(content, status_code=status, headers=headers)


async def _body(request: Plain, at: Services) -> bytes:
    return await raw_body(request, bytes_max=BODY_BYTES_MAX, seconds_max=at.settings.body_seconds)
