"""When a process refuses one more request, and who goes first."""

import pytest

from policy.shedding import shed


@pytest.mark.parametrize("free_tier", [True, False])
def test_a_process_at_rest_takes_everybody(free_tier: bool) -> None:
    assert shed(0, 1000, 0, 0, free_tier) is None
    assert shed(799, 1000, 1_000, 250, free_tier) is None


@pytest.mark.parametrize(
    ("live", "queue_age_ms", "loop_lag_ms", "word"), [(1000, 0, 0, "1000 generations"), (5, 1_001, 0, "1001 ms"), (5, 0, 251, "251 ms")]
)
def test_each_bound_sheds_and_says_why(live: int, queue_age_ms: int, loop_lag_ms: int, word: str) -> None:
    assert word in (shed(live, 1000, queue_age_ms, loop_lag_ms, free_tier=False) or "")


def test_accounts_that_never_paid_go_first() -> None:
    assert shed(800, 1000, 0, 0, free_tier=True)
    assert shed(999, 1000, 0, 0, free_tier=False) is None


@pytest.mark.parametrize("live_max", [1, 2, 3])
def test_a_tiny_cap_still_serves_the_free_tier_when_idle(live_max: int) -> None:
    assert shed(0, live_max, 0, 0, free_tier=True) is None
