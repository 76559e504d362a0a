"""/dashboard: the balance, what was spent today and this month, requests, errors, how quick the answers were, what came last."""

from typing import Any, Final

import msgspec
from litestar import Response, get
from sqlmodel import Session

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
    return page("overview.html", visitor, here="overview", notice=noticed(request), seen=seen, start=end - DAYS * DAY_MS, end=end)


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
