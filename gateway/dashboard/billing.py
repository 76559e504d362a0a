"""/dashboard/billing: the balance, the credit behind it, budgets, and a month of the ledger's statement, every amount exact."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.params import FromQuery
from sqlmodel import Session

from gateway.dashboard.page import noticed, page
from gateway.dashboard.visitor import Plain, Visitor, visitor_of
from gateway.dashboard.words import clock
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.usage_export import FORMATS
from metering import credits, ledger, periods, statement_month
from metering.credits import Listed
from metering.money import now_ms
from metering.periods import RESETS
from metering.statement_month import Month
from metering.tables import Account
from policy import account_keys, budgets, members
from policy.tables import Budget

HERE: Final = "/dashboard/billing"
CREDITS: Final = 50
BUDGETS: Final = 100
SUBJECTS: Final = 500
MONTHS: Final = 36
_MONTH: Final = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


class BudgetForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`subject` is `scope:id`."""

    subject: str
    usd: str
    reset: str = ""


class Money(msgspec.Struct, frozen=True):
    """`unused` and `used` credits, at most `CREDITS` of each; `more`: there are others."""

    account: Account
    unused: list[Listed]
    used: list[Listed]
    more: bool


class Bounds(msgspec.Struct, frozen=True):
    """Budgets with their limit and what is left (nano-USD); `subjects` by `scope:id`, in words, what a budget can be set for."""

    rows: list[tuple[Budget, Account, int]]
    more: bool
    subjects: dict[str, str]


@get(HERE, include_in_schema=False)
async def show_billing(request: Plain, month: FromQuery[str] = "", budget: FromQuery[int] = 0) -> Response[str]:
    """`month` as 2027-01, in UTC; `budget` the number of the first one shown."""
    visitor = await visitor_of(request, "billing.read")
    return await shown(request, visitor, month=month, offset=max(0, min(budget, budgets.PER_ACCOUNT_MAX)))


async def shown(
    request: Plain, visitor: Visitor, *, month: str = "", offset: int = 0, problem: str | None = None, form: BudgetForm | None = None,
    status: int = 200,
) -> Response[str]:  # fmt: skip
    """The page; `form` is a budget that was refused."""
    at: Services = request.app.state.services
    now = now_ms()
    chosen = month or name_of(now)
    start, end = month_of(chosen)
    money = await at.database.read(_money, visitor.account_id)
    bounds = await at.database.read(_bounds, visitor.account_id, offset=offset, now=now)
    found: Month | None = await at.database.read(statement_month.month, visitor.account_id, start=start, end=end)
    return page(
        "billing.html", visitor, status=status, here="billing", notice=noticed(request), problem=problem, money=money, bounds=bounds,
        month=chosen, months=_months(money.account.created_at, now), statement=found, running=start <= now < end, end=end, formats=FORMATS,
        resets=_RESETS, form=form or BudgetForm(subject="", usd=""), offset=offset, utc=clock("UTC"), rows=statement_month.ROWS, now=now,
    )  # fmt: skip


def month_of(text: str) -> tuple[int, int]:
    """`2027-01` -> its beginning and its end in Unix ms, UTC. BadRequest for anything else."""
    found = _MONTH.fullmatch(text)
    year, number = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1970 <= year <= 9998 and 1 <= number <= 12):
        raise BadRequest("month: write a month such as 2027-01.", param="month")
    return periods.period("monthly", int(datetime(year, number, 1, tzinfo=UTC).timestamp()) * 1000)


def name_of(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m")


def _months(first: int, now: int) -> list[str]:
    """The newest first, back to the account's beginning, at most `MONTHS`."""
    names: list[str] = []
    moment = now
    while len(names) < MONTHS and name_of(moment) >= name_of(first):
        names.append(name_of(moment))
        moment = periods.period("monthly", moment)[0] - 1
    return names


def _money(session: Session, account_id: str) -> Money:
    listed = credits.listed(session, account_id)
    account = session.get_one(Account, account_id)
    never = 2**63
    unused = sorted((each for each in listed if each.remaining), key=lambda each: (each.expires_at or never, each.created_at))
    used = [each for each in reversed(listed) if not each.remaining]
    return Money(account, unused[:CREDITS], used[:CREDITS], max(len(unused), len(used)) > CREDITS)


def _bounds(session: Session, account_id: str, *, offset: int, now: int) -> Bounds:
    subjects = _subjects(session, account_id)
    rows = budgets.listed(session, account_id)
    page = [(row, limit, max(0, ledger.room(limit, now))) for row, limit in rows[offset : offset + BUDGETS]]
    return Bounds(page, len(rows) > offset + BUDGETS, subjects)


def _subjects(session: Session, account_id: str) -> dict[str, str]:
    named: list[tuple[str, str, Any]] = [("account", account_id, "The whole account")]
    named += [("project", row.id, f"Project {row.name}") for row in budgets.projects(session, account_id)]
    named += [("member", row.id, f"Member {row.email}") for row in members.listed(session, account_id)]
    keys = account_keys.page(session, account_id, offset=0, with_disabled=True)
    named += [("key", row.id, f"Key {row.name or row.kind} ({row.label})") for row in keys if row.kind != "management"]
    return {f"{scope}:{id}": text for scope, id, text in named[:SUBJECTS]}


_RESETS: Final = (("", "never: for ever"), *((reset, reset) for reset in RESETS))
