"""The `tollway` command: plain output that pipes well, errors on one line of stderr with exit status 1, wrong usage 2.

Works beside a running server on the same database, SQLite included. Only `serve` and `demo` start a serving process.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from gateway import operations
from gateway.settings import Settings
from metering.errors import MeteringError
from policy.errors import InvalidPreferences, NoEndpoint, UnknownModel
from providers.catalog import CatalogError

T = TypeVar("T")
Json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Commands(click.Group):
    """Turns what an operator can mend into one line; everything else stays a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UnknownModel as error:
            _fail(f"there is no model of that name{'; did you mean ' + ' or '.join(error.close) + '?' if error.close else ''}")
        except (MeteringError, CatalogError, InvalidPreferences, ValueError, OSError) as error:
            _fail(str(error).replace("\n", " "))


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
def migrate() -> None:
    """Bring the database to the newest revision."""
    click.echo(f"database is at revision {_run(operations.migrate)}")


@main.group()
def account() -> None:
    """Accounts."""


@account.command("create")
@click.option("--email", required=True, help="The owner's address.")
@click.option("--credit", default="0", help="First credit in USD, for example 5 or 0.25.")
@Json
def account_create(email: str, credit: str, as_json: bool) -> None:
    """Create an account and print its owner's key, which is shown only now."""
    created = _run(operations.create_account, email=email, credit=credit)
    _print(created, as_json)


@main.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.option("--account", "account_id", required=True, help="The account's id.")
@click.option("--name", default="", help="A name to tell keys apart.")
@click.option("--limit", help="Budget in USD.")
@click.option("--reset", type=click.Choice(["daily", "weekly", "monthly"]), help="When the budget starts anew (UTC midnight).")
@click.option("--expires", help="ISO 8601 moment, for example 2027-01-31 or 2027-01-31T12:00:00Z.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Requests that the key may make in any minute.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="Tokens that the key may use in any minute.")
@click.option("--management", is_flag=True, help="A key for the account API that cannot call models.")
@Json
def key_create(as_json: bool, **wanted: Any) -> None:
    """Create a key and print it; it is shown only now."""
    _print(_run(operations.create_key, **wanted), as_json)


@key.command("list")
@click.option("--account", "account_id", required=True, help="The account's id.")
@Json
def key_list(account_id: str, as_json: bool) -> None:
    """List an account's keys, revoked ones included."""
    _print_rows(_run(operations.list_keys, account_id=account_id), as_json)


@key.command("revoke")
@click.argument("key_id")
def key_revoke(key_id: str) -> None:
    """Revoke a key by its id; it is dead within a second."""
    _run(operations.revoke_key, key_id=key_id)
    click.echo(f"revoked {key_id}")


@main.group()
def credit() -> None:
    """Credit."""


@credit.command("add")
@click.option("--account", "account_id", required=True, help="The account's id.")
@click.option("--usd", required=True, help="Amount in USD; negative takes unused credit back.")
@click.option("--reason", required=True, help="Why, for the ledger.")
@Json
def credit_add(account_id: str, usd: str, reason: str, as_json: bool) -> None:
    """Add credit to an account."""
    _print(_run(operations.add_credit, account_id=account_id, usd=usd, reason=reason), as_json)


@main.group()
def route() -> None:
    """Routing."""


@route.command("explain")
@click.option("--model", required=True, help="Public id, for example tollway/echo.")
@click.option("--provider", default="{}", help="The request's provider preferences, as JSON.")
@Json
def route_explain(model: str, provider: str, as_json: bool) -> None:
    """Show which endpoints a request for this model would get, in which order, and why others would not."""
    try:
        _print(operations.explain_route(Settings.load(), model=model, provider=provider), as_json)
    except NoEndpoint as error:
        _print({"endpoints": [], "funnel": error.funnel}, as_json)
        _fail(error.message)


@main.group("catalog")
def catalog_group() -> None:
    """The catalog of models, providers and prices."""


@catalog_group.command("show")
@Json
def catalog_show(as_json: bool) -> None:
    """List every endpoint with its prices in USD per million tokens."""
    from providers import catalog

    _print_rows(catalog.show(catalog.load(Settings.load().catalog or None)), as_json)


@catalog_group.command("check")
def catalog_check() -> None:
    """Look for impossible rows; exit status 1 if there are any."""
    findings = operations.check_catalog(Settings.load())
    for finding in findings:
        click.echo(finding)
    click.echo(f"{len(findings)} findings" if findings else "the catalog is clean")
    sys.exit(1 if findings else 0)


@main.group("ledger")
def ledger_group() -> None:
    """The ledger."""


@ledger_group.command("verify")
@Json
def ledger_verify(as_json: bool) -> None:
    """Recompute every invariant that holds on live data, in one snapshot; exit status 1 on any violation."""
    checks = _run(operations.verify_ledger)
    rows = [msgspec.to_builtins(check) for check in checks]
    _print_rows(rows, as_json)
    sys.exit(0 if all(check.ok for check in checks) else 1)


def _run(operation: Callable[..., Awaitable[T]], **arguments: Any) -> T:
    """Runs an operation with the settings of the environment."""

    async def run() -> T:
        return await operation(Settings.load(), **arguments)

    return asyncio.run(run())


def _print(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(value).decode())
        return
    for name, item in value.items():
        click.echo(f"{name}\t{_text(item)}")


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
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


def _fail(message: str) -> NoReturn:
    click.echo(f"tollway: {message}", err=True)
    sys.exit(1)
