"""What an owner may do with all of an account: take it along, close it, call that off, and ask under privacy laws.

All of it works while the account is suspended or closing, too, as far as its state allows.
"""

import secrets
from functools import partial

import msgspec
from litestar import Response, post
from litestar.types import ASGIApp

from gateway.account_export import account_export
from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import go
from gateway.dashboard.privacy import HERE, shown
from gateway.dashboard.visitor import Plain, Visitor
from gateway.download import Download
from gateway.services import Services
from metering.money import now_ms
from policy import account_states, audit, rights_requests
from policy.audit import Deed
from policy.errors import InvalidField


class CloseForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account_id: str = ""
    waive_window: bool = False


class RequestForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    law: str
    note: str = ""


@post(f"{HERE}/export", status_code=200, include_in_schema=False)
async def export_account(request: Plain) -> ASGIApp:
    visitor, _ = await posted(request, "privacy.change", Nothing, changing=False)
    at: Services = request.app.state.services
    now = now_ms()
    _must_be_confirmed(visitor, now)
    deed = Deed(actor=visitor.actor, action="account.export", account_id=visitor.account_id)
    await at.database.write(audit.record, deed, now=now)
    chunks = account_export(at.database, visitor.account_id, wrapper=at.wrapper, now=now)
    file_name = f"tollway-{visitor.account_id}.zip"
    return Download(chunks, media_type="application/zip", file_name=file_name, stall_seconds=at.settings.idle_seconds)


@post(f"{HERE}/close", include_in_schema=False)
async def close_account(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "privacy.change", CloseForm, changing=False)
    at: Services = request.app.state.services
    now = now_ms()
    _must_be_confirmed(visitor, now)
    if form.account_id.strip() != visitor.account_id:
        problem = f"account_id: write {visitor.account_id} to close this account. Nothing was changed."
        return await shown(request, visitor, problem=problem, status=400)
    work = partial(account_states.close, by=visitor.actor, waive=form.waive_window, reason=None, now=now)
    standing = await at.database.write(work, visitor.account_id)
    await at.people.tell_owners(at.database, visitor.account_id, standing)
    return go(HERE, done="account.closing")


@post(f"{HERE}/close/cancel", include_in_schema=False)
async def cancel_closing(request: Plain) -> Response[str]:
    visitor, _ = await posted(request, "privacy.change", Nothing, changing=False)
    at: Services = request.app.state.services
    standing = await at.database.write(account_states.cancel, visitor.account_id, by=visitor.actor, now=now_ms())
    await at.people.tell_owners(at.database, visitor.account_id, standing)
    return go(HERE, done="account.cancelled")


@post(f"{HERE}/requests", include_in_schema=False)
async def open_request(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "privacy.change", RequestForm, changing=False)
    at: Services = request.app.state.services
    id, note = f"req_{secrets.token_hex(12)}", form.note.replace("\r\n", "\n")
    work = partial(rights_requests.open_request, id=id, kind=form.kind, law=form.law, note=note, by=visitor.actor, now=now_ms())
    try:
        await at.database.write(work, account_id=visitor.account_id)
    except InvalidField as error:
        return await shown(request, visitor, problem=str(error), status=400)
    return go(HERE, done="request.opened")


def _must_be_confirmed(visitor: Visitor, now: int) -> None:
    """Whoever has to prove who they are comes back to the page, which has the form; a form's own address has none."""
    msgspec.structs.replace(visitor, path=HERE).must_be_confirmed(now)
