"""What a page about usage was asked for: its address read once, checked, and written again for the links on it."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from gateway.errors import BadRequest
from gateway.timespan import DAY_MS, WrongSpan, iso_day, span
from metering.usage_view import Group

BY: Final = ("day", "model", "provider", "key", "member", "app")
SHOWN: Final = {"charge": "Spent", "requests": "Requests", "tokens": "Tokens"}
NAMES: Final[dict[str, Group]] = {"model": "model", "provider": "provider", "key": "key_id", "app": "origin"}
"""The name in the address -> the column; a member is the keys that are theirs."""
DAYS: Final = 30
VALUE_CHARACTERS_MAX: Final = 300
NOTHING: Final = "-"
"""In an address: those that have none, for instance requests that named no app."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """`start` and `end` are UTC midnights; `chosen` has the value of every filter that is set."""

    start: int
    end: int
    by: str
    show: str
    chosen: dict[str, str]

    @property
    def first(self) -> str:
        return iso_day(self.start)

    @property
    def last(self) -> str:
        return iso_day(self.end - 1)

    def address(self, **changes: str) -> str:
        """The query of this page with some of its values changed."""
        values = {"from": self.first, "to": self.last, "by": self.by, "show": self.show, **self.chosen, **changes}
        return urlencode({name: value for name, value in values.items() if value})


def asked(query: Mapping[str, Any], *, now: int) -> Asked:
    """BadRequest names what cannot be read. Without days: the last thirty, today included."""
    today = now - now % DAY_MS
    first, last = query.get("from") or iso_day(today - (DAYS - 1) * DAY_MS), query.get("to") or iso_day(today)
    start, end = days(first, last)
    by, show = query.get("by") or "model", query.get("show") or "charge"
    for name, value, known in (("by", by, BY), ("show", show, tuple(SHOWN))):
        if value not in known:
            raise BadRequest(f"{name} must be {', '.join(known[:-1])} or {known[-1]}.", param=name)
    return Asked(start=start, end=end, by=by, show=show, chosen=chosen(query, (*NAMES, "member")))


def days(first: str, last: str) -> tuple[int, int]:
    """Two UTC days, both included."""
    try:
        start, end = span(first[:40], last[:40], names=("from", "to"))
    except WrongSpan as error:
        raise BadRequest(f"{error}.", param=error.param) from None
    if start % DAY_MS or end % DAY_MS:
        raise BadRequest("from and to must be days such as 2027-01-31.", param="from")
    return start, end


def chosen(query: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    found = {name: str(query.get(name) or "") for name in names}
    for name, value in found.items():
        if len(value) > VALUE_CHARACTERS_MAX or not value.isprintable():
            raise BadRequest(f"{name} is too long, or has characters that no name has.", param=name)
    return {name: value for name, value in found.items() if value}


def column_filters(values: Mapping[str, str]) -> dict[Group, list[str]]:
    """The filters by column, without `member`."""
    return {column: [without(values[name])] for name, column in NAMES.items() if name in values}


def without(value: str) -> str:
    return "" if value == NOTHING else value
