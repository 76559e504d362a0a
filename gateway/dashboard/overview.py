"""/dashboard: the balance, what was spent today and this month, requests, errors, how quick the answers were, what came last."""

from collections import Counter
from typing import Any, Final

import msgspec
from litestar import Response, get
from markupsafe import Markup
from sqlmodel import Session

from gateway.dashboard import charts, words
from gateway.dashboard.charts import Series
from gateway.dashboard.page import noticed, page
from gateway.dashboard.visitor import Plain, visitor_of
from gateway.services import Services
from metering import generation_list, usage_view
from metering.generation_list import Speed
from metering.money import now_ms
from metering.periods import period
from metering.usage_view import Used

DAY_MS: Final = 86_400_000
DAYS: Final = 30
MODELS: Final = charts.SERIES_MAX - 1
NEWEST: Final = 8


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """`days` are the last thirty UTC days, by model; `today` and `month` begin at UTC midnight."""

    today: Used
    month: Used
    days: dict[tuple[int, str], Used]
    complete: bool
    speed: Speed
    newest: list[Any]


@get("/dashboard", include_in_schema=False)
async def show_overview(request: Plain) -> Response[str]:
    visitor = await visitor_of(request, "usage.read")
    at: Services = request.app.state.services
    now = now_ms()
    end = now - now % DAY_MS + DAY_MS
    seen = await at.database.read(_overview, visitor.account_id, now=now, end=end)
    chart, models = _chart(seen, [end - (DAYS - number) * DAY_MS for number in range(DAYS)])
    return page("overview.html", visitor, here="overview", notice=noticed(request), seen=seen, chart=chart, models=models)


def _chart(seen: Overview, days: list[int]) -> tuple[Markup, list[str]]:
    """What was spent on each day, by model; the dearest models have colours of their own."""
    spent: Counter[str] = Counter()
    for (_, model), used in seen.days.items():
        spent[model] += used.charge
    names = [model for model, _ in spent.most_common(MODELS)]
    series = [Series(model, [_charge(seen, day, model) for day in days]) for model in names]
    if len(spent) > MODELS:
        others = [sum(_charge(seen, day, model) for model in spent if model not in names) for day in days]
        series.append(Series("all others", others))
    texts = [str(words.day(day))[5:] for day in days]
    chart = charts.stacked(texts, series, id="spent", title=f"Spent per day by model, the last {DAYS} days (UTC)", label=words.usd)
    return chart, [each.name for each in series]


def _charge(seen: Overview, day: int, model: str) -> int:
    used = seen.days.get((day, model))
    return used.charge if used else 0


def _overview(session: Session, account_id: str, *, now: int, end: int) -> Overview:
    days, complete = usage_view.series(session, account_id, start=end - DAYS * DAY_MS, end=end, step="day", group="model")
    month_start, _ = period("monthly", now)
    month, _ = usage_view.totals(session, account_id, start=month_start, end=end)
    today = Used()
    for (day, _), used in days.items():
        if day == end - DAY_MS:
            today.add(used)
    return Overview(
        today=today, month=month.get("", Used()), days=days, complete=complete, speed=generation_list.speed(session, account_id),
        newest=generation_list.newest(session, account_id, page=NEWEST).rows,
    )  # fmt: skip
