"""`tollway privacy request` and `tollway disclosure`: what was asked under privacy laws, and what was handed to others."""

from functools import partial
from typing import Any

import click

from gateway.commands.running import Json, migrated, moment, new_id, run, show, show_rows
from gateway.settings import Settings
from gateway.timespan import iso
from metering.money import now_ms
from policy import disclosures, rights_requests
from policy.audit import OPERATOR
from policy.rights_requests import is_overdue
from policy.rights_tables import Disclosure, RightsRequest

Account = click.option("--account", "account_id", help="The account's id, where one is concerned.")


@click.group("request")
def request_group() -> None:
    """Requests under privacy laws that need a person, with their due dates."""


@request_group.command("open")
@click.option("--kind", required=True, type=click.Choice(rights_requests.KINDS), help="What is asked for.")
@click.option("--law", required=True, type=click.Choice(tuple(rights_requests.DAYS)), help="gdpr: due in 30 days, ccpa: in 45.")
@Account
@click.option("--note", default="", help="What they wrote, as short as it can be.")
@Json
def request_open(as_json: bool, **asked: Any) -> None:
    """Open a request that came by mail or by letter."""
    show(run(open_request, **asked), as_json)


@request_group.command("list")
@Account
@click.option("--all", "closed_too", is_flag=True, help=f"Also the last {rights_requests.PAGE} that are closed.")
@Json
def request_list(account_id: str | None, closed_too: bool, as_json: bool) -> None:
    """List the open requests by when they are due, overdue ones first."""
    show_rows(run(list_requests, account_id=account_id, closed_too=closed_too), as_json)


@request_group.command("close")
@click.argument("request_id")
@click.option("--outcome", required=True, help="What was answered; the account's owner sees it.")
@Json
def request_close(request_id: str, outcome: str, as_json: bool) -> None:
    """Close a request with its outcome."""
    show(run(close_request, request_id=request_id, outcome=outcome), as_json)


@click.group("disclosure")
def disclosure_group() -> None:
    """The register of what was disclosed to authorities and others; nothing in it is ever changed."""


@disclosure_group.command("add")
@click.option("--recipient", required=True, help="Who got it.")
@click.option("--basis", required=True, help="On which basis, for instance the order's number.")
@click.option("--categories", required=True, help="What, as categories of `tollway privacy retention`, with commas.")
@Account
@click.option("--note", default="", help="What else is to be known.")
@click.option("--at", help="ISO 8601 moment at which it was disclosed; default: now.")
@Json
def disclosure_add(as_json: bool, **disclosed: Any) -> None:
    """Note a disclosure, for good."""
    show(run(add_disclosure, **disclosed), as_json)


@disclosure_group.command("list")
@Account
@Json
def disclosure_list(account_id: str | None, as_json: bool) -> None:
    """List what was disclosed, oldest first; of one account, or all."""
    show_rows(run(list_disclosures, account_id=account_id), as_json)


async def open_request(settings: Settings, **asked: Any) -> dict[str, Any]:
    now = now_ms()
    async with migrated(settings) as database:
        row = await database.write(rights_requests.open_request, id=new_id("req"), by=OPERATOR, now=now, **asked)
    return _request(row, now)


async def list_requests(settings: Settings, *, account_id: str | None, closed_too: bool) -> list[dict[str, Any]]:
    rows: list[RightsRequest] = []
    async with migrated(settings) as database:
        page = partial(rights_requests.open_page, account_id=account_id)
        while found := await database.read(page, after=rows[-1] if rows else None):
            rows += found
        if closed_too:
            rows += await database.read(rights_requests.last_closed, account_id=account_id)
    return [_request(row, now_ms()) for row in rows]


async def close_request(settings: Settings, *, request_id: str, outcome: str) -> dict[str, Any]:
    now = now_ms()
    async with migrated(settings) as database:
        return _request(await database.write(rights_requests.close_request, request_id, outcome=outcome, by=OPERATOR, now=now), now)


async def add_disclosure(settings: Settings, *, categories: str, at: str | None, **disclosed: Any) -> dict[str, Any]:
    now = now_ms()
    named = [category.strip() for category in categories.split(",") if category.strip()]
    disclosed_at = now if at is None else moment(at, "--at")
    async with migrated(settings) as database:
        work = partial(disclosures.add, id=new_id("dis"), categories=named, disclosed_at=disclosed_at, by=OPERATOR, now=now)
        return _disclosure(await database.write(work, **disclosed))


async def list_disclosures(settings: Settings, *, account_id: str | None) -> list[dict[str, Any]]:
    rows: list[Disclosure] = []
    async with migrated(settings) as database:
        page = partial(disclosures.page, account_id=account_id)
        while found := await database.read(page, after=rows[-1] if rows else None):
            rows += found
    return [_disclosure(row) for row in rows]


def _request(row: RightsRequest, now: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "due_at": iso(row.due_at),
        "overdue": is_overdue(row, now),
        "account_id": row.account_id,
        "kind": row.kind,
        "law": row.law,
        "opened_at": iso(row.opened_at),
        "closed_at": None if row.closed_at is None else iso(row.closed_at),
        "note": row.note,
        "outcome": row.outcome,
    }


def _disclosure(row: Disclosure) -> dict[str, Any]:
    return {
        "id": row.id,
        "disclosed_at": iso(row.disclosed_at),
        "account_id": row.account_id,
        "recipient": row.recipient,
        "basis": row.basis,
        "categories": row.categories.split(","),
        "note": row.note,
    }
