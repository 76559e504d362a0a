"""`tollway ledger`."""

import sys

import click
import msgspec

from gateway.commands.proof import ledger_check_proof, ledger_checkpoint
from gateway.commands.running import Json, migrated, run, show_rows
from gateway.commands.statement import ledger_statement
from gateway.settings import Settings
from metering import verify
from metering.money import now_ms
from metering.verify import Check


@click.group("ledger")
def ledger_group() -> None:
    """The ledger."""


ledger_group.add_command(ledger_statement)
ledger_group.add_command(ledger_checkpoint)
ledger_group.add_command(ledger_check_proof)


@ledger_group.command("verify")
@Json
def ledger_verify(as_json: bool) -> None:
    """Recompute every invariant that holds on live data, in one snapshot; exit status 1 on any violation."""
    checks = run(verify_ledger)
    rows = [msgspec.to_builtins(check) for check in checks]
    show_rows(rows, as_json)
    sys.exit(0 if all(check.ok for check in checks) else 1)


async def verify_ledger(settings: Settings) -> list[Check]:
    async with migrated(settings) as database:
        return await database.read(verify.verify, now=now_ms())
