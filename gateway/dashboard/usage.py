"""/dashboard/usage: what was used by day, model, provider, key, member or app, as a chart and a table, and the same as a file."""

from typing import Any, Final

from litestar import Response, get
from litestar.params import FromQuery
from litestar.types import ASGIApp

from gateway.dashboard import charts, usage_file
from gateway.dashboard.charts import SERIES_MAX, Series
from gateway.dashboard.page import page
from gateway.dashboard.usage_asked import BY, SHOWN, Asked, asked
from gateway.dashboard.usage_found import Found, columns_of, found, month
from gateway.dashboard.visitor import Plain, Visitor, visitor_of
from gateway.dashboard.words import count, usd
from gateway.download import Download
from gateway.errors import BadRequest
from gateway.export_formats import MEDIA_TYPES, encoded
from gateway.services import Services
from gateway.timespan import DAY_MS, iso_day
from metering.money import now_ms
from metering.price import UNITS
from metering.usage_view import TooManyGroups, Used

HERE: Final = "/dashboard/usage"
ROWS_MAX: Final = 200
"""Of the table; the file has all."""
OTHER: Final = "all others"


@get(HERE, include_in_schema=False)
async def show_usage(request: Plain) -> Response[str]:
    visitor = await visitor_of(request, "usage.read")
    at: Services = request.app.state.services
    wanted = asked(request.query_params, now=now_ms())
    seen = await _seen(visitor, wanted, at)
    names, columns, label = _ranked(seen, wanted.show), columns_of(wanted), _LABEL[wanted.show]
    rows = list(names.items()) if wanted.by != "day" else [(text, seen.cells.get((begin, ""), Used())) for text, begin in columns]
    series = [
        Series(seen.labels.get(name, name), _values(seen, columns, group, wanted.show)) for name, group in names_of_chart(names).items()
    ]
    title = f"{SHOWN[wanted.show]} by {wanted.by}, {wanted.first} to {wanted.last} (UTC)"
    chart = charts.stacked([text for text, _ in columns], series, id="usage", title=title, label=label)
    total = Used()
    for sums in names.values():
        total.add(sums)
    return page(
        "usage.html", visitor, here="usage", asked=wanted, found=seen, rows=rows[:ROWS_MAX], left_out=max(0, len(rows) - ROWS_MAX),
        total=total, chart=chart, series=series, columns=columns, label=label, tokens=_tokens, shown=SHOWN, ways=BY,
        formats=tuple(MEDIA_TYPES), quick=_quick(now_ms()), detail=wanted.by != "day",
    )  # fmt: skip


@get(f"{HERE}/export", include_in_schema=False)
async def export_shown(request: Plain, format: FromQuery[str] = "csv") -> ASGIApp:
    """The rows behind the page that has the same address: one per column of its chart and name, none left out."""
    visitor = await visitor_of(request, "usage.read")
    at: Services = request.app.state.services
    wanted = asked(request.query_params, now=now_ms())
    if format not in MEDIA_TYPES:
        raise BadRequest(f"format must be one of {', '.join(MEDIA_TYPES)}.", param="format")
    seen = await _seen(visitor, wanted, at)
    name = f"tollway-usage-by-{wanted.by}-{wanted.first}-{wanted.last}.{format}"
    chunks = encoded(usage_file.rows(seen, wanted), format, usage_file.columns(wanted))
    return Download(chunks, media_type=MEDIA_TYPES[format], file_name=name, stall_seconds=at.settings.idle_seconds)


async def _seen(visitor: Visitor, wanted: Asked, at: Services) -> Found:
    try:
        return await at.database.read(found, visitor.account_id, wanted)
    except TooManyGroups as error:
        raise BadRequest(f"{error}: choose fewer days, or a filter.", param="by") from None


def _ranked(seen: Found, show: str) -> dict[str, Used]:
    """Each name with its sums, the largest first."""
    sums: dict[str, Used] = {}
    for (_, name), used in seen.cells.items():
        sums.setdefault(name, Used()).add(used)
    return dict(sorted(sums.items(), key=lambda item: (-_VALUE[show](item[1]), item[0])))


def names_of_chart(names: dict[str, Used]) -> dict[str, set[str]]:
    """What a colour stands for: the largest names alone, the others together."""
    ranked = list(names)
    if len(ranked) <= SERIES_MAX:
        return {name: {name} for name in ranked}
    return {**{name: {name} for name in ranked[: SERIES_MAX - 1]}, OTHER: set(ranked[SERIES_MAX - 1 :])}


def _values(seen: Found, columns: list[tuple[str, int]], names: set[str], show: str) -> list[int]:
    value = _VALUE[show]
    return [sum(value(used) for name in names if (used := seen.cells.get((moment, name)))) for _, moment in columns]


def _quick(now: int) -> list[tuple[str, str, str]]:
    """(text, first day, last day) of the periods that are a click away."""
    today = now - now % DAY_MS
    this, before = month(now), month(month(now) - 1)
    spans = [(text, today - (days - 1) * DAY_MS, today) for text, days in (("Today", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90))]
    spans += [("This month", this, today), ("Last month", before, this - 1)]
    return [(text, iso_day(first), iso_day(last)) for text, first, last in spans]


def _tokens(used: Used) -> tuple[int, int]:
    """Of prompts, of answers."""
    units = dict(zip(UNITS, used.units, strict=True))
    answers = units["completion"] + units["reasoning"] + units["audio_completion"]
    return sum(used.units) - answers, answers


_VALUE: Final[dict[str, Any]] = {
    "charge": lambda used: used.charge,
    "requests": lambda used: used.requests,
    "tokens": lambda used: sum(used.units),
}
_LABEL: Final[dict[str, Any]] = {"charge": usd, "requests": count, "tokens": count}
