"""Who owns an Idempotency-Key, on SQLite and on Postgres: one of many concurrent requests, for 24 hours, and for ever if it was charged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from sqlmodel import Session

from metering import ledger as books_of
from metering import recovery
from metering.batch import RECOVERED, Held, Refused
from metering.database import Database
from metering.ledger import Ledger, balance
from metering.money import now_ms
from metering.verify import verify
from policy import idempotency
from policy.idempotency import HOLD_WITHIN_MS, LIFETIME_MS, PRUNE_MAX, Claim, Claimed, Ended, OtherBody, Running
from tests import books
from tests.books import START

PRICE = books.COST.charge
SECRET = "a-secret-of-at-least-32-characters"
ROUTE = "chat/completions"
CALLERS = 50
End = Callable[[Ledger, Database, str], Awaitable[None]]


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """With two funded accounts; afterwards the books are right, whatever happened."""
    async with books.opened(migrated_database_url) as database:
        for account_id in ("acc", "other"):
            await books.fund(database, account_id, 100 * PRICE)
        yield database
        checks = await database.read(verify, now=now_ms())
        assert [check for check in checks if not check.ok] == []


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, "boot_1")


def _wanted(key: bytes = b"key", body: bytes = b"{}", account_id: str = "acc", route: str = ROUTE) -> Claim:
    return idempotency.claim_of(key, body, account_id=account_id, route=route, secrets=(SECRET,))


async def _claim(
    database: Database, generation_id: str, *, now: int = START, wanted: Claim | None = None
) -> Claimed | Running | Ended | OtherBody:
    return await database.write(idempotency.claim, wanted or _wanted(), generation_id=generation_id, now=now)


async def _hold(ledger: Ledger, id: str) -> Held | Refused:
    return await ledger.hold(id, account_id="acc", limits=(), amount=2 * PRICE)


async def _settled(ledger: Ledger, database: Database, id: str) -> None:
    await ledger.settle(id, charge=PRICE, held=2 * PRICE, generation=books.generation(id, "acc"))


async def _void(ledger: Ledger, database: Database, id: str) -> None:
    await ledger.void(id, generation=None)


async def _recovered_with_a_charge(ledger: Ledger, database: Database, id: str) -> None:
    row = {**books.generation(id, "acc"), "outcome": "recovered", "charge": PRICE, "shortfall": 0}
    await database.write(recovery.checkpoint, {id: row})
    await _recovered_without(ledger, database, id)


async def _recovered_without(ledger: Ledger, database: Database, id: str) -> None:
    [job] = await database.read(recovery.orphans, ["boot_1"])
    assert (await ledger.recover(job)).state == RECOVERED


@pytest.mark.parametrize("taken", ["absent", "void", "expired", "silent"])
async def test_of_many_concurrent_requests_exactly_one_is_claimed(
    database: Database, ledger: Ledger, migrated_database_url: str, taken: str
) -> None:
    """Three processes, as far as the database can tell; whatever the key was before, if it is free."""
    now = START + {"expired": LIFETIME_MS, "silent": HOLD_WITHIN_MS}.get(taken, 1)
    if taken != "absent":
        assert await _claim(database, "gen_old") == Claimed()
    if taken == "void":
        await _hold(ledger, "gen_old")
        await _void(ledger, database, "gen_old")
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(books.connected(migrated_database_url)) for _ in range(3)]
        asked = [_claim(processes[number % 3], f"gen_{number}", now=now) for number in range(CALLERS)]
        told = await asyncio.gather(*asked)
    [winner] = [number for number, outcome in enumerate(told) if outcome == Claimed()]
    assert [outcome for outcome in told if outcome != Claimed()] == [Running(f"gen_{winner}")] * (CALLERS - 1)
    assert await books.sql(migrated_database_url, "SELECT generation_id, created_at FROM idempotency_claim") == [(f"gen_{winner}", now)]


async def test_a_hold_that_is_open_says_running_whatever_its_age(database: Database, ledger: Ledger) -> None:
    await _claim(database, "gen_1")
    await _hold(ledger, "gen_1")
    for now in (START, START + HOLD_WITHIN_MS, START + LIFETIME_MS - 1):
        assert await _claim(database, "gen_2", now=now) == Running("gen_1")
    await _void(ledger, database, "gen_1")


@pytest.mark.parametrize("end", [_settled, _recovered_with_a_charge])
async def test_what_was_charged_has_ended_with_its_id_and_charge_for_24_hours(database: Database, ledger: Ledger, end: End) -> None:
    await _claim(database, "gen_1")
    await _hold(ledger, "gen_1")
    await end(ledger, database, "gen_1")
    for now in (START, START + HOLD_WITHIN_MS, START + LIFETIME_MS - 1):
        assert await _claim(database, "gen_2", now=now) == Ended("gen_1", PRICE)
    assert await _claim(database, "gen_2", now=START + LIFETIME_MS) == Claimed()
    assert (await database.read(balance, "acc")).usage == PRICE


async def test_an_answer_that_costs_nothing_has_ended_too(database: Database, ledger: Ledger) -> None:
    await _claim(database, "gen_1")
    await _hold(ledger, "gen_1")
    row = {**books.generation("gen_1", "acc"), "prompt": 0, "completion": 0, "total_pico": 0, "remainder": 0}
    await ledger.settle("gen_1", charge=0, held=2 * PRICE, generation=row)
    assert await _claim(database, "gen_2") == Ended("gen_1", 0)


@pytest.mark.parametrize("end", [_void, _recovered_without])
async def test_what_cost_nothing_passes_the_key_on_to_any_request(database: Database, ledger: Ledger, end: End) -> None:
    for number, body in enumerate((b"{}", b"{}", b'{"corrected": true}')):
        id = f"gen_{number}"
        assert await _claim(database, id, wanted=_wanted(body=body)) == Claimed()
        await _hold(ledger, id)
        assert await _claim(database, "gen_late", wanted=_wanted(body=body)) == Running(id)
        await end(ledger, database, id)
    assert (await database.read(balance, "acc")).usage == 0


async def test_another_body_or_route_is_refused_while_the_first_runs_and_after_it(database: Database, ledger: Ledger) -> None:
    others = (_wanted(body=b"{ }"), _wanted(body=b""), _wanted(route="completions"))
    await _claim(database, "gen_1")
    for step in (lambda: _hold(ledger, "gen_1"), lambda: _settled(ledger, database, "gen_1"), lambda: asyncio.sleep(0)):
        for other in others:
            assert await _claim(database, "gen_2", wanted=other) == OtherBody("gen_1")
        await step()
    assert await _claim(database, "gen_2", now=START + LIFETIME_MS, wanted=others[0]) == Claimed()


async def test_keys_are_an_accounts_own(database: Database, migrated_database_url: str) -> None:
    assert await _claim(database, "gen_1") == Claimed()
    assert await _claim(database, "gen_2", wanted=_wanted(account_id="other")) == Claimed()
    assert await _claim(database, "gen_3", wanted=_wanted(key=b"Key")) == Claimed()
    rows = await books.sql(migrated_database_url, "SELECT key_mac, body_mac FROM idempotency_claim")
    assert len({mac for row in rows for mac in row}) == 5, "equal keys and bodies of two accounts have nothing in common"


async def test_a_claim_without_a_hold_passes_on_after_a_while(database: Database) -> None:
    """Its process died in between, or sees a clock that was set back."""
    await _claim(database, "gen_1")
    for now in (START - HOLD_WITHIN_MS + 1, START, START + HOLD_WITHIN_MS - 1):
        assert await _claim(database, "gen_2", now=now) == Running("gen_1")
    assert await _claim(database, "gen_2", now=START - HOLD_WITHIN_MS) == Claimed()
    assert await _claim(database, "gen_3", now=START) == Claimed()


async def test_a_slow_process_cannot_hold_for_a_key_that_was_passed_on(database: Database, ledger: Ledger) -> None:
    await _claim(database, "gen_slow")
    assert await _claim(database, "gen_2", now=START + HOLD_WITHIN_MS) == Claimed()
    assert isinstance(await _hold(ledger, "gen_slow"), Refused)
    assert isinstance(await _hold(ledger, "gen_2"), Held)
    assert (await database.read(balance, "acc")).held == 2 * PRICE
    await _void(ledger, database, "gen_2")


async def test_a_hold_and_its_take_over_at_the_same_moment_never_both_succeed(database: Database, migrated_database_url: str) -> None:
    async with books.connected(migrated_database_url) as process:
        slow = Ledger(process, "boot_1")
        for number in range(30):
            wanted, id, now = _wanted(key=b"%d" % number), f"gen_{number}", START + HOLD_WITHIN_MS
            await _claim(database, id, wanted=wanted)
            hold, told = await asyncio.gather(_hold(slow, id), _claim(database, f"{id}_again", now=now, wanted=wanted))
            assert (isinstance(hold, Held), told) in ((True, Running(id)), (False, Claimed()))
            if isinstance(hold, Held):
                await _void(slow, database, id)
    assert (await database.read(balance, "acc")).held == 0


@pytest.mark.parametrize("end", [_settled, _void])
async def test_a_clock_that_was_set_back_keeps_a_claim_in_force_for_24_hours_at_most(database: Database, ledger: Ledger, end: End) -> None:
    await _claim(database, "gen_1")
    await _hold(ledger, "gen_1")
    await end(ledger, database, "gen_1")
    told = await _claim(database, "gen_2", now=START - LIFETIME_MS + 1)
    assert told == (Ended("gen_1", PRICE) if end is _settled else Claimed())
    assert await _claim(database, "gen_3", now=START - 2 * LIFETIME_MS) == Claimed()


async def test_a_release_frees_only_the_claim_that_is_still_its_own(database: Database) -> None:
    await _claim(database, "gen_1")
    assert not await database.write(idempotency.release, _wanted(), generation_id="gen_2")
    assert await _claim(database, "gen_2") == Running("gen_1")
    assert await database.write(idempotency.release, _wanted(), generation_id="gen_1")
    assert not await database.write(idempotency.release, _wanted(), generation_id="gen_1")
    assert await _claim(database, "gen_2", wanted=_wanted(body=b"another")) == Claimed()


async def test_old_claims_are_pruned_so_many_at_a_time_and_young_ones_stay(database: Database, migrated_database_url: str) -> None:
    def fill(session: Session) -> None:
        for number in range(PRUNE_MAX + 7):
            idempotency.claim(session, _wanted(key=b"%d" % number), generation_id=f"gen_{number}", now=START)
        idempotency.claim(session, _wanted(key=b"young"), generation_id="gen_young", now=START + 1)

    await database.write(fill)
    assert [await database.write(idempotency.prune, now=START + LIFETIME_MS - 1)] == [0]
    assert [await database.write(idempotency.prune, now=START + LIFETIME_MS) for _ in range(3)] == [PRUNE_MAX, 7, 0]
    assert await books.sql(migrated_database_url, "SELECT generation_id FROM idempotency_claim") == [("gen_young",)]


async def test_a_claim_that_is_taken_over_while_it_is_pruned_stays(database: Database, migrated_database_url: str) -> None:
    """Else the next repetition would be answered, and charged, beside the one that took it over."""
    now = START + LIFETIME_MS
    on_postgres = migrated_database_url.startswith("postgres")

    def take_over_slowly(session: Session) -> None:
        assert idempotency.claim(session, _wanted(), generation_id="gen_2", now=now) == Claimed()
        if on_postgres:
            session.connection().execute(text("SELECT pg_sleep(0.5)"))

    async def prune_meanwhile() -> int:
        await asyncio.sleep(0.2)
        return await database.write(idempotency.prune, now=now)

    await _claim(database, "gen_1")
    _, pruned = await asyncio.gather(database.write(take_over_slowly), prune_meanwhile())
    assert pruned == 0
    assert await _claim(database, "gen_3", now=now) == Running("gen_2")


async def test_what_is_forbidden_counts_as_void_and_what_is_held_cannot_be_forbidden(database: Database, ledger: Ledger) -> None:
    await _hold(ledger, "gen_held")
    for id, done in (("gen_held", False), ("gen_new", True), ("gen_new", False)):
        assert await database.write(books_of.forbid, id=id, account_id="acc", now=START) is done
    await _settled(ledger, database, "gen_held")
    assert (await database.read(balance, "acc")).usage == PRICE
