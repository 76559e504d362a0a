"""account/privacy: what the account lets be kept, every change of it, and who changed it. For owners' and management keys."""

from functools import partial
from typing import Any, Final

import msgspec
from litestar import get, patch
from litestar.datastructures import State

from gateway.api.account import Plain, manager_of
from gateway.api.rules import object_of
from gateway.services import Services
from gateway.timespan import iso
from metering.money import now_ms
from policy import account_privacy, audit
from policy.account_privacy import Choice
from policy.audit import Deed
from policy.privacy_tables import PrivacyChange

WHAT: Final = "read or change what is kept of the account's requests"
PATHS: Final = ["/v1/account/privacy", "/api/v1/account/privacy"]
HISTORY: Final = [f"{path}/history" for path in PATHS]


@get(PATHS, summary="What is kept of prompts and answers, and for how long: the account's own choice")
async def get_privacy(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    return privacy_object(await at.database.read(account_privacy.of, caller.account_id))


@patch(PATHS, summary="Changes the choice: a JSON merge patch, null brings a field back to its default")
async def patch_privacy(request: Plain, state: State) -> dict[str, Any]:
    """Holds for every request within a second, and at once for what is stored. It deletes nothing: DELETE logs does."""
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    fields = await object_of(request, at)
    now = now_ms()
    work = partial(account_privacy.change, account_id=caller.account_id, fields=fields, actor=caller.key_id, now=now)
    deed = Deed(actor=caller.key_id, action="privacy.change", account_id=caller.account_id, change={"fields": sorted(fields)})
    return privacy_object(await at.database.write(audit.noted, deed, now, work))


@get(HISTORY, summary="Every change of the choice, newest first: when, by which key, and what held from then on")
async def get_privacy_history(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    changes = await at.database.read(account_privacy.history, caller.account_id)
    return {"data": [change_object(each) for each in changes]}


def change_object(change: PrivacyChange) -> dict[str, Any]:
    return {"version": change.version, "at": iso(change.at), "actor": change.actor, "privacy": msgspec.json.decode(change.document)}


def privacy_object(choice: Choice) -> dict[str, Any]:
    return {**msgspec.to_builtins(choice.privacy), "version": choice.version}
