"""How a command runs: settings of the environment, a database at the newest revision, plain output that pipes well."""

import asyncio
import datetime
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from sqlmodel import Session

from gateway.settings import Settings
from metering.database import Database, open_database
from metering.money import now_ms, parse_usd
from migrations.upgrade import upgrade

T = TypeVar("T")
Json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
Account = click.option("--account", "account_id", required=True, help="The account's id.")


def run(operation: Callable[..., Awaitable[T]], **arguments: Any) -> T:
    """Runs an operation with the settings of the environment."""

    async def with_settings() -> T:
        return await operation(Settings.load(), **arguments)

    return asyncio.run(with_settings())


def show(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(value).decode())
        return
    for name, item in value.items():
        click.echo(f"{name}\t{_text(item)}")


def show_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """JSON array, or a header and tab-separated lines."""
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    if rows:
        click.echo("\t".join(rows[0]))
    for row in rows:
        click.echo("\t".join(_text(item) for item in row.values()))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else str(value)


def fail(message: str) -> NoReturn:
    click.echo(f"tollway: {message}", err=True)
    sys.exit(1)


def new_id(kind: str) -> str:
    """`kind_` + 24 hexadecimal digits: 48 bits of time in milliseconds, then 48 random ones, so ids sort by time."""
    return f"{kind}_{now_ms():012x}{secrets.token_hex(6)}"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Database, None]:
    if settings.database_url.startswith("sqlite:///"):
        Path(settings.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    try:
        yield database
    finally:
        await database.aclose()


@asynccontextmanager
async def migrated(settings: Settings) -> AsyncGenerator[Database, None]:
    """Commands work before the first `migrate` and the first `serve`."""
    async with opened(settings) as database:
        await database.write(upgraded)
        yield database


def upgraded(session: Session) -> str:
    return upgrade(session.connection())


def nano(text: str, option: str) -> int:
    """Decimal USD -> nano-USD, of either sign; ValueError names the option."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def nano_or_zero(text: str, option: str) -> int:
    amount = nano(text, option)
    if amount < 0:
        raise ValueError(f"{option} must be zero or more")
    return amount


def moment(text: str, option: str) -> int:
    """ISO 8601 -> Unix milliseconds; without a zone it is UTC."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{option} must be an ISO 8601 moment such as 2027-01-31T12:00:00Z, not {text[:40]!r}") from None
    return int((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp() * 1000)
