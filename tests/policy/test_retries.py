"""The retry budget: a fifth of the requests of the last ten seconds, and ten a second beyond that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.retries import ALWAYS, PERCENT, WINDOW_SECONDS, Retries


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def _retry_while_allowed(retries: Retries, provider: str) -> int:
    count = 0
    while count < 10_000 and retries.may_retry(provider):
        retries.started(provider, retry=True)
        count += 1
    return count


@pytest.mark.parametrize(("firsts", "allowed"), [(0, 100), (1, 101), (10, 102), (100, 120), (1000, 300)])
def test_a_fifth_of_the_requests_may_be_retries_and_ten_a_second_always(firsts: int, allowed: int) -> None:
    retries = Retries(Clock())
    for _ in range(firsts):
        retries.started("acme")
    assert _retry_while_allowed(retries, "acme") == allowed
    assert retries.recent("acme") == (firsts, allowed)


def test_providers_do_not_share_a_budget() -> None:
    retries = Retries(Clock())
    assert _retry_while_allowed(retries, "acme") == ALWAYS
    assert retries.may_retry("other")


def test_a_budget_that_was_used_up_comes_back_within_ten_seconds() -> None:
    clock = Clock()
    retries = Retries(clock)
    _retry_while_allowed(retries, "acme")
    clock.ms += 9_999
    assert not retries.may_retry("acme")
    clock.ms += 1
    assert _retry_while_allowed(retries, "acme") == ALWAYS


def test_a_wave_that_fails_together_may_go_to_a_provider_that_was_idle() -> None:
    """Two healthy providers must take what a third one has let time out, though nothing runs there at that moment."""
    clock = Clock()
    retries = Retries(clock)
    for _ in range(200):
        retries.started("healthy")
    clock.ms += 5_000
    assert _retry_while_allowed(retries, "healthy") >= 100


STEPS = st.tuples(st.sampled_from(["a", "b"]), st.booleans(), st.sampled_from([0, 1, 400, 3_000]))


@given(steps=st.lists(STEPS, max_size=300))
def test_retries_never_exceed_the_budget_of_any_window_and_old_seconds_are_forgotten(steps: list[tuple[str, bool, int]]) -> None:
    clock = Clock()
    retries = Retries(clock)
    for provider, retry, pause in steps:
        clock.ms += pause
        if retry and not retries.may_retry(provider):
            continue
        retries.started(provider, retry=retry)
        firsts, retried = retries.recent(provider)
        assert not retry or retried <= ALWAYS + -(-firsts * PERCENT // 100)
        assert len(retries._seconds[provider]) <= WINDOW_SECONDS
