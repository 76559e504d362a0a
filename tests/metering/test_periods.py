"""Budgets start anew at UTC midnight: every day, every Monday, every first of the month."""

import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.periods import RESETS, period, present


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("reset", "now", "start", "end"),
    [
        ("daily", "2024-02-28T23:59:59", "2024-02-28", "2024-02-29"),
        ("daily", "2024-02-29T00:00:00", "2024-02-29", "2024-03-01"),
        ("daily", "2023-02-28T12:00:00", "2023-02-28", "2023-03-01"),
        ("daily", "2025-12-31T12:00:00", "2025-12-31", "2026-01-01"),
        ("weekly", "2024-02-29T12:00:00", "2024-02-26", "2024-03-04"),
        ("weekly", "2026-01-01T00:00:00", "2025-12-29", "2026-01-05"),
        ("weekly", "2026-01-05T00:00:00", "2026-01-05", "2026-01-12"),
        ("weekly", "2026-01-04T23:59:59", "2025-12-29", "2026-01-05"),
        ("monthly", "2024-02-29T23:59:59", "2024-02-01", "2024-03-01"),
        ("monthly", "2023-02-01T00:00:00", "2023-02-01", "2023-03-01"),
        ("monthly", "2100-02-28T12:00:00", "2100-02-01", "2100-03-01"),
        ("monthly", "2025-01-31T12:00:00", "2025-01-01", "2025-02-01"),
        ("monthly", "2025-12-31T23:59:59", "2025-12-01", "2026-01-01"),
    ],
)
def test_ends_of_months_leap_years_and_weeks(reset: str, now: str, start: str, end: str) -> None:
    assert period(reset, _ms(now)) == (_ms(start), _ms(end))
    assert period(reset, _ms(now) + 999) == (_ms(start), _ms(end))


MOMENTS = st.integers(_ms("1970-01-05"), _ms("2200-01-01"))


@given(st.sampled_from(RESETS), MOMENTS)
def test_a_period_holds_its_moment_and_the_next_begins_where_it_ends(reset: str, now: int) -> None:
    start, end = period(reset, now)
    assert start <= now < end
    assert period(reset, start) == period(reset, end - 1) == (start, end)
    assert period(reset, end)[0] == end
    assert period(reset, start - 1)[1] == start


def test_a_year_has_365_days_52_weeks_and_12_months() -> None:
    year = range(_ms("2025-01-01"), _ms("2026-01-01"), 6 * 3_600_000)
    starts = {reset: [start for start, _ in itertools.groupby(period(reset, now)[0] for now in year)] for reset in RESETS}
    assert {reset: len(found) for reset, found in starts.items()} == {"daily": 365, "weekly": 53, "monthly": 12}


@given(MOMENTS)
def test_the_databases_are_given_the_same_periods(now: int) -> None:
    starts, ends = (json.loads(text) for text in present(now))
    assert {reset: (starts[reset], ends[reset]) for reset in RESETS} == {reset: period(reset, now) for reset in RESETS}
