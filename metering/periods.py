"""When a budget starts anew: daily, weekly (Monday) and monthly, at UTC midnight."""

import json
from datetime import UTC, datetime, timedelta

RESETS = ("daily", "weekly", "monthly")


def period(reset: str, now_ms: int) -> tuple[int, int]:
    """The (start, end) of the period that holds `now_ms`, both Unix milliseconds; end is the first moment of the next."""
    midnight = datetime.fromtimestamp(now_ms // 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if reset == "daily":
        start, end = midnight, midnight + timedelta(days=1)
    elif reset == "weekly":
        start = midnight - timedelta(days=midnight.weekday())
        end = start + timedelta(days=7)
    else:
        start = midnight.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return _ms(start), _ms(end)


def present(now_ms: int) -> tuple[str, str]:
    """The starts and the ends of the periods that hold `now_ms`, as two JSON objects by reset, for the databases to look up."""
    periods = {reset: period(reset, now_ms) for reset in RESETS}
    return json.dumps({reset: start for reset, (start, _) in periods.items()}), json.dumps(
        {reset: end for reset, (_, end) in periods.items()}
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
