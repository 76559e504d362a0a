"""The `tollway` command: plain output that pipes well, errors on one line of stderr with exit status 1, wrong usage 2.

Works beside a running server on the same database, SQLite included. Only `serve` and `demo` start a serving process.
"""

import sys
from typing import Any

import click

from gateway.commands import accounts, budget, credit, incident, ledger, people, registers, rights, routing, secrets, usage
from gateway.commands.running import fail, opened, run, upgraded
from gateway.settings import Settings
from metering.errors import MeteringError
from policy.errors import InvalidPreferences, ModelDeprecated, UnknownModel
from providers.catalog import CatalogError


class _Commands(click.Group):
    """Turns what an operator can mend into one line; everything else stays a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UnknownModel as error:
            fail(f"there is no model of that name{'; did you mean ' + ' or '.join(error.close) + '?' if error.close else ''}")
        except (MeteringError, CatalogError, InvalidPreferences, ModelDeprecated, ValueError, OSError) as error:
            fail(str(error).replace("\n", " "))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tollway: an OpenAI-compatible LLM routing gateway with prepaid balances."""


@main.command()
def demo() -> None:
    """Start at once: SQLite in ./.tollway, an account with $5, a new key, the offline echo model and every provider whose key is set."""
    from gateway.demo import run

    sys.exit(run())


@main.command()
def serve() -> None:
    """Serve with the settings of the environment until SIGTERM."""
    from gateway.server import serve as run

    settings = Settings.load()
    sys.exit(run(settings, lambda port: click.echo(f"Tollway serves http://{settings.host}:{port}/v1")))


@main.command()
def worker() -> None:
    """Do the chores of the servers on this database, sealing above all, until SIGTERM; they may then run with TOLLWAY_CHORES=off."""
    from gateway.commands.worker import work

    sys.exit(work(Settings.load()))


@main.command()
def migrate() -> None:
    """Bring the database to the newest revision."""
    click.echo(f"database is at revision {run(_migrate)}")


for group in (
    accounts.account,
    accounts.key,
    people.person,
    budget.member,
    budget.project,
    budget.budget,
    credit.credit,
    routing.route,
    routing.catalog_group,
    ledger.ledger_group,
    usage.usage,
    rights.privacy,
    rights.audit_group,
    registers.disclosure_group,
    incident.incident_group,
    secrets.secrets_group,
):
    main.add_command(group)


async def _migrate(settings: Settings) -> str:
    async with opened(settings) as database:
        return await database.write(upgraded)
