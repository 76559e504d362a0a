"""Limits: the same promises from memory and from Redis, and none that would stop requests when Redis is gone."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.errors import LimitExceeded
from policy.limits import MINUTE, PARTS, Give, Guard, Limits, LimitsUnavailable, Refusal, Scope, Want, enter, leave
from policy.limits_memory import MemoryLimits
from policy.limits_redis import RedisLimits
from tests import servers

NOW = 1_760_000_000_123
PART_MS = MINUTE * 1000 // PARTS


@pytest.fixture(params=["memory", "redis"])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[Limits]:
    store: Limits = MemoryLimits() if request.param == "memory" else _redis_limits(request.getfixturevalue("redis_url"))
    yield store
    await store.aclose()


@pytest.fixture
def key() -> str:
    return _new_key()


async def take(limits: Limits, key: str, amount: int, limit: int, window_seconds: int, now_ms: int) -> int | None:
    """One want alone: None = taken, else the seconds to wait."""
    refused = await limits.take([Want(key, amount, limit, window_seconds)], now_ms)
    return None if refused is None else refused.retry_after_seconds


async def give(limits: Limits, key: str, amount: int, window_seconds: int, taken_ms: int) -> None:
    await limits.give([Give(key, amount, window_seconds, taken_ms)])


async def admit(
    limits: Limits,
    key: str,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrency: int | None = None,
    tokens: int = 0,
    holder: str = "gen_1",
    now_ms: int = NOW,
) -> None:
    """`enter` of a key alone."""
    await enter(limits, [_of_key(key, requests_per_minute, tokens_per_minute, concurrency)], tokens=tokens, holder=holder, now_ms=now_ms)


async def settle_tokens(
    limits: Limits, key: str, *, tokens_per_minute: int | None, tokens: int, used: int, taken_ms: int, now_ms: int
) -> None:
    scopes = [_of_key(key, None, tokens_per_minute, None)]
    await leave(limits, scopes, tokens=tokens, used=used, holder="gen_1", taken_ms=taken_ms, now_ms=now_ms)


def _of_key(key: str, requests_per_minute: int | None, tokens_per_minute: int | None, concurrency: int | None) -> Scope:
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency}
    return Scope(account_id="acct", id=key, whose="key", **limits)


def _redis_limits(url: str) -> RedisLimits:
    """Patient, because a test machine can be slow; the time-out has a test of its own."""
    return RedisLimits(url, timeout_ms=20_000)


def _new_key() -> str:
    return uuid.uuid4().hex


async def test_the_limit_can_be_taken_and_not_one_more(limits: Limits, key: str) -> None:
    assert [await take(limits, key, 1, 3, MINUTE, NOW) for _ in range(3)] == [None] * 3
    assert await take(limits, key, 1, 3, MINUTE, NOW)


async def test_keys_do_not_share_a_limit(limits: Limits, key: str) -> None:
    assert await take(limits, key, 3, 3, MINUTE, NOW) is None
    assert await take(limits, _new_key(), 3, 3, MINUTE, NOW) is None


async def test_a_refused_take_takes_nothing(limits: Limits, key: str) -> None:
    assert await take(limits, key, 2, 5, MINUTE, NOW) is None
    assert await take(limits, key, 4, 5, MINUTE, NOW)
    assert await take(limits, key, 3, 5, MINUTE, NOW) is None


async def test_the_retry_time_is_when_enough_has_left_the_window(limits: Limits, key: str) -> None:
    await take(limits, key, 2, 5, MINUTE, NOW)
    await take(limits, key, 3, 5, MINUTE, NOW + 20_000)
    at = NOW + 30_000
    assert await take(limits, key, 2, 5, MINUTE, at) in (30, 31)
    assert await take(limits, key, 3, 5, MINUTE, at) in (50, 51)


async def test_two_hundred_at_once_admit_exactly_the_limit(limits: Limits, key: str) -> None:
    answers = await asyncio.gather(*(take(limits, key, 1, 120, MINUTE, NOW) for _ in range(200)))
    assert answers.count(None) == 120


async def test_giving_back_makes_room_but_never_more_than_was_taken(limits: Limits, key: str) -> None:
    await take(limits, key, 4, 5, MINUTE, NOW)
    await give(limits, key, 9, MINUTE, taken_ms=NOW)
    assert await take(limits, key, 6, 5, MINUTE, NOW)
    assert await take(limits, key, 5, 5, MINUTE, NOW) is None


async def test_giving_back_what_was_never_taken_does_nothing(limits: Limits, key: str) -> None:
    await give(limits, key, 5, MINUTE, taken_ms=NOW)
    await take(limits, key, 5, 5, MINUTE, NOW)
    await give(limits, key, 5, MINUTE, taken_ms=NOW - 5_000)
    assert await take(limits, key, 1, 5, MINUTE, NOW)


async def test_what_was_used_beyond_the_estimate_counts(limits: Limits, key: str) -> None:
    await take(limits, key, 2, 10, MINUTE, NOW)
    await give(limits, key, -20, MINUTE, taken_ms=NOW)
    assert await take(limits, key, 1, 10, MINUTE, NOW)
    assert await take(limits, key, 10, 10, MINUTE, NOW + MINUTE * 1000 + PART_MS) is None


async def test_an_empty_take_waits_only_while_the_limit_is_overdrawn(limits: Limits, key: str) -> None:
    assert await take(limits, key, 5, 5, MINUTE, NOW) is None
    assert await take(limits, key, 0, 5, MINUTE, NOW) is None
    await give(limits, key, -1, MINUTE, taken_ms=NOW)
    assert await take(limits, key, 0, 5, MINUTE, NOW)


async def test_a_clock_that_is_behind_still_sees_what_the_others_took(limits: Limits, key: str) -> None:
    await take(limits, key, 5, 5, MINUTE, NOW)
    assert await take(limits, key, 1, 5, MINUTE, NOW - 3_000)


async def test_ping_answers(limits: Limits) -> None:
    await limits.ping()


takes = st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 10)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(takes=takes, start=st.integers(NOW, NOW + 60_000), window=st.sampled_from([1, 7, MINUTE, 3600]))
async def test_no_window_wherever_it_begins_sees_more_than_the_limit(
    limits: Limits, takes: list[tuple[int, int]], start: int, window: int
) -> None:
    key, limit, now, taken = _new_key(), 10, start, list[tuple[int, int]]()
    window_ms = window * 1000
    for wait, amount in takes:
        now += wait * window // MINUTE
        wait_seconds = await take(limits, key, amount, limit, window, now)
        within = sum(earlier for at, earlier in taken if at > now - window_ms)
        if wait_seconds is None:
            taken.append((now, amount))
            assert within + amount <= limit
            continue
        at_most_a_part_longer = sum(earlier for at, earlier in taken if at > now - window_ms - window_ms / PARTS - 1)
        assert at_most_a_part_longer + amount > limit
        assert 1 <= wait_seconds <= window + window // PARTS + 1
        now += wait_seconds * 1000
        assert await take(limits, key, amount, limit, window, now) is None
        taken.append((now, amount))


# The rules


async def test_no_limit_asks_no_store(limits: Limits, key: str) -> None:
    for _ in range(3):
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=None, tokens=10**9, now_ms=NOW)


async def test_the_error_names_the_limit_and_when_to_come_back(limits: Limits, key: str) -> None:
    await admit(limits, key, requests_per_minute=1, tokens_per_minute=None, tokens=5, now_ms=NOW)
    with pytest.raises(LimitExceeded) as refused:
        await admit(limits, key, requests_per_minute=1, tokens_per_minute=None, tokens=5, now_ms=NOW + 50_000)
    assert refused.value.what == "requests per minute"
    assert refused.value.limit == 1
    assert refused.value.retry_after_seconds in (10, 11)


async def test_a_request_refused_for_its_tokens_is_not_counted_as_a_request(limits: Limits, key: str) -> None:
    await admit(limits, key, requests_per_minute=2, tokens_per_minute=10, tokens=6, now_ms=NOW)
    for _ in range(5):
        with pytest.raises(LimitExceeded, match="10 tokens per minute"):
            await admit(limits, key, requests_per_minute=2, tokens_per_minute=10, tokens=6, now_ms=NOW)
    await admit(limits, key, requests_per_minute=2, tokens_per_minute=10, tokens=4, now_ms=NOW)


async def test_a_request_larger_than_the_whole_limit_passes_only_alone(limits: Limits, key: str) -> None:
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=1, now_ms=NOW)
    with pytest.raises(LimitExceeded) as refused:
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=500, now_ms=NOW)
    later = NOW + refused.value.retry_after_seconds * 1000
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=500, now_ms=later)
    with pytest.raises(LimitExceeded):
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=1, now_ms=later)


async def test_a_limit_of_zero_lets_nothing_pass(limits: Limits, key: str) -> None:
    with pytest.raises(LimitExceeded):
        await admit(limits, key, requests_per_minute=0, tokens_per_minute=None, tokens=0, now_ms=NOW)
    with pytest.raises(LimitExceeded):
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=0, tokens=0, now_ms=NOW)


@pytest.mark.parametrize(("used", "left"), [(3, 7), (10, 0), (0, 10), (8, 2)])
async def test_after_the_answer_only_what_was_used_counts(limits: Limits, key: str, used: int, left: int) -> None:
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=8, now_ms=NOW)
    await settle_tokens(limits, key, tokens_per_minute=10, tokens=8, used=used, taken_ms=NOW, now_ms=NOW + 5_000)
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=left, now_ms=NOW + 5_000)
    with pytest.raises(LimitExceeded):
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=1, now_ms=NOW + 5_000)


async def test_a_clamped_request_gives_back_only_what_it_took(limits: Limits, key: str) -> None:
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=500, now_ms=NOW)
    await settle_tokens(limits, key, tokens_per_minute=10, tokens=500, used=4, taken_ms=NOW, now_ms=NOW)
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=6, now_ms=NOW)
    with pytest.raises(LimitExceeded):
        await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=1, now_ms=NOW)


async def test_an_answer_that_took_longer_than_the_window_changes_nothing(limits: Limits, key: str) -> None:
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=10, now_ms=NOW)
    later = NOW + 5 * MINUTE * 1000
    await settle_tokens(limits, key, tokens_per_minute=10, tokens=10, used=90, taken_ms=NOW, now_ms=later)
    await admit(limits, key, requests_per_minute=None, tokens_per_minute=10, tokens=10, now_ms=later)


# Memory stays bounded


async def test_memory_forgets_keys_whose_window_has_passed() -> None:
    limits = MemoryLimits()
    for number in range(100):
        await take(limits, f"key {number}", 1, 5, MINUTE, NOW)
    await take(limits, "new", 1, 5, MINUTE, NOW + 10 * MINUTE * 1000)
    assert len(limits) == 1


async def test_memory_keeps_the_keys_used_last_when_it_is_full() -> None:
    limits = MemoryLimits(keys_max=10)
    await take(limits, "busy", 1, 2, MINUTE, NOW)
    for number in range(100):
        await take(limits, f"key {number}", 1, 1, MINUTE, NOW)
        await take(limits, "busy", 0, 2, MINUTE, NOW)
    assert len(limits) == 10
    assert await take(limits, "busy", 2, 2, MINUTE, NOW)


# Redis


async def test_processes_share_a_limit_in_redis(redis_url: str, key: str) -> None:
    stores = [_redis_limits(redis_url) for _ in range(3)]
    answers = await asyncio.gather(*(take(store, key, 1, 10, MINUTE, NOW) for store in stores for _ in range(20)))
    assert answers.count(None) == 10
    for store in stores:
        await store.aclose()


async def test_redis_that_has_forgotten_the_scripts_gets_them_again(redis_url: str, key: str) -> None:
    limits = _redis_limits(redis_url)
    for _ in range(2):
        await limits._redis.script_flush()
        assert await take(limits, key, 1, 5, MINUTE, NOW) is None
        await limits._redis.script_flush()
        await give(limits, key, 1, MINUTE, taken_ms=NOW)
    await limits.aclose()


async def test_every_key_in_redis_expires(redis_url: str, key: str) -> None:
    limits = _redis_limits(redis_url)
    await take(limits, key, 1, 5, MINUTE, NOW)
    await give(limits, key, -1, MINUTE, taken_ms=NOW)
    assert 0 < await limits._redis.pttl(f"tollway:limits:{key}") <= 3 * MINUTE * 1000
    await give(limits, key + "-gone", -1, MINUTE, taken_ms=NOW)
    assert not await limits._redis.exists(f"tollway:limits:{key}-gone")
    await limits.aclose()


# Failing open


async def test_requests_pass_uncounted_when_redis_is_killed(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "policy.limits")
    clock = Clock()
    with servers.redis() as url:
        store = RedisLimits(url)
        guard = Guard(store, now_ms=clock)
        await admit(guard, key, requests_per_minute=1, tokens_per_minute=None, tokens=1, now_ms=NOW)
        with pytest.raises(LimitExceeded):
            await admit(guard, key, requests_per_minute=1, tokens_per_minute=None, tokens=1, now_ms=NOW)
        assert guard.failures == 0
    with pytest.raises(LimitsUnavailable):
        await take(store, key, 1, 1, MINUTE, NOW)
    for _ in range(3):
        await admit(guard, key, requests_per_minute=1, tokens_per_minute=None, tokens=1, now_ms=NOW)
        await settle_tokens(guard, key, tokens_per_minute=9, tokens=1, used=5, taken_ms=NOW, now_ms=NOW)
        clock.now_ms += 2_000
    assert guard.failures == 6
    assert len(caplog.records) == 1
    clock.now_ms += 60_000
    await give(guard, key, 1, MINUTE, taken_ms=NOW)
    assert len(caplog.records) == 2
    with pytest.raises(LimitsUnavailable):
        await guard.ping()
    await guard.aclose()


async def test_limits_hold_again_once_redis_is_back(redis_url: str, key: str) -> None:
    clock, store = Clock(), Broken(_redis_limits(redis_url))
    guard = Guard(store, now_ms=clock)
    assert await take(guard, key, 1, 1, MINUTE, NOW) is None
    store.broken = True
    assert await take(guard, key, 1, 1, MINUTE, NOW) is None
    store.broken = False
    assert await take(guard, key, 1, 1, MINUTE, NOW) is None
    assert guard.failures == 2
    clock.now_ms += 1_000
    assert await take(guard, key, 1, 1, MINUTE, NOW)
    await guard.aclose()


async def test_a_redis_that_hangs_delays_one_request_by_its_time_out_and_the_next_not_at_all(key: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    guard = Guard(RedisLimits(f"redis://127.0.0.1:{port}/0", timeout_ms=250), now_ms=Clock())
    started = time.monotonic()
    assert await take(guard, key, 1, 1, MINUTE, NOW) is None
    first = time.monotonic()
    assert await take(guard, key, 1, 1, MINUTE, NOW) is None
    assert 0.2 < first - started < 2
    assert time.monotonic() - first < 0.2
    assert guard.failures == 2
    await guard.aclose()
    server.close()
    await server.wait_closed()


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW

    def __call__(self) -> int:
        return self.now_ms


class Broken:
    """A store whose connection fails while `broken`."""

    def __init__(self, store: Limits) -> None:
        self.store = store
        self.broken = False

    async def take(self, wants: Sequence[Want], now_ms: int) -> Refusal | None:
        self._check()
        return await self.store.take(wants, now_ms)

    async def give(self, gives: Sequence[Give]) -> None:
        self._check()
        await self.store.give(gives)

    async def renew(self, places: Sequence[tuple[str, str]], now_ms: int) -> None:
        self._check()
        await self.store.renew(places, now_ms)

    async def ping(self) -> None:
        self._check()

    async def aclose(self) -> None:
        await self.store.aclose()

    def _check(self) -> None:
        if self.broken:
            raise LimitsUnavailable("broken")
