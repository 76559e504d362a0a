"""`tollway budget`, `tollway project` and `tollway member`: who may spend how much of an account."""

from functools import partial
from typing import Any

import click
from sqlmodel import Session

from gateway.commands.running import Account, Json, migrated, nano_or_zero, new_id, run, show, show_rows
from gateway.settings import Settings
from metering import ledger
from metering.money import format_usd, now_ms
from policy import audit, budgets, members
from policy.audit import OPERATOR, Deed
from policy.tables import ROLES


@click.group()
def budget() -> None:
    """Budgets: what an account, a project, a member or a key may spend."""


@budget.command("set")
@Account
@click.option("--project", help="Bound a project: its id.")
@click.option("--member", help="Bound a member: their id.")
@click.option("--key", help="Bound a key: its id.")
@click.option("--usd", required=True, help="Budget in USD.")
@click.option("--reset", type=click.Choice(["daily", "weekly", "monthly"]), help="When the budget starts anew (UTC midnight).")
@Json
def budget_set(account_id: str, as_json: bool, usd: str, reset: str | None, **subjects: str | None) -> None:
    """Give the account, or one project, member or key of it, a budget."""
    named = [(scope, subject) for scope, subject in subjects.items() if subject is not None]
    if len(named) > 1:
        raise click.UsageError("only one of --project, --member and --key at a time")
    scope, subject_id = named[0] if named else ("account", account_id)
    show(run(set_budget, account_id=account_id, scope=scope, subject_id=subject_id, usd=usd, reset=reset), as_json)


@budget.command("list")
@Account
@Json
def budget_list(account_id: str, as_json: bool) -> None:
    """List an account's budgets and what is left of them."""
    show_rows(run(list_budgets, account_id=account_id), as_json)


@budget.command("remove")
@Account
@click.argument("budget_id")
def budget_remove(account_id: str, budget_id: str) -> None:
    """Remove a budget by its id."""
    run(remove_budget, account_id=account_id, id=budget_id)
    click.echo(f"removed {budget_id}")


@click.group()
def project() -> None:
    """Projects: keys that share a budget."""


@project.command("create")
@Account
@click.option("--name", required=True, help="A name, once per account.")
@Json
def project_create(account_id: str, name: str, as_json: bool) -> None:
    """Create a project; keys join it with `key create --project`."""
    show(run(create_project, account_id=account_id, name=name), as_json)


@project.command("list")
@Account
@Json
def project_list(account_id: str, as_json: bool) -> None:
    """List an account's projects."""
    show_rows(run(list_projects, account_id=account_id), as_json)


@click.group()
def member() -> None:
    """Members: the people of an account."""


@member.command("add")
@Account
@click.option("--email", required=True, help="Their address.")
@click.option("--role", type=click.Choice(ROLES[1:]), default="developer", show_default=True, help="What they may do.")
@Json
def member_add(account_id: str, email: str, role: str, as_json: bool) -> None:
    """Add a member; keys are theirs with `key create --member`."""
    show(run(add_member, account_id=account_id, email=email, role=role), as_json)


@member.command("list")
@Account
@Json
def member_list(account_id: str, as_json: bool) -> None:
    """List an account's members."""
    show_rows(run(list_members, account_id=account_id), as_json)


async def set_budget(
    settings: Settings, *, account_id: str, scope: str, subject_id: str, usd: str, reset: str | None
) -> dict[str, str | None]:
    amount, id = nano_or_zero(usd, "--usd"), new_id("lim")
    new = budgets.NewBudget(account_id=account_id, scope=scope, subject_id=subject_id, amount=amount, reset=reset)
    async with migrated(settings) as database:
        change = {"scope": scope, "usd": format_usd(amount), "reset": reset}
        deed = Deed(actor=OPERATOR, action="budget.set", account_id=account_id, subject=subject_id, change=change)
        await database.write(audit.noted, deed, now_ms(), partial(budgets.add, new=new, id=id, now=now_ms()))
    return {"id": id, "account_id": account_id, "scope": scope, "subject_id": subject_id, "limit_usd": format_usd(amount), "reset": reset}


async def list_budgets(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with migrated(settings) as database:
        await database.read(ledger.balance, account_id)
        rows = await database.read(budgets.listed, account_id)
    return [
        {
            "id": row.limit_id,
            "scope": row.scope,
            "subject_id": row.subject_id,
            "limit_usd": format_usd(limit.overdraft),
            "remaining_usd": format_usd(max(0, ledger.room(limit, now_ms()))),
            "reset": limit.reset,
        }
        for row, limit in rows
    ]


async def remove_budget(settings: Settings, *, account_id: str, id: str) -> None:
    async with migrated(settings) as database:
        deed = Deed(actor=OPERATOR, action="budget.remove", account_id=account_id, subject=id)
        if not await database.write(audit.noted, deed, now_ms(), partial(budgets.remove, account_id=account_id, id=id), bool):
            raise ValueError(f"the account has no budget {id}")


async def create_project(settings: Settings, *, account_id: str, name: str) -> dict[str, str]:
    id = new_id("prj")
    async with migrated(settings) as database:
        deed = Deed(actor=OPERATOR, action="project.create", account_id=account_id, subject=id)
        work = partial(budgets.add_project, id=id, account_id=account_id, name=name, now=now_ms())
        await database.write(audit.noted, deed, now_ms(), work)
    return {"id": id, "account_id": account_id, "name": name}


async def list_projects(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with migrated(settings) as database:
        await database.read(ledger.balance, account_id)
        rows = await database.read(budgets.projects, account_id)
    return [{"id": row.id, "name": row.name, "created_at": row.created_at} for row in rows]


async def add_member(settings: Settings, *, account_id: str, email: str, role: str) -> dict[str, str]:
    members.check_email(email)
    id = new_id("mem")

    def add(session: Session) -> None:
        ledger.balance(session, account_id)
        members.add(session, id=id, account_id=account_id, email=email, role=role, now=now_ms())
        deed = Deed(actor=OPERATOR, action="member.add", account_id=account_id, subject=id, change={"role": role})
        audit.record(session, deed, now=now_ms())

    async with migrated(settings) as database:
        await database.write(add)
    return {"id": id, "account_id": account_id, "email": email, "role": role}


async def list_members(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with migrated(settings) as database:
        await database.read(ledger.balance, account_id)
        rows = await database.read(members.listed, account_id)
    return [{"id": row.id, "email": row.email, "role": row.role, "created_at": row.created_at} for row in rows]
