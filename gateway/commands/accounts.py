"""`tollway account` and `tollway key`."""

import secrets
from functools import partial
from typing import Any

import click
from sqlmodel import Session

from gateway.commands.rights import account_resume, account_show, account_suspend
from gateway.commands.running import Account, Json, migrated, moment, nano_or_zero, new_id, run, show, show_rows
from gateway.settings import Settings
from metering import credits, ledger
from metering.money import format_usd, now_ms
from policy import audit, key_policy, keys, members
from policy.audit import OPERATOR, Deed
from policy.errors import InvalidKey
from policy.tables import Key


@click.group()
def account() -> None:
    """Accounts."""


for command in (account_show, account_suspend, account_resume):
    account.add_command(command)


@account.command("create")
@click.option("--email", required=True, help="The owner's address.")
@click.option("--credit", default="0", help="First credit in USD, for example 5 or 0.25.")
@Json
def account_create(email: str, credit: str, as_json: bool) -> None:
    """Create an account and print its owner's key, which is shown only now."""
    created = run(create_account, email=email, credit=credit)
    show(created, as_json)


@click.group()
def key() -> None:
    """API keys."""


@key.command("create")
@Account
@click.option("--name", default="", help="A name to tell keys apart.")
@click.option("--limit", help="Budget in USD.")
@click.option("--reset", type=click.Choice(["daily", "weekly", "monthly"]), help="When the budget starts anew (UTC midnight).")
@click.option("--expires", help="ISO 8601 moment, for example 2027-01-31 or 2027-01-31T12:00:00Z.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Requests that the key may make in any minute.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="Tokens that the key may use in any minute.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Requests that the key may make at once.")
@click.option("--project", "project_id", help="The project whose budgets bound the key: its id.")
@click.option("--member", "member_id", help="The member whose key it is: their id.")
@click.option("--data-collection", type=click.Choice(["allow", "deny"]), help="deny: no provider that trains on its prompts.")
@click.option("--zdr", is_flag=True, help="Only providers that keep nothing of its prompts.")
@click.option("--region", multiple=True, help="Where its prompts may be processed, for example eu; may be given several times.")
@click.option("--management", is_flag=True, help="A key for the account API that cannot call models.")
@Json
def key_create(as_json: bool, **wanted: Any) -> None:
    """Create a key and print it; it is shown only now."""
    show(run(create_key, **wanted), as_json)


@key.command("list")
@Account
@Json
def key_list(account_id: str, as_json: bool) -> None:
    """List an account's keys, revoked ones included."""
    show_rows(run(list_keys, account_id=account_id), as_json)


@key.command("revoke")
@click.argument("key_id")
def key_revoke(key_id: str) -> None:
    """Revoke a key by its id; it is dead within a second."""
    run(revoke_key, key_id=key_id)
    click.echo(f"revoked {key_id}")


async def create_account(settings: Settings, *, email: str, credit: str) -> dict[str, str]:
    """An account, its owner and the owner's key; `credit` is decimal text in USD."""
    members.check_email(email)
    amount = nano_or_zero(credit, "--credit")
    account_id, token = new_id("acc"), keys.generate(secrets.randbelow)
    pepper = keys.derive(settings.secret_key, "key-pepper")
    now = now_ms()

    def create(session: Session) -> None:
        ledger.open_account(session, id=account_id, now=now)
        members.add(session, id=new_id("mem"), account_id=account_id, email=email, role="owner", now=now)
        owner = keys.NewKey(account_id=account_id, kind="owner", name="owner")
        keys.create(session, owner, token=token, pepper=pepper, id=new_id("key"), now=now)
        if amount:
            credits.add(session, id=new_id("dep"), account_id=account_id, amount=amount, reason="first credit", now=now)
        audit.record(session, Deed(actor=OPERATOR, action="account.create", account_id=account_id), now=now)

    async with migrated(settings) as database:
        await database.write(create)
    return {"account_id": account_id, "key": token, "balance_usd": format_usd(amount)}


async def create_key(
    settings: Settings,
    *,
    account_id: str,
    name: str,
    limit: str | None,
    reset: str | None,
    expires: str | None,
    management: bool,
    data_collection: str | None = None,
    zdr: bool = False,
    region: tuple[str, ...] = (),
    **more: Any,
) -> dict[str, Any]:
    if reset and limit is None:
        raise ValueError("--reset needs --limit: there is no budget to start anew")
    token, id = keys.generate(secrets.randbelow), new_id("key")
    new = keys.NewKey(
        account_id=account_id,
        kind="management" if management else "inference",
        name=name,
        limit=None if limit is None else nano_or_zero(limit, "--limit"),
        reset=reset,
        expires_at=None if expires is None else moment(expires, "--expires"),
        data_policy=_data_policy(data_collection, zdr, region),
        **more,
    )
    pepper = keys.derive(settings.secret_key, "key-pepper")
    async with migrated(settings) as database:
        deed = Deed(actor=OPERATOR, action="key.create", account_id=account_id, subject=id, change={"kind": new.kind})
        await database.write(audit.noted, deed, now_ms(), partial(keys.create, new=new, token=token, pepper=pepper, id=id, now=now_ms()))
    return {
        "id": id,
        "key": token,
        "account_id": account_id,
        "kind": new.kind,
        "name": name,
        "limit_usd": limit,
        "reset": reset,
        "expires": expires,
        "data_policy": key_policy.shown(new.data_policy),
    }


def _data_policy(data_collection: str | None, zdr: bool, region: tuple[str, ...]) -> str | None:
    """Of the three only a region can be wrong: the others are what click lets through."""
    try:
        return key_policy.written({"data_collection": data_collection, "zdr": zdr or None, "region": list(region)})
    except InvalidKey as error:
        raise ValueError(f"--region: {error}") from None


async def list_keys(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with migrated(settings) as database:
        await database.read(ledger.balance, account_id)
        rows = await database.read(keys.listed, account_id)
    shown = (
        "id",
        "label",
        "kind",
        "name",
        "limit_id",
        "requests_per_minute",
        "tokens_per_minute",
        "concurrency",
        "expires_at",
        "revoked_at",
        "created_at",
    )
    return [{**{name: getattr(row, name) for name in shown}, "data_policy": key_policy.shown(row.data_policy)} for row in rows]


async def revoke_key(settings: Settings, *, key_id: str) -> None:
    async with migrated(settings) as database:
        key = await database.read(lambda session: session.get(Key, key_id))
        if key is None:
            raise ValueError(f"there is no key {key_id}")
        deed = Deed(actor=OPERATOR, action="key.delete", account_id=key.account_id, subject=key_id)
        await database.write(audit.noted, deed, now_ms(), partial(keys.revoke, key_id=key_id, now=now_ms()))
