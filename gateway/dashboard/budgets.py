"""Budgets of an account, its projects, members and keys: set and removed by those who answer for the money."""

import secrets
from functools import partial
from typing import Final

from litestar import Response, post
from litestar.params import FromPath

from gateway.dashboard.billing import HERE, BudgetForm, shown
from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import go
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor
from gateway.services import Services
from metering.money import format_usd, now_ms, parse_usd
from metering.periods import RESETS
from policy import audit, budgets
from policy.audit import Deed
from policy.budgets import NewBudget
from policy.tables import Key, Member, Project

_OWNED: Final[dict[str, type[Project] | type[Member] | type[Key]]] = {"project": Project, "member": Member, "key": Key}


@post(f"{HERE}/budgets", include_in_schema=False)
async def set_budget(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "budgets.change", BudgetForm)
    at: Services = request.app.state.services
    scope, id = await _subject(visitor, form.subject, at)
    now = now_ms()
    try:
        amount, reset = _amount(form.usd), _reset(form.reset)
        new = NewBudget(account_id=visitor.account_id, scope=scope, subject_id=id, amount=amount, reset=reset)
        change = {"scope": scope, "usd": format_usd(amount), "reset": reset}
        deed = Deed(actor=visitor.actor, action="budget.set", account_id=visitor.account_id, subject=id, change=change)
        work = partial(budgets.add, new=new, id=f"lim_{secrets.token_hex(12)}", now=now)
        await at.database.write(audit.noted, deed, now, work)
    except ValueError as error:
        return await shown(request, visitor, problem=f"{error}.", form=form, status=400)
    return go(HERE, done="budget.set")


@post(f"{HERE}/budgets/{{budget_id:str}}/remove", include_in_schema=False)
async def remove_budget(request: Plain, budget_id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, "budgets.change", Nothing)
    at: Services = request.app.state.services
    deed = Deed(actor=visitor.actor, action="budget.remove", account_id=visitor.account_id, subject=budget_id)
    work = partial(budgets.remove, account_id=visitor.account_id, id=budget_id)
    if not budget_id.isprintable() or not await at.database.write(audit.noted, deed, now_ms(), work, bool):
        raise NoSuchPage
    return go(HERE, done="budget.removed")


async def _subject(visitor: Visitor, named: str, at: Services) -> tuple[str, str]:
    """The scope and the id. NoSuchPage for what is not this account's."""
    scope, _, id = named.partition(":")
    if scope == "account" and id == visitor.account_id:
        return scope, id
    if scope not in _OWNED or not id.isprintable():
        raise NoSuchPage
    try:
        await at.database.read(budgets.check_owned, _OWNED[scope], id, visitor.account_id)
    except ValueError:
        raise NoSuchPage from None
    return scope, id


def _amount(text: str) -> int:
    try:
        amount = parse_usd(text.strip())
    except ValueError as error:
        raise ValueError(f"usd: {error}") from None
    if amount < 0:
        raise ValueError("usd: a budget is zero or more")
    return amount


def _reset(text: str) -> str | None:
    if text and text not in RESETS:
        raise ValueError(f"reset: write one of {', '.join(RESETS)}, or nothing for a budget for ever")
    return text or None
