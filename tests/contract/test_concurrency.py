"""Requests at once and limits of several scopes: the same promises from memory and from Redis; a process that died frees its places."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.errors import LimitExceeded
from policy.limits import LEASE_MS, MINUTE, Guard, Limits, Scope, Want, enter, leave
from policy.limits_memory import MemoryLimits
from policy.limits_redis import PREFIX, RedisLimits
from tests import servers

NOW = 1_760_000_000_123


@pytest.fixture(params=["memory", "redis"])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[Limits]:
    store: Limits = MemoryLimits() if request.param == "memory" else _redis_limits(request.getfixturevalue("redis_url"))
    yield store
    await store.aclose()


@pytest.fixture
def account() -> str:
    return uuid.uuid4().hex


def _redis_limits(url: str) -> RedisLimits:
    return RedisLimits(url, timeout_ms=20_000)


def _key(account: str, name: str = "key_1", **limits: int) -> Scope:
    return Scope(account_id=account, id=name, whose="key", **limits)


def _account(account: str, **limits: int) -> Scope:
    return Scope(account_id=account, id=account, whose="account", **limits)


async def _enters(limits: Limits, scopes: list[Scope], holder: str, tokens: int = 0) -> str | None:
    """None, or which limit of whom refused."""
    try:
        await enter(limits, scopes, tokens=tokens, holder=holder, now_ms=NOW)
    except LimitExceeded as refused:
        return f"{refused.limit} {refused.what} of the {refused.whose}" if refused.retry_after_seconds >= 1 else "no time"
    return None


async def _leaves(limits: Limits, scopes: list[Scope], holder: str, tokens: int = 0, used: int = 0) -> None:
    await leave(limits, scopes, tokens=tokens, used=used, holder=holder, taken_ms=NOW, now_ms=NOW)


async def test_so_many_at_once_and_not_one_more_until_one_ends(limits: Limits, account: str) -> None:
    scopes = [_key(account, concurrency=3)]
    assert [await _enters(limits, scopes, f"gen_{number}") for number in range(4)] == [None] * 3 + ["3 requests at once of the key"]
    await _leaves(limits, scopes, "gen_1")
    await _leaves(limits, scopes, "gen_1")
    await _leaves(limits, scopes, "gen_never")
    assert await _enters(limits, scopes, "gen_5") is None
    assert await _enters(limits, scopes, "gen_6")


async def test_a_hundred_at_once_get_exactly_the_places_there_are(limits: Limits, account: str) -> None:
    scopes = [_key(account, concurrency=40), _account(account, concurrency=30)]
    answers = await asyncio.gather(*(_enters(limits, scopes, f"gen_{number}") for number in range(100)))
    assert answers.count(None) == 30


async def test_the_refusal_names_whose_limit_it_was(limits: Limits, account: str) -> None:
    free = Scope(account_id=account, id=account, whose="free_tier", requests_per_minute=3)
    scopes = [_key(account, concurrency=5), _account(account, concurrency=4, tokens_per_minute=90), free]
    assert await _enters(limits, scopes, "gen_1", tokens=60) is None
    assert await _enters(limits, scopes, "gen_2", tokens=60) == "90 tokens per minute of the account"
    assert [await _enters(limits, scopes, f"gen_{number}") for number in (2, 3)] == [None, None]
    assert await _enters(limits, scopes, "gen_4") == "3 requests per minute of the free_tier"


async def test_a_refusal_by_one_scope_takes_nothing_from_the_others(limits: Limits, account: str) -> None:
    tight, loose = _account(account, tokens_per_minute=10), _key(account, concurrency=2, requests_per_minute=2)
    assert await _enters(limits, [tight], "gen_0", tokens=10) is None
    for number in range(5):
        assert await _enters(limits, [loose, tight], f"gen_{number}", tokens=1) == "10 tokens per minute of the account"
    assert [await _enters(limits, [loose], f"gen_{number}") for number in (7, 8)] == [None, None]


async def test_keys_of_one_account_share_only_the_accounts_limit(limits: Limits, account: str) -> None:
    shared = _account(account, concurrency=3)
    for name in ("key_1", "key_2"):
        assert await _enters(limits, [_key(account, name, concurrency=1), shared], f"gen_{name}") is None
        assert await _enters(limits, [_key(account, name, concurrency=1), shared], "gen_more") == "1 requests at once of the key"
    assert await _enters(limits, [_key(account, "key_3", concurrency=1), shared], "gen_3") is None
    assert await _enters(limits, [_key(account, "key_4", concurrency=1), shared], "gen_4") == "3 requests at once of the account"


async def test_after_the_answer_tokens_are_corrected_in_every_scope(limits: Limits, account: str) -> None:
    scopes = [_key(account, tokens_per_minute=10), _account(account, tokens_per_minute=20, concurrency=1)]
    assert await _enters(limits, scopes, "gen_1", tokens=10) is None
    await _leaves(limits, scopes, "gen_1", tokens=10, used=4)
    assert await _enters(limits, scopes, "gen_2", tokens=7) == "10 tokens per minute of the key"
    assert await _enters(limits, scopes[1:], "gen_2", tokens=16) is None


async def test_no_places_at_all_lets_nothing_pass(limits: Limits, account: str) -> None:
    assert await _enters(limits, [_key(account, concurrency=0)], "gen_1") == "0 requests at once of the key"


async def test_entering_again_with_the_same_name_holds_one_place(limits: Limits, account: str) -> None:
    scopes = [_key(account, concurrency=1)]
    assert [await _enters(limits, scopes, "gen_1") for _ in range(3)] == [None] * 3
    await _leaves(limits, scopes, "gen_1")
    assert await _enters(limits, scopes, "gen_2") is None


async def test_without_scopes_no_store_is_asked() -> None:
    class Unreachable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    store: Limits = Unreachable()  # type: ignore[assignment]
    for scopes in ([], [_key("acc")]):
        await enter(store, scopes, tokens=10**9, holder="gen_1", now_ms=NOW)
        await leave(store, scopes, tokens=10**9, used=0, holder="gen_1", taken_ms=NOW, now_ms=NOW)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 2)), max_size=40))
async def test_places_are_never_over_given_nor_lost(limits: Limits, steps: list[tuple[bool, int, int]]) -> None:
    account, held = uuid.uuid4().hex, set[tuple[int, int]]()
    for enters, holder, key in steps:
        scopes = [_key(account, f"key_{key}", concurrency=2), _account(account, concurrency=4)]
        name = f"gen_{key}_{holder}"
        if not enters:
            await _leaves(limits, scopes, name)
            held.discard((key, holder))
            continue
        there = (key, holder) in held
        room = there or (len(held) < 4 and sum(1 for of, _ in held if of == key) < 2)
        assert (await _enters(limits, scopes, name) is None) == room
        if room:
            held.add((key, holder))


# Leases


async def test_a_place_that_nobody_renews_is_free_after_its_lease() -> None:
    limits, wants = MemoryLimits(), [Want("k", 1, 1, 0, "gen_dead")]
    assert await limits.take(wants, NOW) is None
    other = [Want("k", 1, 1, 0, "gen_2")]
    assert await limits.take(other, NOW + LEASE_MS - 1)
    await limits.renew([("k", "gen_dead")], NOW + LEASE_MS - 1)
    assert await limits.take(other, NOW + 2 * LEASE_MS - 2)
    assert await limits.take(other, NOW + 2 * LEASE_MS) is None


async def test_a_place_in_redis_expires_with_its_lease_by_redis_clock(redis_url: str, account: str) -> None:
    limits = _redis_limits(redis_url)
    key = _key(account, concurrency=1).key("concurrency")
    assert await limits.take([Want(key, 1, 1, 0, "gen_dead")], NOW) is None
    assert 0 < await limits._redis.pttl(PREFIX + key) <= LEASE_MS
    await limits._redis.zincrby(PREFIX + key, -LEASE_MS, "gen_dead")
    assert await limits.take([Want(key, 1, 1, 0, "gen_2")], 0) is None
    assert await limits._redis.zrange(PREFIX + key, 0, -1) == [b"gen_2"]
    await limits.aclose()


async def test_the_guard_renews_what_is_held_and_nothing_else(redis_url: str, account: str) -> None:
    store = _redis_limits(redis_url)
    guard, scopes = Guard(store, now_ms=lambda: NOW), [_key(account, concurrency=5), _account(account, concurrency=5)]
    for number in range(3):
        assert await _enters(guard, scopes, f"gen_{number}") is None
    await _leaves(guard, scopes, "gen_1")
    keys = [PREFIX + scope.key("concurrency") for scope in scopes]
    await store._redis.delete(*keys)
    await guard.keep_places()
    for key in keys:
        assert set(await store._redis.zrange(key, 0, -1)) == {b"gen_0", b"gen_2"}
        assert 0 < await store._redis.pttl(key) <= LEASE_MS
    for number in range(3):
        await _leaves(guard, scopes, f"gen_{number}")
    await guard.keep_places()
    assert not await store._redis.exists(*keys)
    await guard.aclose()


async def test_a_refused_request_holds_no_place_that_would_be_renewed(limits: Limits, account: str) -> None:
    guard = Guard(limits, now_ms=lambda: NOW)
    assert await _enters(guard, [_key(account, concurrency=1)], "gen_1") is None
    assert await _enters(guard, [_key(account, concurrency=1)], "gen_2")
    assert {holder for _, holder in guard._places} == {"gen_1"}


async def test_everything_passes_and_is_counted_while_redis_is_gone(account: str) -> None:
    scopes = [_key(account, concurrency=1, requests_per_minute=1)]
    with servers.redis() as url:
        guard = Guard(_redis_limits(url), now_ms=lambda: NOW)
        assert await _enters(guard, scopes, "gen_1") is None
        assert await _enters(guard, scopes, "gen_2")
    for number in range(3, 6):
        assert await _enters(guard, scopes, f"gen_{number}") is None
        await _leaves(guard, scopes, f"gen_{number}")
    await guard.keep_places()
    assert guard.failures == 7
    await guard.aclose()


async def test_all_takes_of_a_request_are_one_question_to_redis(redis_url: str, account: str) -> None:
    limits = _redis_limits(redis_url)
    scopes = [each(account, concurrency=9, requests_per_minute=9, tokens_per_minute=9) for each in (_key, _account)]
    assert await _enters(limits, scopes, "gen_1", tokens=1) is None
    before = (await limits._redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert await _enters(limits, scopes, "gen_2", tokens=1) is None
    await _leaves(limits, scopes, "gen_2", tokens=1)
    after = (await limits._redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before == 2
    await limits.aclose()


async def test_the_window_is_a_minute() -> None:
    limits = MemoryLimits()
    await enter(limits, [_key("acc", requests_per_minute=1)], tokens=0, holder="gen_1", now_ms=NOW)
    with pytest.raises(LimitExceeded):
        await enter(limits, [_key("acc", requests_per_minute=1)], tokens=0, holder="gen_2", now_ms=NOW + 59_000)
    await enter(limits, [_key("acc", requests_per_minute=1)], tokens=0, holder="gen_2", now_ms=NOW + MINUTE * 1000 + 1_000)
