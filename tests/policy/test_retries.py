"""The retry budget: a fifth of what runs, and at least three."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.retries import ALWAYS, PERCENT, Retries


def _retry_while_allowed(retries: Retries, provider: str) -> int:
    count = 0
    while count < 10_000 and retries.may_retry(provider):
        retries.started(provider, retry=True)
        count += 1
    return count


@pytest.mark.parametrize(("firsts", "allowed"), [(0, 3), (1, 3), (10, 3), (12, 3), (13, 4), (100, 25), (1000, 250)])
def test_a_fifth_of_the_active_requests_may_be_retries_and_three_always(firsts: int, allowed: int) -> None:
    retries = Retries()
    for _ in range(firsts):
        retries.started("acme")
    assert _retry_while_allowed(retries, "acme") == allowed
    active, retrying = retries.active("acme")
    assert retrying <= max(ALWAYS, -(-active * PERCENT // 100))


def test_providers_do_not_share_a_budget() -> None:
    retries = Retries()
    assert _retry_while_allowed(retries, "acme") == 3
    assert retries.may_retry("other")


def test_a_retry_that_ends_makes_room() -> None:
    retries = Retries()
    _retry_while_allowed(retries, "acme")
    retries.ended("acme", retry=True)
    assert retries.may_retry("acme")


def test_requests_that_end_take_their_share_of_the_budget_with_them() -> None:
    retries = Retries()
    for _ in range(100):
        retries.started("acme")
    for _ in range(10):
        retries.started("acme", retry=True)
    for _ in range(100):
        retries.ended("acme")
    assert not retries.may_retry("acme")


@given(steps=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans(), st.booleans()), max_size=200))
def test_retries_never_exceed_the_budget_at_the_moment_they_start(steps: list[tuple[str, bool, bool]]) -> None:
    retries, running = Retries(), list[tuple[str, bool]]()
    for provider, begins, retry in steps:
        if begins and (not retry or retries.may_retry(provider)):
            retries.started(provider, retry=retry)
            running.append((provider, retry))
            active, retrying = retries.active(provider)
            assert not retry or retrying <= max(ALWAYS, -(-active * PERCENT // 100))
        elif running:
            ended, was_retry = running.pop(0)
            retries.ended(ended, retry=was_retry)
    _end_all(running, retries.ended)
    assert retries._active == {}


def _end_all(running: list[tuple[str, bool]], end: Callable[..., None]) -> None:
    for provider, retry in running:
        end(provider, retry=retry)
