"""Figures in bounded memory: as good as their buckets, and of the last five minutes only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import histogram
from policy.health import Kind, Sample
from policy.histogram import BUCKETS, ERROR, SLOT_MS, SLOTS, Window, bucket_of
from policy.stats import Percentiles

ID = "acme/fast-1"

values = st.lists(st.integers(1, 900_000), min_size=1, max_size=500)


def _exact(sorted_values: list[float], share: float) -> float:
    """Nearest rank."""
    rank = -(-len(sorted_values) * round(share * 100) // 100)
    return sorted_values[max(rank, 1) - 1]


@given(first_bytes_ms=values)
def test_latency_percentiles_are_within_the_buckets_error(first_bytes_ms: list[int]) -> None:
    window = Window()
    for first_byte_ms in first_bytes_ms:
        window.add(Sample(ID, Kind.OK, 1_000_000, first_byte_ms, None, first_byte_ms))
    found, exact = histogram.latency(window.latency), sorted(first_bytes_ms)
    assert found is not None
    for share, value in zip((0.5, 0.75, 0.9, 0.99), _four(found), strict=True):
        assert value == pytest.approx(_exact(exact, share) / 1000, rel=ERROR * 1.001)


@given(rates=values)
def test_throughput_percentiles_are_read_from_the_slow_end(rates: list[int]) -> None:
    window = Window()
    for rate in rates:
        window.add(Sample(ID, Kind.OK, 1_000_000, None, rate, 100_000))
    found, exact = histogram.throughput(window.throughput), [-rate / 100 for rate in sorted(rates, reverse=True)]
    assert found is not None
    for share, value in zip((0.5, 0.75, 0.9, 0.99), _four(found), strict=True):
        assert value == pytest.approx(-_exact(exact, share), rel=ERROR * 1.001)


def _four(found: Percentiles) -> tuple[float, float, float, float]:
    return found.p50, found.p75, found.p90, found.p99


@given(value=st.floats(0, 10**9))
def test_every_value_has_a_bucket(value: float) -> None:
    assert 0 <= bucket_of(value) < BUCKETS


@given(waits=st.lists(st.integers(0, 60_000), max_size=100))
def test_the_sums_are_those_of_what_is_in_the_window(waits: list[int]) -> None:
    window, now_ms = Window(), 1_000_000
    for number, wait in enumerate(waits):
        now_ms += wait
        kind = Kind.FAILED if number % 7 == 0 else Kind.OK
        window.add(Sample(ID, kind, now_ms, number + 1, number, number + 1))
        window.put("other", now_ms // SLOT_MS - number % 40, histogram.Part(number, 1, {number: 3}, {}))
        window.forget(now_ms)
    parts = window.parts.values()
    assert window.ok == sum(part.ok for part in parts)
    assert window.failed == sum(part.failed for part in parts)
    assert sum(window.latency) == sum(sum(part.latency.values()) for part in parts)
    assert all(now_ms // SLOT_MS - SLOTS <= slot for _, slot in window.parts)


def test_nothing_seen_gives_no_figures() -> None:
    assert histogram.latency([0] * BUCKETS) is histogram.throughput([0] * BUCKETS) is Window().uptime() is None
