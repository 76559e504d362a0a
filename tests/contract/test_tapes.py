"""The same promises for tapes in memory and in Redis: whole, in order, sealed, bounded, and gone when they said so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from policy import tapes
from policy.tapes import Tape, Tapes, listen
from policy.tapes_memory import MemoryTapes
from policy.tapes_redis import PREFIX, RedisTapes

SECRET = "a-secret-for-tests-of-40-characters-long"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=("memory", "redis"))
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Tapes]:
    store = MemoryTapes(clock) if request.param == "memory" else RedisTapes(request.getfixturevalue("redis_url"))
    yield store
    await store.aclose()


@pytest.fixture
def id(request: pytest.FixtureRequest) -> str:
    return f"gen-{request.node.name}"


def tape_of(store: Tapes, id: str, clock: Clock, account: str = "acc_1") -> Tape:
    return Tape(store, generation_id=id, account_id=account, secret=SECRET, clock=clock)


async def heard(store: Tapes, id: str, *, account: str = "acc_1", offset: int = 0, secret: str = SECRET) -> list[bytes] | None:
    """None: there is no such tape. Waits until what was added can be heard."""
    await settled(store)
    async with aclosing(listen(store, generation_id=id, account_id=account, secret=secret, offset=offset, wait_seconds=0.05)) as pieces:
        found = [piece async for piece in pieces]
    return found[1:] if found else None


async def settled(store: Tapes) -> None:
    while isinstance(store, RedisTapes) and store.busy:
        await asyncio.sleep(0.005)


async def test_an_ended_tape_is_heard_whole_and_from_any_byte(store: Tapes, clock: Clock, id: str) -> None:
    tape, whole = tape_of(store, id, clock), b"".join(b"piece %d " % number for number in range(300))
    for number in range(300):
        tape.add(b"piece %d " % number, last=number == 299)
    for offset in (0, 1, 7, 8, 9, len(whole) - 1, len(whole), len(whole) + 5):
        assert b"".join(await heard(store, id, offset=offset) or []) == whole[offset:]


async def test_a_listener_hears_what_is_added_while_it_listens(store: Tapes, clock: Clock, id: str) -> None:
    tape = tape_of(store, id, clock)
    tape.add(b"one ", last=False)
    await settled(store)

    async def listener() -> bytes:
        pieces = listen(store, generation_id=id, account_id="acc_1", secret=SECRET, offset=0, wait_seconds=0.05)
        return b"".join([piece async for piece in pieces])

    listening = asyncio.create_task(listener())
    await asyncio.sleep(0.15)
    tape.add(b"two ", last=False)
    await asyncio.sleep(0.02)
    tape.add(b"three", last=True)
    assert await asyncio.wait_for(listening, 3) == b"one two three"


async def test_there_is_no_tape_for_another_account_or_generation(store: Tapes, clock: Clock, id: str) -> None:
    tape_of(store, id, clock).add(b"said", last=True)
    assert await heard(store, id, account="acc_2") is None
    assert await heard(store, id + "x") is None
    assert await heard(store, id) == [b"said"]


async def test_a_tape_does_not_open_under_another_secret(store: Tapes, clock: Clock, id: str) -> None:
    tape_of(store, id, clock).add(b"said", last=True)
    with pytest.raises(ValueError, match="does not open"):
        await heard(store, id, secret=SECRET[::-1])


async def test_a_cut_tape_does_not_pass_for_a_whole_one(store: Tapes, clock: Clock, id: str) -> None:
    tape = tape_of(store, id, clock)
    tape.add(b"half ", last=False)
    await settled(store)
    forged = (await store.after(tapes.name_of("acc_1", id), 0, 0) or ([], False))[0][0]
    store.drop(tapes.name_of("acc_1", id))
    store.add(tapes.name_of("acc_1", id), forged, last=True, on_lost=lambda: None)
    with pytest.raises(ValueError, match="does not open"):
        await heard(store, id)


async def test_a_stream_that_outgrows_its_tape_is_lost_and_says_so_once(store: Tapes, clock: Clock, id: str) -> None:
    tape, lost = tape_of(store, id, clock), []
    tape.on_lost = lambda: lost.append(1)
    for _ in range(5):
        tape.add(bytes(2**20), last=False)
    assert tape.lost
    tape.add(b"more", last=True)
    assert lost == [1]
    assert await heard(store, id) is None


async def test_a_dropped_tape_is_gone(store: Tapes, clock: Clock, id: str) -> None:
    tape = tape_of(store, id, clock)
    tape.add(b"said", last=False)
    await settled(store)
    tape.drop()
    assert await heard(store, id) is None


async def test_after_five_minutes_nothing_is_added(store: Tapes, clock: Clock, id: str) -> None:
    tape = tape_of(store, id, clock)
    tape.add(b"said", last=False)
    clock.now = tapes.LIFETIME_SECONDS + 1
    tape.add(b"late", last=False)
    assert tape.lost
    assert await heard(store, id) is None


async def test_memory_expires_by_itself_and_loses_the_oldest_beyond_its_bound(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.tapes_memory.LIFETIME_SECONDS", 0.05)
    store = MemoryTapes(clock, bytes_max=1000)
    first, second = tape_of(store, "gen-1", clock), tape_of(store, "gen-2", clock)
    first.add(bytes(600), last=False)
    second.add(bytes(600), last=True)
    assert first.lost
    assert await heard(store, "gen-1") is None
    assert len(store) == 1
    await asyncio.sleep(0.1)
    assert len(store) == 0


async def test_redis_keeps_a_tape_for_five_minutes_and_never_longer(redis_url: str, clock: Clock, id: str) -> None:
    from redis import Redis

    store = RedisTapes(redis_url)
    tape, name = tape_of(store, id, clock), PREFIX + tapes.name_of("acc_1", id)
    tape.add(b"one", last=False)
    await settled(store)
    redis = Redis.from_url(redis_url)
    redis.expire(name, 100)
    tape.add(b"two", last=True)
    await settled(store)
    assert 0 < redis.ttl(name) <= 100, "what comes later does not lengthen it"
    await store.aclose()


async def test_a_redis_that_does_not_answer_loses_the_tape(clock: Clock, id: str) -> None:
    store = RedisTapes("redis://127.0.0.1:1/0")
    tape, lost = tape_of(store, id, clock), []
    tape.on_lost = lambda: lost.append(1)
    tape.add(b"said", last=False)
    await settled(store)
    assert lost == [1]
    assert await heard(store, id) is None
    await store.aclose()
