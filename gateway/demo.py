"""`tollway demo`: everything on one machine in seconds: SQLite in ./.tollway, an account with $5, a key that is new at every start."""

import asyncio
import secrets
from pathlib import Path

import click
from sqlmodel import Session

from gateway.commands import people
from gateway.commands.running import new_id
from gateway.server import listener, serve
from gateway.settings import Settings
from metering import credits, ledger
from metering.database import open_database
from metering.money import NANO_PER_USD, now_ms
from migrations.upgrade import upgrade
from policy import keys, members
from policy.people_tables import Person

ACCOUNT = "acc_demo"
EMAIL = "demo@localhost"
CREDIT = 5 * NANO_PER_USD


def run() -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    folder = Path(".tollway")
    folder.mkdir(exist_ok=True)
    settings = Settings.load(database_url=f"sqlite:///{folder}/demo.db", redis_url="", workers=1, env="development")
    bound = listener(settings)  # first: a demo that cannot start must not revoke the key of the one that runs
    token, link = asyncio.run(_prepare(settings))
    return serve(settings, lambda port: _announce(settings, port, token, link), bound)


async def _prepare(settings: Settings) -> tuple[str, str]:
    """The demo account, filled up to $5; its key of this start, as earlier starts' keys are revoked; the path that signs its owner in."""
    database = open_database(settings.database_url)
    token = keys.generate(secrets.randbelow)
    try:
        await database.write(_fill, token, keys.derive(settings.secret_key, "key-pepper"))
        made = await database.write(people.make_link, email=EMAIL, origin="", now=now_ms())
        await database.write(_make_operator, made["person_id"])
    finally:
        await database.aclose()
    return token, made["link"]


def _make_operator(session: Session, person_id: str) -> None:
    """Whoever starts the demo runs the installation."""
    session.get_one(Person, person_id).operator = 1


def _fill(session: Session, token: str, pepper: bytes) -> None:
    upgrade(session.connection())
    now = now_ms()
    if ACCOUNT not in ledger.account_ids(session):
        ledger.open_account(session, id=ACCOUNT, now=now)
        members.add(session, id=new_id("mem"), account_id=ACCOUNT, email=EMAIL, role="owner", now=now)
    missing = CREDIT - ledger.balance(session, ACCOUNT).available
    if missing > 0:
        credits.add(session, id=new_id("dep"), account_id=ACCOUNT, amount=missing, reason="demo", now=now)
    for old in keys.listed(session, ACCOUNT):
        if old.kind == "owner":  # those that were made on the pages stay
            keys.revoke(session, key_id=old.id, now=now)
    owner = keys.NewKey(account_id=ACCOUNT, kind="owner", name="demo")
    keys.create(session, owner, token=token, pepper=pepper, id=new_id("key"), now=now)


def _announce(settings: Settings, port: int, token: str, link: str) -> None:
    origin = f"http://{settings.host}:{port}"
    base_url = f"{origin}/v1"
    click.echo(
        f"""Tollway is running, with $5 to spend on tollway/echo (offline) and on every provider whose key is in the environment.

  base URL   {base_url}
  API key    {token}
  dashboard  {origin}{link}
             (signs in once, within ten minutes; every start prints a new one)

  curl {base_url}/chat/completions -H "Authorization: Bearer {token}" -H "Content-Type: application/json" \\
    -d '{{"model": "tollway/echo", "messages": [{{"role": "user", "content": "Hello, Tollway!"}}], "stream": true}}' -N
"""
    )
