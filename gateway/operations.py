"""What the command line does, one function per command: settings in, plain values out."""

import datetime
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlmodel import Session

from gateway.settings import Settings
from metering import ledger, verify
from metering.database import Database, open_database
from metering.money import format_usd, now_ms, parse_usd
from metering.verify import Check
from migrations.upgrade import upgrade
from policy import keys, members
from policy import route as routing
from providers import catalog
from providers.content import Content
from providers.provider import ChatRequest


async def migrate(settings: Settings) -> str:
    async with _database(settings) as database:
        return await database.write(_upgrade)


async def create_account(settings: Settings, *, email: str, credit: str) -> dict[str, str]:
    """An account, its owner and the owner's key; `credit` is decimal text in USD."""
    members.check_email(email)
    amount = _positive_or_zero(parse_usd(credit), "--credit")
    account_id, token = new_id("acc"), keys.generate(secrets.randbelow)
    pepper = keys.derive(settings.secret_key, "key-pepper")
    now = now_ms()

    def create(session: Session) -> None:
        ledger.open_account(session, id=account_id, now=now)
        members.add_owner(session, id=new_id("mem"), account_id=account_id, email=email, now=now)
        owner = keys.NewKey(account_id=account_id, kind="owner", name="owner")
        keys.create(session, owner, token=token, pepper=pepper, id=new_id("key"), now=now)
        if amount:
            _deposit(session, account_id, amount, "first credit", now)

    async with _migrated(settings) as database:
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
    **per_minute: Any,
) -> dict[str, Any]:
    if reset and limit is None:
        raise ValueError("--reset needs --limit: there is no budget to start anew")
    token, id = keys.generate(secrets.randbelow), new_id("key")
    new = keys.NewKey(
        account_id=account_id,
        kind="management" if management else "inference",
        name=name,
        limit=None if limit is None else _positive_or_zero(parse_usd(limit), "--limit"),
        reset=reset,
        expires_at=None if expires is None else _moment(expires),
        **per_minute,
    )
    pepper = keys.derive(settings.secret_key, "key-pepper")
    async with _migrated(settings) as database:
        await database.write(keys.create, new, token=token, pepper=pepper, id=id, now=now_ms())
    return {
        "id": id,
        "key": token,
        "account_id": account_id,
        "kind": new.kind,
        "name": name,
        "limit_usd": limit,
        "reset": reset,
        "expires": expires,
    }


async def list_keys(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    async with _migrated(settings) as database:
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
        "expires_at",
        "revoked_at",
        "created_at",
    )
    return [{name: getattr(row, name) for name in shown} for row in rows]


async def revoke_key(settings: Settings, *, key_id: str) -> None:
    async with _migrated(settings) as database:
        if not await database.write(keys.revoke, key_id=key_id, now=now_ms()):
            raise ValueError(f"there is no key {key_id}")


async def add_credit(settings: Settings, *, account_id: str, usd: str, reason: str) -> dict[str, str]:
    amount = parse_usd(usd)
    async with _migrated(settings) as database:
        await database.write(_deposit, account_id, amount, reason, now_ms())
        balance = await database.read(ledger.balance, account_id)
    return {"account_id": account_id, "added_usd": format_usd(amount), "available_usd": format_usd(balance.available)}


async def verify_ledger(settings: Settings) -> list[Check]:
    async with _migrated(settings) as database:
        return await database.read(verify.verify, now=now_ms())


def explain_route(settings: Settings, *, model: str, provider: str) -> dict[str, Any]:
    """The route of a small text request: endpoints in order, what removed the others, and the ceiling that would be held."""
    try:
        preferences = msgspec.json.decode(provider, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"--provider must be a JSON object: {error}") from None
    loaded = catalog.load(settings.catalog or None)
    request = ChatRequest(
        body=Content({"messages": []}), model=model, stream=False, include_usage=False, max_tokens=None, n=1, prompt_tokens_max=1000,
        preferences=preferences,
    )  # fmt: skip
    names = {e.provider.api_key_env for e in loaded.every_endpoint() if e.provider.api_key_env}
    plan = routing.plan(request, loaded, keys=settings.provider_keys(names).keys())
    return {
        "endpoints": [endpoint.id for endpoint in plan.endpoints],
        "funnel": msgspec.to_builtins(plan.funnel),
        "ceiling_usd": format_usd(routing.ceiling(request, plan.endpoints)),
        "ceiling_of": "a prompt of 1000 tokens without max_tokens",
    }


def check_catalog(settings: Settings) -> list[str]:
    return catalog.check(catalog.load(settings.catalog or None), datetime.datetime.now(datetime.UTC).date())


def new_id(kind: str) -> str:
    """`kind_` + 24 hexadecimal digits: 48 bits of time in milliseconds, then 48 random ones, so ids sort by time."""
    return f"{kind}_{now_ms():012x}{secrets.token_hex(6)}"


@asynccontextmanager
async def _database(settings: Settings) -> AsyncGenerator[Database, None]:
    if settings.database_url.startswith("sqlite:///"):
        Path(settings.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    try:
        yield database
    finally:
        await database.aclose()


@asynccontextmanager
async def _migrated(settings: Settings) -> AsyncGenerator[Database, None]:
    """Commands work before the first `migrate` and the first `serve`."""
    async with _database(settings) as database:
        await database.write(_upgrade)
        yield database


def _upgrade(session: Session) -> str:
    return upgrade(session.connection())


def _deposit(session: Session, account_id: str, amount: int, reason: str, now: int) -> None:
    ledger.deposit(session, id=new_id("dep"), account_id=account_id, amount=amount, kind="deposit", reason=reason, now=now)


def _positive_or_zero(amount: int, option: str) -> int:
    if amount < 0:
        raise ValueError(f"{option} must be zero or more")
    return amount


def _moment(text: str) -> int:
    """ISO 8601 -> Unix milliseconds; without a zone it is UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--expires must be an ISO 8601 moment such as 2027-01-31T12:00:00Z, not {text[:40]!r}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() * 1000)
