"""Health: the same promises from memory and from Redis, two processes that agree, and none that would wait for Redis."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from policy.health import FAILURES_MAX, Health, Kind, Sample, may_try, monotonic_ms
from policy.health_memory import MemoryHealth
from policy.health_redis import KEPT_MS, PREFIX, PROCESSES_MAX, PUBLISHED_MAX, TURNS_KEPT_MS, RedisHealth
from policy.histogram import ERROR, SLOT_MS
from policy.stats import DEFAULT
from tests import servers

SECOND = 1_000


class Clock:
    """Starts where the machine's clock is, far from Redis's, and may be moved."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms

    def __call__(self) -> int:
        return monotonic_ms() + self.ahead_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def health(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Health]:
    made: Health = MemoryHealth(now_ms=clock, draw=_least)
    if request.param == "redis":
        made = _redis_health(request.getfixturevalue("redis_url"), clock)
    yield made
    await made.aclose()


@pytest.fixture
def id() -> str:
    return f"acme/{uuid.uuid4().hex}"


def _least() -> float:
    return 0.0


def _redis_health(url: str, clock: Clock, **changed: int) -> RedisHealth:
    """Patient, because a test machine can be slow; the time-out has a test of its own."""
    return RedisHealth(url, process=uuid.uuid4().hex, now_ms=clock, draw=_least, **{"timeout_ms": 20_000, **changed})


def _attempt(health: Health, id: str, kind: Kind, clock: Clock, times: int = 1, first_byte_ms: int = 500, took_ms: int = 2_000) -> None:
    for _ in range(times):
        health.started(id)
        health.ended(Sample(id, kind, clock(), first_byte_ms, 100, took_ms if kind is Kind.OK else 0))


async def test_what_a_process_saw_counts_at_once_and_after_every_exchange(health: Health, clock: Clock, id: str) -> None:
    assert health.stats(id) is DEFAULT
    _attempt(health, id, Kind.OK, clock, times=120)
    health.started(id)
    for _ in range(2):
        clock.ahead_ms += SECOND
        stats = health.stats(id)
        assert stats.uptime == 1
        assert stats.in_flight == 1
        assert stats.latency is not None
        assert stats.latency.p50 == pytest.approx(0.5, rel=ERROR)
        assert stats.throughput is not None
        assert stats.throughput.p99 == pytest.approx(50, rel=ERROR)
        await health.sync()


async def test_five_failures_eject_and_a_probe_lets_it_back(health: Health, clock: Clock, id: str) -> None:
    _attempt(health, id, Kind.FAILED, clock, times=FAILURES_MAX)
    for _ in range(3):
        assert health.stats(id).ejected
        assert not may_try(health.stats(id))
        await health.sync()
    clock.ahead_ms += 10 * SECOND
    await health.sync()
    assert may_try(health.stats(id))
    health.started(id)
    assert not may_try(health.stats(id))
    await health.sync()
    assert not may_try(health.stats(id)), "an exchange does not free the probe's place"
    health.ended(Sample(id, Kind.OK, clock()))
    await health.sync()
    assert not health.stats(id).ejected


async def test_a_failed_probe_ejects_for_longer(health: Health, clock: Clock, id: str) -> None:
    _attempt(health, id, Kind.FAILED, clock, times=FAILURES_MAX)
    clock.ahead_ms += 10 * SECOND
    _attempt(health, id, Kind.FAILED, clock)
    await health.sync()
    clock.ahead_ms += 29 * SECOND
    assert not health.stats(id).probe
    clock.ahead_ms += SECOND
    assert health.stats(id).probe


async def test_capacity_and_the_clients_errors_leave_no_trace(health: Health, clock: Clock, id: str) -> None:
    for kind in (Kind.CAPACITY, Kind.REQUEST):
        _attempt(health, id, kind, clock, times=150)
    await health.sync()
    clock.ahead_ms += 11 * SECOND
    assert health.stats(id) == DEFAULT


async def test_figures_are_forgotten_after_five_minutes(health: Health, clock: Clock, id: str) -> None:
    _attempt(health, id, Kind.OK, clock, times=120)
    await health.sync()
    clock.ahead_ms += 320 * SECOND
    assert health.stats(id) == DEFAULT


# Two processes and Redis


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[tuple[RedisHealth, RedisHealth, Clock, Clock]]:
    """Two processes whose clocks differ by weeks."""
    clocks = Clock(), Clock(-2_000_000_000 if monotonic_ms() > 3_000_000_000 else 2_000_000_000)
    first, second = (_redis_health(redis_url, each) for each in clocks)
    yield first, second, *clocks
    await first.aclose()
    await second.aclose()


Pair = tuple[RedisHealth, RedisHealth, Clock, Clock]


async def test_two_processes_agree_on_figures(pair: Pair, id: str) -> None:
    first, second, clock_1, clock_2 = pair
    _attempt(first, id, Kind.OK, clock_1, times=90, first_byte_ms=100)
    _attempt(second, id, Kind.OK, clock_2, times=100, first_byte_ms=10_000)
    _attempt(second, id, Kind.FAILED, clock_2, times=2)
    for each in (first, second, first):
        await each.sync()
    for each in (clock_1, clock_2):
        each.ahead_ms += SECOND
    assert first.stats(id).uptime == second.stats(id).uptime == 190 / 192
    assert first.stats(id).latency == second.stats(id).latency
    assert first.stats(id).throughput == second.stats(id).throughput
    latency = first.stats(id).latency
    assert latency is not None
    assert latency.p50 == pytest.approx(10, rel=ERROR)


async def test_hearing_the_same_again_counts_it_once(pair: Pair, id: str) -> None:
    first, second, clock_1, clock_2 = pair
    for total in (100, 120):
        _attempt(first, id, Kind.OK, clock_1, times=100 if total == 100 else 20)
        for each in (first, second, first, second, second):
            await each.sync()
        clock_2.ahead_ms += SECOND
        assert (second._seen[id].window.ok, second._seen[id].window.failed) == (total, 0)


async def test_what_one_process_ejects_the_other_ejects_and_lets_back(pair: Pair, id: str) -> None:
    first, second, clock_1, clock_2 = pair
    _attempt(second, id, Kind.FAILED, clock_2, times=FAILURES_MAX - 1)
    _attempt(first, id, Kind.FAILED, clock_1, times=FAILURES_MAX)
    await first.sync()
    await second.sync()
    assert second.stats(id).ejected
    assert abs(_left_ms(first, id, clock_1) - _left_ms(second, id, clock_2)) < SECOND
    for each in (clock_1, clock_2):
        each.ahead_ms += 10 * SECOND
    assert second.stats(id).probe
    _attempt(second, id, Kind.OK, clock_2, took_ms=5)
    await second.sync()
    await first.sync()
    assert not first.stats(id).ejected
    _attempt(first, id, Kind.FAILED, clock_1, times=FAILURES_MAX - 1)
    assert not first.stats(id).ejected, "the row of failures begins anew too"


async def test_a_refused_key_is_known_to_all_and_reported_by_one(pair: Pair, id: str, caplog: pytest.LogCaptureFixture) -> None:
    first, second, clock_1, _ = pair
    caplog.set_level(logging.ERROR, "tollway.health")
    _attempt(first, id, Kind.KEY, clock_1, times=FAILURES_MAX)
    await first.sync()
    await second.sync()
    assert second.stats(id).key_refused
    assert len(caplog.records) == 1


async def test_two_processes_that_only_sync_once_a_second_agree_within_five_seconds(redis_url: str, id: str) -> None:
    clocks = Clock(), Clock(123_456_789)
    first, second = (_redis_health(redis_url, each) for each in clocks)

    async def once_a_second(health: RedisHealth) -> None:
        while True:
            await asyncio.sleep(1)
            await health.sync()

    tasks = [asyncio.create_task(once_a_second(each)) for each in (first, second)]
    await asyncio.sleep(1.5)
    _attempt(first, id, Kind.OK, clocks[0], times=100)
    _attempt(first, id, Kind.FAILED, clocks[0], times=FAILURES_MAX)
    began = time.monotonic()
    while not (second.stats(id).ejected and second.stats(id).uptime):
        await asyncio.sleep(0.02)
        assert time.monotonic() - began < 5
    assert second.stats(id).uptime == first.stats(id).uptime == pytest.approx(100 / 105)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await first.aclose()
    await second.aclose()


async def test_a_process_that_starts_hears_the_last_five_minutes(redis_url: str, id: str) -> None:
    clock = Clock()
    first = _redis_health(redis_url, clock)
    _attempt(first, id, Kind.OK, clock, times=150)
    _attempt(first, id, Kind.FAILED, clock, times=FAILURES_MAX)
    await first.sync()
    await first.aclose()
    second = _redis_health(redis_url, Clock())
    await second.sync()
    assert second.stats(id).uptime == pytest.approx(150 / 155)
    assert second.stats(id).ejected
    await second.aclose()


async def test_every_key_in_redis_expires_and_holds_nothing_but_counts(id: str) -> None:
    with servers.redis() as url:
        health, clock = _redis_health(url, Clock()), Clock()
        _attempt(health, id, Kind.OK, clock, times=10)
        _attempt(health, id, Kind.FAILED, clock, times=FAILURES_MAX)
        await health.sync()
        keys = [key.decode() async for key in health._redis.scan_iter("*")]
        assert len(keys) == 2
        for key in keys:
            assert key.startswith(PREFIX)
            assert 0 < await health._redis.pttl(key) <= max(KEPT_MS, TURNS_KEPT_MS)
        slot = next(key for key in keys if "slot" in key)
        (blob,) = (await health._redis.hgetall(slot)).values()
        assert msgspec.msgpack.decode(blob) == {id: [10, 5, {71: 10}, {98: 10}]}
        assert len(blob) < 100
        await health.aclose()


async def test_what_is_told_is_bounded(id: str) -> None:
    with servers.redis() as url:
        clock = Clock()
        health = _redis_health(url, clock)
        for number in range(PUBLISHED_MAX + 500):
            _attempt(health, f"acme/{number}", Kind.OK, clock)
        await health.sync()
        listener = _redis_health(url, clock)
        await listener.sync()
        assert len(listener) == PUBLISHED_MAX
        small = _redis_health(url, clock, endpoints_max=10)
        _attempt(small, id, Kind.OK, clock)
        await small.sync()
        assert len(small) == 10
        assert small.stats(id).latency, "what others say takes no place from what this process uses"
        for _ in range(PROCESSES_MAX + 5):
            one = _redis_health(url, clock)
            _attempt(one, id, Kind.OK, clock)
            await one.sync()
            await one.aclose()
        sizes = [await health._redis.hlen(key) async for key in health._redis.scan_iter(PREFIX + "slot:*")]
        assert max(sizes) <= PROCESSES_MAX
        for each in (health, listener, small):
            await each.aclose()


async def test_words_of_another_kind_are_not_taken_for_figures(id: str, caplog: pytest.LogCaptureFixture) -> None:
    with servers.redis() as url:
        clock = Clock()
        health = _redis_health(url, clock)
        await health.sync()

        slot = clock() // SLOT_MS + round(health._offset_ms / SLOT_MS)
        for blob in (b"\xc1", msgspec.msgpack.encode({id: [1, 2, {5000: 1}, {}]}), msgspec.msgpack.encode({id: "x"})):
            await health._redis.hset(f"{PREFIX}slot:{slot}", "stranger", blob)
            await health.sync()
            assert health.stats(id) is DEFAULT
        assert "not understood" in caplog.text
        await health.aclose()


# Redis fails


async def test_killing_redis_costs_nothing_but_the_others_views(id: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tollway.health")
    clock = Clock()
    with servers.redis() as url:
        first, second = _redis_health(url, clock), _redis_health(url, clock)
        _attempt(first, id, Kind.OK, clock, times=120)
        await first.sync()
        await second.sync()
    for _ in range(5):
        await first.sync()
        await second.sync()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"], "once for each process"
    assert second.stats(id).uptime == 1, "what was heard stays"
    began = time.monotonic()
    _attempt(first, id, Kind.FAILED, clock, times=FAILURES_MAX)
    assert first.stats(id).ejected
    assert not second.stats(id).ejected
    assert time.monotonic() - began < 0.1
    await first.aclose()
    await second.aclose()


async def test_what_was_missed_is_told_when_redis_answers_again(redis_url: str, id: str) -> None:
    clock, gone = Clock(), f"redis://127.0.0.1:{servers.free_port()}/0"
    first, second = _redis_health(redis_url, clock), _redis_health(redis_url, clock)
    await first.sync()
    await second.sync()
    exchange, first._exchange = first._exchange, RedisHealth(gone, "x")._exchange
    _attempt(first, id, Kind.OK, clock, times=60)
    await first.sync()
    clock.ahead_ms += 30 * SECOND
    await second.sync()
    _attempt(first, id, Kind.OK, clock, times=60)
    _attempt(first, id, Kind.FAILED, clock, times=FAILURES_MAX)
    await first.sync()
    first._exchange = exchange
    await first.sync()
    await second.sync()
    assert second.stats(id).ejected
    assert second._seen[id].window.ok >= 60
    late = _redis_health(redis_url, clock)
    await late.sync()
    assert late._seen[id].window.ok == 120
    for each in (first, second, late):
        await each.aclose()


async def test_a_redis_that_hangs_holds_up_the_exchange_by_its_time_out_and_no_request(id: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    clock = Clock()
    health = _redis_health(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", clock, timeout_ms=300)
    began = time.monotonic()
    exchange = asyncio.create_task(health.sync())
    await asyncio.sleep(0)
    _attempt(health, id, Kind.FAILED, clock, times=FAILURES_MAX)
    assert health.stats(id).ejected
    assert time.monotonic() - began < 0.2
    await exchange
    assert 0.2 < time.monotonic() - began < 2
    await health.aclose()
    server.close()
    await server.wait_closed()


async def test_a_clock_of_redis_that_jumps_is_noticed(pair: Pair, id: str) -> None:
    first, second, clock_1, clock_2 = pair
    await first.sync()
    await second.sync()
    clock_1.ahead_ms += 3_600 * SECOND
    _attempt(first, id, Kind.FAILED, clock_1, times=FAILURES_MAX)
    await first.sync()
    await second.sync()
    assert second.stats(id).ejected
    assert abs(_left_ms(first, id, clock_1) - _left_ms(second, id, clock_2)) < SECOND


def _left_ms(health: RedisHealth, id: str, clock: Clock) -> int:
    return health._seen[id].circuit.until_ms - clock()
