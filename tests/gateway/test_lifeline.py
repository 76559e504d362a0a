"""The lifeline of a serving process: heartbeats, checkpoints of what streams, recovery of what others left, on both databases."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.generation import Generation, State
from gateway.lifeline import STRAY_MS, Lifeline
from gateway.settings import Settings
from gateway.settlement import End, Outcome, progress
from gateway.watch import Watch
from metering import recovery, tokens
from metering.database import Database
from metering.errors import DatabaseUnavailable
from metering.ledger import Ledger, balance, start_boot
from metering.meter import Meter
from metering.money import now_ms
from metering.recovery import BATCH_MAX, BEAT_SECONDS
from metering.verify import verify
from policy.caller import Caller
from providers import catalog
from providers.content import Content
from providers.provider import ChatRequest
from tests import books
from tests.books import START

PRICE = books.COST.charge
HOUR_NS = 3600 * 10**9
NEXT_BEAT = BEAT_SECONDS + 0.8


class Process:
    """What a serving process has of money: a ledger, what is live, and its lifeline."""

    def __init__(self, database: Database) -> None:
        self.ledger, self.watch = Ledger(database), Watch(Settings())
        self.lifeline = Lifeline(database, self.ledger, self.watch)

    async def hold(self, id: str) -> None:
        await self.ledger.hold(id, account_id="acc", limits=(), amount=2 * PRICE)

    def stream(self, id: str, *, state: State = State.ANSWERING, charge: int | None = PRICE) -> None:
        """A generation as the watch knows it, that would be charged `charge` now."""
        generation: Generation = Generation(id=id, request=None, caller=None, reply=None, created_ms=START, clock=0)  # type: ignore[arg-type]
        row: dict[str, Any] = {**books.generation(id, "acc"), "charge": charge}

        async def progress() -> dict[str, Any] | None:
            return None if charge is None else row

        generation.state, generation.progress = state, progress
        self.watch.add(generation)


@contextlib.asynccontextmanager
async def running(database: Database) -> AsyncIterator[Process]:
    process = Process(database)
    await process.lifeline.start()
    try:
        yield process
    finally:
        await process.lifeline.stop()


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """With a boot that has been silent for ages, and an account; afterwards the books are right."""
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10_000 * PRICE)
        yield database
        checks = await database.read(verify, now=now_ms())
        assert [check for check in checks if not check.ok] == []


async def _leave_open(database: Database, number: int) -> None:
    silent = Ledger(database, "boot_1")
    await asyncio.gather(*(silent.hold(f"gen_{each}", account_id="acc", limits=(), amount=PRICE) for each in range(number)))


async def _held(database: Database) -> int:
    return (await database.read(balance, "acc")).held


async def test_a_start_ends_all_that_the_dead_left_however_much(database: Database) -> None:
    await _leave_open(database, 2 * BATCH_MAX + 7)
    await database.write(recovery.checkpoint, {"gen_3": {**books.generation("gen_3", "acc"), "charge": PRICE}})
    async with running(database) as process:
        assert await _held(database) == 0
        assert (await database.read(balance, "acc")).usage == PRICE
        assert await process.lifeline.recover() == 0


async def test_two_that_recover_at_once_end_every_hold_once(database: Database) -> None:
    await _leave_open(database, 40)
    await database.write(recovery.checkpoint, {"gen_3": {**books.generation("gen_3", "acc"), "charge": PRICE}})
    await database.live("boot_2")
    await asyncio.gather(*(Process(database).lifeline.recover() for _ in range(2)))
    assert await _held(database) == 0
    assert (await database.read(balance, "acc")).usage == PRICE


async def test_what_streams_is_checkpointed_with_the_heartbeat(database: Database, migrated_database_url: str) -> None:
    async with running(database) as process:
        for id in ("gen_answering", "gen_silent", "gen_waiting", "gen_ending"):
            await process.hold(id)
        process.stream("gen_answering")
        process.stream("gen_silent", charge=None)
        process.stream("gen_waiting", state=State.DISPATCHED)
        process.stream("gen_ending", state=State.ENDING)
        before = now_ms()
        await asyncio.sleep(NEXT_BEAT)
        assert await books.sql(migrated_database_url, "SELECT id FROM hold WHERE progress IS NOT NULL") == [("gen_answering",)]
        [(beat,)] = await books.sql(migrated_database_url, f"SELECT heartbeat_at FROM boot WHERE id = '{process.ledger.boot_id}'")
        assert int(str(beat)) > before


async def test_a_checkpoint_holds_only_what_the_client_has_taken() -> None:
    """What was counted but waits for a slow client, or for an extension, may never be delivered."""
    loaded = catalog.load(None)
    [endpoint] = loaded.endpoints["tollway/echo"]
    meter = Meter(tokens.tokenizer("o200k_base"), tokens_max=100, tokens_limit=100, prompt_tokens_max=100)
    end = End(outcome=Outcome.COMPLETED, endpoint=endpoint, meter=meter, relayed=True)
    caller = Caller(account_id="acc", key_id="key", kind="owner")
    request: Any = ChatRequest(
        body=Content({}), model="tollway/echo", stream=True, include_usage=False, max_tokens=None, n=1, prompt_tokens_max=9
    )
    generation = Generation(id="gen_1", request=request, caller=caller, reply=None, created_ms=START, clock=0)  # type: ignore[arg-type]
    generation.held, generation.prompt_tokens = PRICE, 5

    async def checkpointed() -> object:
        row = await progress(generation, end, at=None)  # type: ignore[arg-type]
        return row and row["completion"]

    for sent in (1, 2):
        meter.see({"choices": [{"index": 0, "delta": {"content": " word"}}]})
        assert await checkpointed() is None, "counted, and not taken yet"
        end.sent = sent
        assert await checkpointed() == sent
        assert await checkpointed() is None, "nothing new"


async def test_a_process_that_was_taken_for_dead_goes_on_under_a_new_boot(database: Database, migrated_database_url: str) -> None:
    async with running(database) as process:
        before = process.ledger.boot_id
        await process.hold("gen_1")
        await database.write(recovery.fence, own="boot_1", now=now_ms(), is_dead=lambda session, id, silent_ms: id == before)
        with pytest.raises(DatabaseUnavailable, match="taken for dead"):
            await process.hold("gen_2")
        await asyncio.sleep(NEXT_BEAT)
        await process.hold("gen_3")
        boots = await books.sql(migrated_database_url, "SELECT boot_id FROM hold ORDER BY id")
        assert boots == [(before,), (process.ledger.boot_id,)]
        await process.lifeline.recover()
        assert await _held(database) == 2 * PRICE, "the old boot's hold is ended, the new one's is not"


async def test_a_living_neighbour_is_left_alone(database: Database, migrated_database_url: str) -> None:
    if migrated_database_url.startswith("sqlite"):
        pytest.skip("SQLite has no neighbours: see the next test")
    async with books.connected(migrated_database_url) as other, running(other) as neighbour, running(database) as process:
        await neighbour.hold("gen_1")
        for _ in range(3):
            assert await process.lifeline.recover() == 0
        assert await _held(database) == 2 * PRICE


async def test_a_second_process_on_a_sqlite_file_is_refused_and_changes_nothing(database: Database, migrated_database_url: str) -> None:
    if not migrated_database_url.startswith("sqlite"):
        pytest.skip("Postgres takes many processes: see the test before")
    async with running(database) as process:
        await process.hold("gen_1")
        async with books.connected(migrated_database_url) as other:
            with pytest.raises(DatabaseUnavailable, match="another process serves"):
                await Process(other).lifeline.start()
        assert await _held(database) == 2 * PRICE
        assert await books.sql(migrated_database_url, "SELECT id FROM boot WHERE fenced = 1") == [("boot_1",)]


async def test_a_hold_whose_end_was_lost_is_ended_by_its_own_process(database: Database) -> None:
    """Live ones and young ones are left alone; a lost one is charged what its checkpoint says."""
    async with running(database) as process:
        for id in ("gen_live", "gen_lost"):
            await process.hold(id)
        process.stream("gen_live")
        await database.write(recovery.checkpoint, {"gen_lost": {**books.generation("gen_lost", "acc"), "charge": PRICE}})
        assert await process.lifeline.end_strays(now_ms()) == 0
        assert await process.lifeline.end_strays(now_ms() + STRAY_MS + 1) == 1
        assert await _held(database) == 2 * PRICE
        assert (await database.read(balance, "acc")).usage == PRICE


async def test_who_is_silent_is_judged_by_the_database_s_clock(
    database: Database, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose own clock is hours ahead fences nobody."""
    if migrated_database_url.startswith("sqlite"):
        pytest.skip("on SQLite there is one process, and its lock decides")
    async with books.connected(migrated_database_url) as other, running(other) as neighbour:
        await neighbour.hold("gen_1")
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + 3 * HOUR_NS)
        async with running(database) as process:
            await process.lifeline.recover()
            [(beat,)] = await books.sql(migrated_database_url, f"SELECT heartbeat_at FROM boot WHERE id = '{process.ledger.boot_id}'")
        assert abs(int(str(beat)) - real() // 1_000_000) < 60_000
        assert await _held(database) == 2 * PRICE


async def test_a_crash_at_every_step_of_a_start_leaves_nothing_that_the_next_start_does_not_end(database: Database) -> None:
    """A boot that died before its first heartbeat, and one that was fenced by a process that died before it could end anything."""
    await database.write(start_boot, id="boot_2", now=START)
    await _leave_open(database, 3)
    await database.write(recovery.fence, own="boot_2", now=now_ms(), is_dead=lambda session, id, silent_ms: True)
    async with running(database):
        assert await _held(database) == 0
