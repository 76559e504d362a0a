"""`tollway usage`."""

import sys
from contextlib import aclosing

import click

from gateway.commands.files import output
from gateway.commands.running import Account, migrated, run
from gateway.commands.spans import Span
from gateway.settings import Settings
from gateway.timespan import span
from gateway.usage_export import BY, FORMATS, usage_export
from metering import statement


@click.group()
def usage() -> None:
    """Usage."""


@usage.command("export")
@Account
@Span
@click.option("--format", type=click.Choice(FORMATS), default="csv", show_default=True, help="The file's format.")
@click.option("--by", type=click.Choice(tuple(BY)), default="generation", show_default=True, help="One row per generation or per UTC day.")
@click.option("--out", help="The file to write; without it, standard output.")
def usage_export_command(account_id: str, first: str, last: str, format: str, by: str, out: str | None) -> None:
    """Export an account's usage with its charges, in time order; amounts are decimal USD, times UTC."""
    if format == "parquet" and out is None and sys.stdout.isatty():
        raise ValueError("--format parquet is not text: send it to a file with --out, or into a pipe")
    start, end = span(first, last, names=("--from", "--to"))
    run(export, account_id=account_id, start=start, end=end, format=format, by=by, out=out)


async def export(settings: Settings, *, account_id: str, start: int, end: int, format: str, by: str, out: str | None) -> None:
    async with migrated(settings) as database:
        await database.read(statement.check_account, account_id)
        with output(out) as file:
            async with aclosing(usage_export(database, account_id, start=start, end=end, format=format, by=by)) as chunks:
                async for chunk in chunks:
                    file.write(chunk)
