"""account/provider-keys: the customer's own keys at providers, which are used before the operator's. For owners' and management keys.

A key goes in once and never comes out again; one that was deleted is dead within a second, which is how long a caller is remembered.
"""

import difflib
import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from gateway.api.account import manager_of
from gateway.api.rules import raw_body
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import iso
from metering.money import now_ms
from policy import audit, own_keys
from policy.audit import Deed
from policy.tables import ProviderKey
from providers.catalog import Catalog

BODY_BYTES_MAX: Final = 16 * 1024
WHAT: Final = "read or change the account's provider keys"
SLUG_CHARACTERS_MAX: Final = 100
FIELDS: Final = ("provider", "key")
KEYS: Final = ["/v1/account/provider-keys", "/api/v1/account/provider-keys"]
Plain = Request[Any, Any, Any]


@get(KEYS, summary="The account's own keys at providers")
async def list_own_keys(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    return {"data": [own_key_object(key) for key in await at.database.read(own_keys.listed, caller.account_id)]}


@post(KEYS, summary="Adds a key of the account's own at a provider: its endpoints are tried first and cost only the fee")
async def add_own_key(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    given = await _fields_of(request, at)
    id, now = f"pk_{secrets.token_hex(12)}", now_ms()
    work = partial(
        own_keys.add,
        id=id,
        account_id=caller.account_id,
        provider=_with_keys(given["provider"], at.catalog),
        text=given["key"],
        secret=at.settings.secret_key,
        random_bytes=secrets.token_bytes,
        now=now,
    )
    deed = Deed(
        actor=caller.key_id, action="provider_key.add", account_id=caller.account_id, subject=id, change={"provider": given["provider"]}
    )
    key = await at.database.write(audit.noted, deed, now, work)
    return {"data": own_key_object(key)}


@delete([f"{path}/{{id:str}}" for path in KEYS], status_code=200, summary="Deletes a key of the account's own at a provider")
async def delete_own_key(request: Plain, state: State, id: FromPath[str]) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    deed = Deed(actor=caller.key_id, action="provider_key.delete", account_id=caller.account_id, subject=id)
    work = partial(own_keys.revoke, id=id, account_id=caller.account_id, now=now_ms())
    known = id.isprintable() and await at.database.write(audit.noted, deed, now_ms(), work, bool)
    if not known:
        raise BadRequest("There is no such provider key in this account.", param="id", status=404, error_type="not_found")
    return {"deleted": True}


def own_key_object(key: ProviderKey) -> dict[str, Any]:
    return {"id": key.id, "provider": key.provider, "label": key.label, "created_at": iso(key.created_at)}


async def _fields_of(request: Plain, at: Services) -> dict[str, str]:
    """What is wrong is named by its field and never repeated: it may be the key."""
    raw = await raw_body(request, bytes_max=BODY_BYTES_MAX, seconds_max=at.settings.body_seconds)
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The request body is not valid JSON. Send a JSON object in UTF-8.") from None
    if not isinstance(given, dict):
        raise BadRequest("The request body must be a JSON object.")
    if not given.keys() <= set(FIELDS):
        raise BadRequest(f"The request body has a field that is not known; use {' and '.join(FIELDS)}.")
    for name in FIELDS:
        if not isinstance(given.get(name), str):
            raise BadRequest(f"{name}: is required and must be a string.", param=name)
    return given


def _with_keys(slug: str, catalog: Catalog) -> str:
    """A provider that takes keys; BadRequest with the slugs that look like this one."""
    taking = [provider.slug for provider in catalog.providers.values() if provider.api_key_env]
    if slug in taking:
        return slug
    if slug in catalog.providers:
        raise BadRequest("provider: this one takes no key.", param="provider")
    close = difflib.get_close_matches(slug.lower(), taking, n=3) if len(slug) <= SLUG_CHARACTERS_MAX else []
    hint = f" Did you mean {' or '.join(close)}?" if close else " Write its slug, as in the endpoint ids of GET /v1/models."
    raise BadRequest(f"provider: there is no such provider here.{hint}", param="provider")
