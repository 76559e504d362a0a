"""`tollway incident`: whom a leak concerns, for the notices that are then due (GDPR Art. 33: 72 hours)."""

from typing import Any, Final

import click
import msgspec

from gateway.commands.running import Json, migrated, moment, run, show_rows
from gateway.settings import Settings
from gateway.timespan import iso
from metering.money import now_ms
from policy import incident

NOTICE_MS: Final = 72 * 3_600_000


@click.group("incident")
def incident_group() -> None:
    """Incidents: who is affected."""


@incident_group.command("scope")
@click.option("--since", required=True, help="ISO 8601 moment from which on data may have leaked.")
@click.option("--key", "key_id", help="The id of the key that leaked.")
@click.option("--table", help="The table that leaked.")
@Json
def incident_scope(since: str, key_id: str | None, table: str | None, as_json: bool) -> None:
    """List the accounts that a leak concerns, by what one key did, or by what was written to one table.

    Says on standard error until when the authority must know, counted from now (GDPR Art. 33: 72 hours after becoming aware of it).
    docs/incidents.md has the steps and the texts.
    """
    if (key_id is None) == (table is None):
        raise ValueError("say either --key or --table")
    rows = run(scope, since=since, key_id=key_id, table=table)
    show_rows(rows, as_json)
    click.echo(f"{len(rows):,} accounts; the authority must be told until {iso(now_ms() + NOTICE_MS)}: docs/incidents.md", err=True)


async def scope(settings: Settings, *, since: str, key_id: str | None, table: str | None) -> list[dict[str, Any]]:
    start = moment(since, "--since")
    async with migrated(settings) as database:
        if key_id is not None:
            found = await database.read(incident.by_key, key_id, since=start)
        else:
            found = await database.read(incident.by_table, table or "", since=start)
    return [msgspec.to_builtins(affected) for affected in found]
