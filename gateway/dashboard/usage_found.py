"""What the page about usage shows, in one snapshot: sums by column of the chart and name, what names are called, what filters offer."""

from typing import Final

import msgspec
from sqlmodel import Session

from gateway.dashboard.usage_asked import NAMES, NOTHING, Asked, column_filters
from gateway.timespan import DAY_MS, iso, iso_day
from metering import usage_view
from metering.exports import KeyFacts
from metering.rollups import HOUR_MS
from metering.usage_view import Step, Used
from policy import key_facts, members

HOURS_UPTO_DAYS: Final = 2
DAYS_UPTO: Final = 92
"""Longer periods are shown by UTC month."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`cells` by (beginning of the column, name); `labels` are what names are called; `choices` what the filters offer."""

    cells: dict[tuple[int, str], Used]
    complete: bool
    labels: dict[str, str]
    choices: dict[str, list[tuple[str, str]]]


def found(session: Session, account_id: str, wanted: Asked) -> Found:
    usage_view.snapshot(session)
    facts = key_facts.of_account(session, account_id)
    people = {member.id: member.email for member in members.listed(session, account_id)}
    filters = column_filters(wanted.chosen)
    if "member" in wanted.chosen:
        theirs = [id for id, fact in facts.items() if (fact.member_id or NOTHING) == wanted.chosen["member"]]
        filters["key_id"] = [id for id in theirs if "key_id" not in filters or id in filters["key_id"]]
    group = "key_id" if wanted.by == "member" else NAMES.get(wanted.by)
    step: Step = "hour" if reach(wanted) == HOUR_MS else "day"
    cells, complete = usage_view.series(session, account_id, start=wanted.start, end=wanted.end, step=step, group=group, filters=filters)
    labels = _labels(wanted.by, cells, facts, people)
    choices = _choices(usage_view.names(session, account_id, start=wanted.start, end=wanted.end), facts, people)
    return Found(cells=_regrouped(cells, wanted, facts), complete=complete, labels=labels, choices=choices)


def _regrouped(cells: dict[tuple[int, str], Used], wanted: Asked, facts: dict[str, KeyFacts]) -> dict[tuple[int, str], Used]:
    """Keys become their members and days their months where the page shows those."""
    found: dict[tuple[int, str], Used] = {}
    for (moment, name), used in cells.items():
        called = (facts.get(name, _NOBODY).member_id or "") if wanted.by == "member" else name
        found.setdefault((month(moment) if by_month(wanted) else moment, called), Used()).add(used)
    return found


def _labels(by: str, cells: dict[tuple[int, str], Used], facts: dict[str, KeyFacts], people: dict[str, str]) -> dict[str, str]:
    names = {name for _, name in cells}
    if by == "key":
        return {name: facts.get(name, _NOBODY).name or name for name in names}
    if by == "member":
        return people | {"": "(no member)"}
    return {name: name or ("all" if by == "day" else f"(no {by})") for name in names}


def _choices(names: dict[str, list[str]], facts: dict[str, KeyFacts], people: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """(value in the address, text) for every filter; members by the keys that they have."""
    found = {
        name: [(value or NOTHING, (facts.get(value, _NOBODY).name or value) if name == "key" else value or f"(no {name})")
               for value in names[column]]
        for name, column in NAMES.items()
    }  # fmt: skip
    return found | {"member": [*people.items(), (NOTHING, "(no member)")]}


def columns_of(wanted: Asked) -> list[tuple[str, int]]:
    """(text, beginning) of every hour, day or month of the period."""
    if by_month(wanted):
        begins = sorted({month(moment) for moment in range(wanted.start, wanted.end, DAY_MS)})
        return [(iso_day(begin)[:7], begin) for begin in begins]
    width = reach(wanted)
    return [(iso(at)[11:16] if width == HOUR_MS else iso_day(at)[5:], at) for at in range(wanted.start, wanted.end, width)]


def reach(wanted: Asked) -> int:
    return HOUR_MS if wanted.end - wanted.start <= HOURS_UPTO_DAYS * DAY_MS else DAY_MS


def month(moment: int) -> int:
    day = int(iso_day(moment)[8:])
    return moment - moment % DAY_MS - (day - 1) * DAY_MS


def by_month(wanted: Asked) -> bool:
    return wanted.end - wanted.start > DAYS_UPTO * DAY_MS


_NOBODY: Final = KeyFacts()
