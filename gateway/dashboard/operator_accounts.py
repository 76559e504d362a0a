"""/operator: the accounts of this installation; one of them: its balance, its people, credit, and its state."""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery
from sqlmodel import Session

from gateway.commands.running import moment
from gateway.dashboard.form import Nothing, posted_by_operator
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor, operator_of
from gateway.services import Services
from metering import credits, ledger
from metering.errors import MeteringError, UnknownAccount
from metering.money import now_ms, parse_usd
from policy import account_list, account_states, audit, members
from policy.account_states import Standing
from policy.audit import Deed
from policy.errors import WrongState
from policy.tables import Member

HERE: Final = "/operator"
ACCOUNT: Final = f"{HERE}/accounts/{{account_id:str}}"
REASON_CHARACTERS_MAX: Final = 500


class CreditForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    usd: str
    reason: str
    kind: str = "paid"
    expires: str = ""
    no_refund: bool = False


class ReasonForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str


@get(HERE, include_in_schema=False)
async def show_accounts(request: Plain, q: FromQuery[str] = "", after: FromQuery[str] = "") -> Response[str]:
    visitor = await operator_of(request)
    at: Services = request.app.state.services
    q, after = q.strip()[:200], after[:100]
    known = q.isprintable() and after.isprintable()
    rows = await at.database.read(account_list.page, wanted=q, after=after) if known else []
    more = rows[-1].id if len(rows) == account_list.PAGE else None
    return page("operator_accounts.html", visitor, here="operator", notice=noticed(request), rows=rows, q=q, more=more)


@get(ACCOUNT, include_in_schema=False)
async def show_account(request: Plain, account_id: FromPath[str]) -> Response[str]:
    return await _shown(request, await operator_of(request), account_id)


@post(f"{ACCOUNT}/credit", include_in_schema=False)
async def add_credit(request: Plain, account_id: FromPath[str]) -> Response[str]:
    visitor, form = await posted_by_operator(request, CreditForm)
    at: Services = request.app.state.services
    now, id = now_ms(), f"dep_{secrets.token_hex(12)}"
    try:
        work = _credit(form, account_id, id, now)
        deed = _deed(visitor, "credit.add", account_id, id, {"usd": form.usd.strip()[:40]})
        await at.database.write(audit.noted, deed, now, work)
    except UnknownAccount:
        raise NoSuchPage from None
    except (ValueError, MeteringError) as error:
        return await _shown(request, visitor, account_id, problem=f"{error}.", status=400)
    return go(f"{HERE}/accounts/{account_id}", done="credit.added")


@post(f"{ACCOUNT}/suspend", include_in_schema=False)
async def suspend(request: Plain, account_id: FromPath[str]) -> Response[str]:
    visitor, form = await posted_by_operator(request, ReasonForm)
    return await _become(request, visitor, account_id, partial(account_states.suspend, reason=form.reason))


@post(f"{ACCOUNT}/resume", include_in_schema=False)
async def resume(request: Plain, account_id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted_by_operator(request, Nothing)
    return await _become(request, visitor, account_id, account_states.resume)


async def _become(request: Plain, visitor: Visitor, account_id: str, work: Any) -> Response[str]:
    at: Services = request.app.state.services
    try:
        standing = await at.database.write(partial(work, account_id=account_id, by=visitor.actor, now=now_ms()))
    except UnknownAccount:
        raise NoSuchPage from None
    except (ValueError, WrongState) as error:
        return await _shown(request, visitor, account_id, problem=f"{error}.", status=400)
    await at.people.tell_owners(at.database, account_id, standing)
    return go(f"{HERE}/accounts/{account_id}", done="account.changed")


async def _shown(request: Plain, visitor: Visitor, account_id: str, *, problem: str | None = None, status: int = 200) -> Response[str]:
    at: Services = request.app.state.services
    if not account_id.isprintable():
        raise NoSuchPage
    try:
        balance, people, standing, given = await at.database.read(_known, account_id)
    except UnknownAccount:
        raise NoSuchPage from None
    return page(
        "operator_account.html", visitor, status=status, here="operator", notice=noticed(request), problem=problem, account_id=account_id,
        balance=balance, people=people, standing=standing, credits=given,
    )  # fmt: skip


def _known(session: Session, account_id: str) -> tuple[int, list[Member], Standing, list[Any]]:
    """UnknownAccount."""
    available = ledger.available(session, account_id)
    return available, members.listed(session, account_id), account_states.of(session, account_id), credits.listed(session, account_id)


def _credit(form: CreditForm, account_id: str, id: str, now: int) -> Any:
    """ValueError names the field."""
    if not 0 < len(form.reason) <= REASON_CHARACTERS_MAX or not form.reason.isprintable():
        raise ValueError(f"reason: write 1 to {REASON_CHARACTERS_MAX} printable characters")
    if form.kind not in ("paid", "promotional"):
        raise ValueError("kind: choose paid or promotional")
    try:
        amount = parse_usd(form.usd.strip().lstrip("$"))
    except ValueError as error:
        raise ValueError(f"usd: {error}") from None
    written: dict[str, Any] = {"id": id, "account_id": account_id, "reason": form.reason, "now": now}
    if amount < 0:
        return partial(credits.take_back, amount=-amount, **written)
    expires_at = moment(form.expires, "expires") if form.expires else None
    paid = form.kind == "paid"
    return partial(credits.add, amount=amount, kind=form.kind, refundable=paid and not form.no_refund, expires_at=expires_at, **written)


def _deed(visitor: Visitor, action: audit.Action, account_id: str, subject: str, change: dict[str, Any]) -> Deed:
    return Deed(actor=visitor.actor, action=action, account_id=account_id, subject=subject, change=change)
