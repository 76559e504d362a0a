"""/dashboard/generations: the list, newest first, and one generation with its attempts, tokens, price line by line, and times."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.params import FromPath
from sqlmodel import Session

from gateway.api.account import generation_object
from gateway.dashboard import charts
from gateway.dashboard.charts import Bar
from gateway.dashboard.page import page
from gateway.dashboard.usage_asked import NAMES, NOTHING, chosen, days, without
from gateway.dashboard.visitor import NoSuchPage, Plain, visitor_of
from gateway.dashboard.words import milliseconds
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import DAY_MS
from metering import generation_list, generations, usage_view
from metering.exports import KeyFacts
from metering.generation_list import NEWEST, Listed, Name
from metering.money import format_rate, now_ms
from metering.price import UNITS, Line, Price, cost
from metering.reduction import Place
from metering.tables import Generation, Hold
from metering.usage import Usage
from policy import key_facts

HERE: Final = "/dashboard/generations"
PAGE: Final = 50
CHOICES_DAYS: Final = 90
OUTCOMES: Final = ("completed", "cancelled", "failed", "recovered")
_PLACE: Final = re.compile(r"([0-9]{1,16})\.([\w-]{0,100})", re.ASCII)
_COLUMNS: Final[dict[str, Name]] = {
    "model": "model", "provider": "provider", "key": "key_id", "app": "origin", "outcome": "outcome", "error": "error_type",
}  # fmt: skip


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`first` and `last` are the days as they were written, '' without any; `before` is where the page begins."""

    start: int
    end: int
    first: str
    last: str
    chosen: dict[str, str]
    before: Place

    def query(self, **more: str) -> dict[str, str]:
        return {name: value for name, value in {"from": self.first, "to": self.last, **self.chosen, **more}.items() if value}


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    listed: Listed
    facts: dict[str, KeyFacts]
    choices: dict[str, list[str]]


class One(msgspec.Struct, frozen=True, kw_only=True):
    row: Generation
    rates: Price | None
    hold: Hold | None
    facts: KeyFacts | None


@get(HERE, include_in_schema=False)
async def show_generations(request: Plain) -> Response[str]:
    visitor = await visitor_of(request, "usage.read")
    at: Services = request.app.state.services
    wanted = _wanted(request.query_params)
    shown = await at.database.read(_list, visitor.account_id, wanted, now=now_ms())
    place = shown.listed.next
    return page(
        "generations.html", visitor, here="generations", wanted=wanted, rows=shown.listed.rows, facts=shown.facts, choices=shown.choices,
        outcomes=OUTCOMES, nothing=NOTHING, next=wanted.query(before=f"{place.at}.{place.id}") if place else None, first=wanted.query(),
        is_first=wanted.before == NEWEST, looked_at=generation_list.SCAN_MAX, is_short=place is not None and len(shown.listed.rows) < PAGE,
    )  # fmt: skip


@get(f"{HERE}/{{generation_id:str}}", include_in_schema=False)
async def show_generation(request: Plain, generation_id: FromPath[str]) -> Response[str]:
    visitor = await visitor_of(request, "usage.read")
    at: Services = request.app.state.services
    seen = await at.database.read(_one, visitor.account_id, generation_id) if generation_id.isprintable() else None
    if seen is None:
        raise NoSuchPage
    row, told = seen.row, generation_object(seen.row, seen.rates)
    attempts = told["provider_responses"]
    return page(
        "generation.html", visitor, here="generations", row=row, told=told, hold=seen.hold, facts=seen.facts, attempts=attempts,
        units=[(unit, getattr(row, unit)) for unit in UNITS if getattr(row, unit)], lines=_lines(row, seen.rates, told),
        times=_times(attempts, row.duration_ms), rate=format_rate,
    )  # fmt: skip


def _wanted(query: Mapping[str, Any]) -> Wanted:
    """BadRequest names what cannot be read."""
    first, last = str(query.get("from") or ""), str(query.get("to") or "")
    start, _ = days(first, first) if first else (0, 0)
    _, end = days(last, last) if last else (0, 2**62)
    if start >= end:
        raise BadRequest("from must not be after to.", param="from")
    before = _before(str(query.get("before") or ""))
    return Wanted(start=start, end=end, first=first, last=last, chosen=chosen(query, tuple(_COLUMNS)), before=before)


def _before(text: str) -> Place:
    if not text:
        return NEWEST
    found = _PLACE.fullmatch(text)
    if found is None:
        raise BadRequest("before must be taken from the link to older generations.", param="before")
    return Place(int(found[1]), found[2])


def _list(session: Session, account_id: str, wanted: Wanted, *, now: int) -> Shown:
    filters = {_COLUMNS[name]: [without(value)] for name, value in wanted.chosen.items()}
    listed = generation_list.newest(
        session, account_id, before=wanted.before, start=wanted.start, end=wanted.end, filters=filters, page=PAGE
    )
    values = usage_view.names(session, account_id, start=now - CHOICES_DAYS * DAY_MS, end=now)
    choices = {name: values[column] for name, column in NAMES.items()}
    return Shown(listed=listed, facts=key_facts.of_account(session, account_id), choices=choices)


def _one(session: Session, account_id: str, id: str) -> One | None:
    found = generations.find(session, id, account_id)
    if found is None:
        return None
    row, rates = found
    facts = key_facts.named(session, {row.key_id})
    return One(row=row, rates=rates, hold=session.get(Hold, id), facts=facts.get(row.key_id))


def _lines(row: Generation, rates: Price | None, told: dict[str, Any]) -> tuple[Line, ...]:
    """The lines of `cost_arithmetic` with what each comes to."""
    if rates is None or not told["cost_arithmetic"]["lines"]:
        return ()
    return cost(Usage(**{unit: getattr(row, unit) for unit in UNITS}), rates).lines


def _times(attempts: list[dict[str, Any]], total: int) -> Any:
    bars = [
        Bar(each["provider_name"], each["started_ms"], each["ended_ms"] or total, each["latency"], each["error_class"] is None)
        for each in attempts
    ]
    return charts.timeline(bars, total, id="times", title="Attempts over time", label=milliseconds) if bars else None
