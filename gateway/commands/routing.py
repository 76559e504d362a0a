"""`tollway route` and `tollway catalog`."""

import datetime
import sys
from typing import Any

import click
import msgspec

from gateway.commands.running import Json, fail, show, show_rows
from gateway.settings import Settings
from metering.money import format_usd
from policy import route as routing
from policy.errors import NoEndpoint
from providers import catalog
from providers.content import Content
from providers.provider import ChatRequest


@click.group()
def route() -> None:
    """Routing."""


@route.command("explain")
@click.option("--model", required=True, help="Public id, for example tollway/echo.")
@click.option("--provider", default="{}", help="The request's provider preferences, as JSON.")
@Json
def route_explain(model: str, provider: str, as_json: bool) -> None:
    """Show which endpoints a request for this model would get, in which order, and why others would not."""
    try:
        show(explain_route(Settings.load(), model=model, provider=provider), as_json)
    except NoEndpoint as error:
        show({"endpoints": [], "funnel": error.funnel}, as_json)
        fail(error.message)


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
