"""`tollway credit`."""

import click
from sqlmodel import Session

from gateway.commands.running import Account, Json, migrated, new_id, run, show
from gateway.settings import Settings
from metering import ledger
from metering.money import format_usd, now_ms, parse_usd


@click.group()
def credit() -> None:
    """Credit."""


@credit.command("add")
@Account
@click.option("--usd", required=True, help="Amount in USD; negative takes unused credit back.")
@click.option("--reason", required=True, help="Why, for the ledger.")
@Json
def credit_add(account_id: str, usd: str, reason: str, as_json: bool) -> None:
    """Add credit to an account."""
    show(run(add_credit, account_id=account_id, usd=usd, reason=reason), as_json)


async def add_credit(settings: Settings, *, account_id: str, usd: str, reason: str) -> dict[str, str]:
    amount = parse_usd(usd)
    async with migrated(settings) as database:
        await database.write(deposit, account_id, amount, reason, now_ms())
        balance = await database.read(ledger.balance, account_id)
    return {"account_id": account_id, "added_usd": format_usd(amount), "available_usd": format_usd(balance.available)}


def deposit(session: Session, account_id: str, amount: int, reason: str, now: int) -> None:
    ledger.deposit(session, id=new_id("dep"), account_id=account_id, amount=amount, kind="deposit", reason=reason, now=now)
