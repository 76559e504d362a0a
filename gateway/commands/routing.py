"""`tollway route` and `tollway catalog`."""

import secrets
import sys
from typing import Any, Final

import click
import msgspec

from gateway import explanation
from gateway.commands import route_text
from gateway.commands.catalog_import import catalog_import
from gateway.commands.replay import provider_keys, route_replay
from gateway.commands.running import Json, fail, migrated, run, show, show_rows
from gateway.deprecation import day
from gateway.settings import Settings
from metering import statement
from metering.money import now_ms
from policy import account_rules
from policy.errors import UnknownPreset
from policy.route import draw_of
from policy.rules import NO, Rules
from providers import catalog
from providers.catalog_check import check
from providers.content import Content
from providers.provider import ChatRequest

HEALTHY: Final = "every endpoint is healthy: what the servers know of that is in POST /v1/route/explain"


@click.group()
def route() -> None:
    """Routing."""


@route.command("explain")
@click.option("--model", required=True, help="Public id, for example tollway/echo.")
@click.option("--provider", default="{}", help="The request's provider preferences, as JSON.")
@click.option("--account", "account_id", help="The id of an account whose rules are to hold.")
@click.option("--draw", type=float, help="A number from 0 up to 1, as printed by an earlier run, to see the same order again.")
@Json
def route_explain(as_json: bool, **asked: Any) -> None:
    """Show which endpoints a request for this model would get, in which order, and why others would not."""
    found = run(explain_route, **asked)
    if as_json:
        show(found, as_json)
    else:
        click.echo("\n".join(route_text.lines(found)))
    if found["error"] is not None:
        fail(found["error"]["message"])


route.add_command(route_replay)


@click.group("catalog")
def catalog_group() -> None:
    """The catalog of models, providers and prices."""


@catalog_group.command("show")
@Json
def catalog_show(as_json: bool) -> None:
    """List every endpoint with its prices in USD per million tokens."""
    show_rows(catalog.show(catalog.load(Settings.load().catalog or None)), as_json)


@catalog_group.command("check")
def catalog_check() -> None:
    """Look for impossible rows; exit status 1 if there are any."""
    findings = check_catalog(Settings.load())
    for finding in findings:
        click.echo(finding)
    click.echo(f"{len(findings)} findings" if findings else "the catalog is clean")
    sys.exit(1 if findings else 0)


catalog_group.add_command(catalog_import)


async def explain_route(
    settings: Settings, *, model: str, provider: str, account_id: str | None = None, draw: float | None = None
) -> dict[str, Any]:
    """The route of a small text request, as `gateway.explanation` describes it, under the rules of the account if there is one."""
    try:
        preferences = msgspec.json.decode(provider, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"--provider must be a JSON object: {error}") from None
    if draw is not None and not 0 <= draw < 1:
        raise ValueError("--draw must be from 0 up to, but not including, 1")
    request = ChatRequest(
        body=Content({"messages": []}), model=model, stream=False, include_usage=False, max_tokens=None, n=1,
        prompt_tokens_max=explanation.PROMPT_TOKENS, preferences=preferences,
    )  # fmt: skip
    rules = NO if account_id is None else await _rules_of(settings, account_id)
    loaded = catalog.load(settings.catalog or None)
    try:
        return explanation.explanation(
            request,
            loaded,
            assumed=(f"a text prompt of {explanation.PROMPT_TOKENS} tokens", HEALTHY),
            keys=provider_keys(settings, loaded).keys(),
            rules=rules,
            draw=draw_of(secrets.token_hex(8)) if draw is None else draw,
            today=day(now_ms()),
        )
    except UnknownPreset as error:
        hint = f"; did you mean {' or '.join(error.close)}?" if error.close else "; --account names whose presets and policies hold"
        raise ValueError(f"there is no {error.kind} {error.name.reveal()[:100]!r}{hint}") from None


async def _rules_of(settings: Settings, account_id: str) -> Rules:
    async with migrated(settings) as database:
        await database.read(statement.check_account, account_id)
        return await database.read(account_rules.of, account_id)


def check_catalog(settings: Settings) -> list[str]:
    return check(catalog.load(settings.catalog or None), day(now_ms()))
