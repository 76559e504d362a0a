"""The rows behind the page about usage as a file: one per column of its chart and name, none left out."""

from collections.abc import AsyncGenerator

from gateway.dashboard.usage_asked import Asked
from gateway.dashboard.usage_found import Found, by_month, reach
from gateway.timespan import iso_day
from metering.exports import Column, Row
from metering.price import UNITS
from metering.rollups import HOUR_MS
from metering.usage_view import Used


async def rows(found: Found, wanted: Asked) -> AsyncGenerator[list[Row], None]:
    """In the order of `columns`; one page, for the cells of a page are bounded."""
    yield [_row(moment, name, used, found, wanted) for (moment, name), used in sorted(found.cells.items())]


def _row(moment: int, name: str, used: Used, found: Found, wanted: Asked) -> Row:
    named = {"day": (), "key": (name, found.labels.get(name)), "member": (name, found.labels.get(name))}.get(wanted.by, (name or None,))
    begins = moment if reach(wanted) == HOUR_MS else iso_day(moment)
    return (begins, *named, used.requests, used.errors, *used.units, used.charge, used.shortfall)


def columns(wanted: Asked) -> tuple[Column, ...]:
    begins = Column("hour", "moment") if reach(wanted) == HOUR_MS else Column("month" if by_month(wanted) else "date", "date")
    named = {
        "day": (),
        "key": (Column("key_id", "text"), Column("key_name", "user text")),
        "member": (Column("member_id", "text"), Column("member", "user text")),
        "app": (Column("app", "user text"),),
    }.get(wanted.by, (Column(wanted.by, "text"),))
    counted = tuple(Column(name, "count") for name in ("requests", "errors", *UNITS))
    return (begins, *named, *counted, Column("charge_usd", "usd"), Column("shortfall_usd", "usd"))
