"""`tollway ledger statement`."""

from collections.abc import Iterator
from contextlib import aclosing

import click
import msgspec

from gateway.commands.files import output
from gateway.commands.running import Account, migrated, run
from gateway.commands.spans import Span
from gateway.settings import Settings
from gateway.timespan import iso, span
from metering import statement
from metering.money import format_usd
from metering.statement import Line

FIELDS = ("at", "kind", "id", "amount_usd", "balance_usd", "reason")


@click.command("statement")
@Account
@Span
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
def ledger_statement(account_id: str, first: str, last: str, as_json: bool) -> None:
    """Print an account's opening balance, every entry with the balance after it, and the closing balance."""
    start, end = span(first, last, names=("--from", "--to"))
    run(print_statement, account_id=account_id, start=start, end=end, as_json=as_json)


async def print_statement(settings: Settings, *, account_id: str, start: int, end: int, as_json: bool) -> None:
    async with migrated(settings) as database:
        await database.read(statement.check_account, account_id)
        with output(None) as out:
            if not as_json:
                out.write(_tabbed(FIELDS))
            async with aclosing(statement.lines(database, account_id, start=start, end=end)) as pages:
                async for page in pages:
                    out.writelines(map(_json if as_json else _line, page))


def _json(line: Line) -> bytes:
    return msgspec.json.encode(dict(zip(FIELDS, _values(line), strict=True))) + b"\n"


def _line(line: Line) -> bytes:
    return _tabbed("-" if value is None else value for value in _values(line))


def _values(line: Line) -> tuple[str | None, ...]:
    amount = None if line.amount is None else format_usd(line.amount)
    return iso(line.at), line.kind, line.id, amount, format_usd(line.balance), line.reason


def _tabbed(values: "tuple[str, ...] | Iterator[str]") -> bytes:
    """A reason may hold tabs and line ends: one space each, so that a line stays a line."""
    return "\t".join(" ".join(value.split()) for value in values).encode() + b"\n"
