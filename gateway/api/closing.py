"""account/export and account/close: the owner takes all that is kept along, closes the account or calls that off.

Only the owner's key may, and it is sent once more in the body: a request that was merely passed on does not have it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from litestar import get, post
from litestar.datastructures import State
from litestar.types import ASGIApp
from sqlmodel import Session

from gateway.account_export import account_export
from gateway.api.account import Plain
from gateway.api.owner import again, owner_of
from gateway.download import Download
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import iso
from metering import ledger
from metering.ledger import Balance
from metering.money import format_usd, now_ms
from policy import account_states, audit
from policy.account_states import Standing
from policy.audit import Deed
from policy.caller import Caller

CLOSE: Final = ["/v1/account/close", "/api/v1/account/close"]
CANCEL: Final = [f"{path}/cancel" for path in CLOSE]
EXPORT: Final = ["/v1/account/export", "/api/v1/account/export"]
FIELDS: Final = {"confirm": str, "waive_window": bool}
WHAT: Final = "export or close the account"


@get(CLOSE, summary="Whether the account is active, suspended or closing, since when and until when")
async def get_standing(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await owner_of(request, at, WHAT)
    return _shown(caller.account_id, *await at.database.read(_with_balance, account_states.of, caller.account_id))


@post(CLOSE, status_code=200, summary="Closes the account: its keys are dead at once, and after 30 days all but its books is deleted")
async def close_account(request: Plain, state: State) -> dict[str, Any]:
    """In the 30 days the owner's key may read and call it off; `waive_window` does without them. Nothing brings back what was deleted."""
    at: Services = state.services
    caller = await owner_of(request, at, WHAT)
    given = await again(request, caller, at, FIELDS)
    if given.get("confirm") != caller.account_id:
        raise BadRequest("confirm: write the id of the account, as `tollway account create` printed it.", param="confirm")
    waive = given.get("waive_window", False)
    return await _become(caller, at, partial(account_states.close, by=caller.key_id, waive=waive, reason=None, now=now_ms()))


@post(CANCEL, status_code=200, summary="Calls the closing off: everything is as it was")
async def cancel_closing(request: Plain, state: State) -> dict[str, Any]:
    at: Services = state.services
    caller = await owner_of(request, at, WHAT)
    await again(request, caller, at, FIELDS)
    return await _become(caller, at, partial(account_states.cancel, by=caller.key_id, now=now_ms()))


@post(EXPORT, status_code=200, media_type="application/zip", summary="All that is kept of the account, as a zip with its own README")
async def export_account(request: Plain, state: State) -> ASGIApp:
    at: Services = state.services
    caller = await owner_of(request, at, WHAT)
    await again(request, caller, at, {})
    now = now_ms()
    deed = Deed(actor=caller.key_id, action="account.export", account_id=caller.account_id)
    await at.database.write(audit.record, deed, now=now)
    chunks = account_export(at.database, caller.account_id, wrapper=at.wrapper, now=now)
    file_name = f"tollway-{caller.account_id}.zip"
    return Download(chunks, media_type="application/zip", file_name=file_name, stall_seconds=at.settings.idle_seconds)


async def _become(caller: Caller, at: Services, work: Callable[[Session, str], Standing]) -> dict[str, Any]:
    """All of the answer is from the deed's own transaction: what fails behind it cannot make a refusal of what is done."""
    standing, balance = await at.database.write(_with_balance, work, caller.account_id)
    await at.people.tell_owners(at.database, caller.account_id, standing)
    return _shown(caller.account_id, standing, balance)


def _with_balance(session: Session, work: Callable[[Session, str], Standing], account_id: str) -> tuple[Standing, Balance]:
    """The work last: it ends with its deed in the audit log."""
    balance = ledger.balance(session, account_id)
    return work(session, account_id), balance


def _shown(account_id: str, standing: Standing, balance: Balance) -> dict[str, Any]:
    """`balance_usd` is what is left: it stays on the books, and can be refunded until the window ends."""
    return {
        "account_id": account_id,
        "state": standing.state,
        "since": None if standing.since is None else iso(standing.since),
        "until": None if standing.due_at is None else iso(standing.due_at),
        "reason": standing.reason,
        "balance_usd": format_usd(balance.available),
    }
