"""What templates write numbers, amounts and times with. Times are in the visitor's zone; amounts never lose a digit unless they say so."""

import datetime
from collections.abc import Callable
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from markupsafe import Markup

from metering.money import NANO_PER_USD, format_usd

ZONES: Final = frozenset(available_timezones())
CENT: Final = NANO_PER_USD // 100
NONE: Final = "–"


def usd(nano: int | None) -> str:
    """Every digit that counts: $0.00026265."""
    if nano is None:
        return NONE
    return f"-${format_usd(-nano)}" if nano < 0 else f"${format_usd(nano)}"


def about(nano: int | None) -> Markup | str:
    """For headlines: cents from a dollar on, else two digits that count, cut and not rounded; the exact amount stands in its title."""
    if nano is None:
        return NONE
    sign, amount = ("-" if nano < 0 else ""), abs(nano)
    unit = CENT if amount >= NANO_PER_USD or amount == 0 else max(1, 10 ** (len(str(amount)) - 2))
    whole, fraction = format_usd(amount // unit * unit).partition(".")[::2]
    shown = f"{sign}${int(whole):,}.{fraction.ljust(2, '0')}"
    return Markup('<span title="{}">{}</span>').format(usd(nano), shown)


def count(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def milliseconds(ms: int | None) -> str:
    if ms is None:
        return NONE
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def percent(part: int, whole: int) -> str:
    return NONE if not whole else f"{100 * part / whole:.2f} %"


def clock(zone: str) -> Callable[[int | None], Markup | str]:
    """Unix milliseconds -> a `<time>` in `zone`."""

    def when(ms: int | None) -> Markup | str:
        if ms is None:
            return NONE
        moment = at(ms, zone)
        text = moment.strftime("%Y-%m-%d %H:%M:%S")
        return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="milliseconds"), text)

    return when


def day(ms: int | None, zone: str = "UTC") -> str:
    return NONE if ms is None else at(ms, zone).strftime("%Y-%m-%d")


def at(ms: int, zone: str) -> datetime.datetime:
    seconds, rest = divmod(ms, 1000)
    known = ZoneInfo(zone) if zone in ZONES else datetime.UTC
    return datetime.datetime.fromtimestamp(seconds, known).replace(microsecond=rest * 1000)


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "usd": usd, "about": about, "count": count, "milliseconds": milliseconds, "day": day,
}  # fmt: skip
