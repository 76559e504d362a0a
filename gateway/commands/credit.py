"""`tollway credit`."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import click

from gateway.commands.running import Account, Json, migrated, moment, nano, new_id, run, show, show_rows
from gateway.settings import Settings
from metering import credits, ledger
from metering.database import Database
from metering.money import format_usd, now_ms
from policy import audit
from policy.audit import OPERATOR, Deed

Reason = click.option("--reason", required=True, help="Why, for the ledger.")


@click.group()
def credit() -> None:
    """Credit."""


@credit.command("add")
@Account
@click.option("--usd", required=True, help="Amount in USD; negative takes unused credit back.")
@Reason
@click.option("--kind", type=click.Choice(["paid", "promotional"]), help="Paid (the default) or given away, which is never refunded.")
@click.option("--expires", help="ISO 8601 moment after which the rest is gone, for example 2027-01-31T12:00:00Z.")
@click.option("--no-refund", is_flag=True, help="Paid credit that cannot be refunded.")
@Json
def credit_add(as_json: bool, **wanted: Any) -> None:
    """Add credit to an account."""
    show(run(add_credit, **wanted), as_json)


@credit.command("refund")
@Account
@click.option("--usd", help="Amount in USD, in whole cents; without it, all that can be refunded.")
@Reason
@Json
def credit_refund(account_id: str, usd: str | None, reason: str, as_json: bool) -> None:
    """Book the refund of paid credit that was not used."""
    show(run(refund_credit, account_id=account_id, usd=usd, reason=reason), as_json)


@credit.command("list")
@Account
@Json
def credit_list(account_id: str, as_json: bool) -> None:
    """List an account's credits, oldest first, with what remains of each."""
    show_rows(run(list_credits, account_id=account_id), as_json)


async def add_credit(
    settings: Settings, *, account_id: str, usd: str, reason: str, kind: str | None, expires: str | None, no_refund: bool
) -> dict[str, str]:
    """`usd` is decimal text; below zero it takes unused credit back, in the order in which it would have been used."""
    amount, paid = nano(usd, "--usd"), kind != "promotional"
    if amount < 0 and (kind or expires or no_refund):
        raise ValueError("--kind, --expires and --no-refund say what is added; a negative --usd takes credit back")
    expires_at = None if expires is None else moment(expires, "--expires")
    written: dict[str, Any] = {"id": new_id("dep"), "account_id": account_id, "reason": reason, "now": now_ms()}
    given: dict[str, Any] = {"kind": kind or "paid", "refundable": paid and not no_refund, "expires_at": expires_at}
    async with migrated(settings) as database:
        deed = Deed(actor=OPERATOR, action="credit.add", account_id=account_id, subject=written["id"], change={"usd": format_usd(amount)})
        if amount < 0:
            await database.write(audit.noted, deed, now_ms(), partial(credits.take_back, amount=-amount, **written))
        else:
            await database.write(audit.noted, deed, now_ms(), partial(credits.add, amount=amount, **written, **given))
        return {"account_id": account_id, "added_usd": format_usd(amount), "available_usd": await _available(database, account_id)}


async def refund_credit(settings: Settings, *, account_id: str, usd: str | None, reason: str) -> dict[str, str]:
    amount = None if usd is None else nano(usd, "--usd")
    async with migrated(settings) as database:
        id = new_id("ref")
        deed = Deed(actor=OPERATOR, action="credit.refund", account_id=account_id, subject=id)
        work = partial(credits.refund, id=id, account_id=account_id, amount=amount, reason=reason, now=now_ms())
        refunded = await database.write(audit.noted, deed, now_ms(), work)
        return {"account_id": account_id, "refunded_usd": format_usd(refunded), "available_usd": await _available(database, account_id)}


async def list_credits(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with migrated(settings) as database:
        rows = await database.read(credits.listed, account_id)
    return [
        {
            "id": row.id,
            "kind": row.kind,
            "refundable": row.refundable,
            "amount_usd": format_usd(row.amount),
            "remaining_usd": format_usd(row.remaining),
            "expires": None if row.expires_at is None else _moment(row.expires_at),
            "created": _moment(row.created_at),
        }
        for row in rows
    ]


async def _available(database: Database, account_id: str) -> str:
    return format_usd((await database.read(ledger.balance, account_id)).available)


def _moment(ms: int) -> str:
    """As `--expires` takes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
