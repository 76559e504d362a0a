"""A span of time as clients write it: two UTC days, both inclusive, or two ISO 8601 moments, the second exclusive; never over 400 days."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

DAY_MS: Final = 86_400_000
DAYS_MAX: Final = 400
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_MAX: Final = 9998
_EXAMPLES: Final = "a day such as 2027-01-31 or a moment such as 2027-01-31T12:00:00Z (without a zone it is UTC)"


class WrongSpan(ValueError):
    """`param` is the name of the parameter that is wrong; the text begins with it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param} {message}")
        self.param = param


def span(first: str | None, last: str | None, *, names: tuple[str, str]) -> tuple[int, int]:
    """(start, end) in Unix milliseconds, start <= moment < end. `names` are what the client calls the two, for WrongSpan."""
    start, end = _parsed(first, names[0], inclusive=False), _parsed(last, names[1], inclusive=True)
    if start >= end:
        raise WrongSpan(names[0], f"must be before {names[1]}")
    if end - start > DAYS_MAX * DAY_MS:
        raise WrongSpan(names[1], f"must be at most {DAYS_MAX} days after {names[0]}; ask for several shorter periods")
    return start, end


def day(text: str, param: str) -> int:
    """The first Unix millisecond of a UTC day given as YYYY-MM-DD. WrongSpan if it is none."""
    if not _DAY.fullmatch(text):
        raise WrongSpan(param, f"must be a UTC day such as 2027-01-31, not {text[:40]!r}")
    return _parsed(text, param, inclusive=False)


def moment(text: str, param: str) -> int:
    """Unix milliseconds of an ISO 8601 moment, or of a UTC day's beginning. WrongSpan if it is neither."""
    return _parsed(text, param, inclusive=False)


def iso(ms: int) -> str:
    """Unix milliseconds -> 2027-01-31T12:00:00.000Z."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03}Z"


def iso_day(ms: int) -> str:
    return iso(ms)[:10]


def _parsed(text: str | None, param: str, *, inclusive: bool) -> int:
    if not text:
        raise WrongSpan(param, f"is required: {_EXAMPLES}")
    try:
        if _DAY.fullmatch(text):
            found = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return _ms(found) + (DAY_MS if inclusive else 0)
        if _MOMENT.match(text):
            found = datetime.fromisoformat(text)
            return _ms(found if found.tzinfo else found.replace(tzinfo=UTC))
    except ValueError:
        pass
    raise WrongSpan(param, f"must be {_EXAMPLES}, not {text[:40]!r}")


def _ms(moment: datetime) -> int:
    """Rounded up: what is kept at whole milliseconds is before a moment between two of them if it is before the later one."""
    if not _EPOCH.year <= moment.year <= _YEAR_MAX:
        raise ValueError
    return -((_EPOCH - moment) // timedelta(milliseconds=1))
