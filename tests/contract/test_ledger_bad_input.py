"""Rubbish in: refused or absorbed, on both databases, and never a wrong sum."""

import asyncio
import contextlib
import shutil
from decimal import Decimal, InvalidOperation
from pathlib import Path
from unittest.mock import patch

import pytest

from metering.batch import SETTLED, VOID, Closed, Held, Refused
from metering.database import REFUSALS, Database, Sqlite
from metering.errors import DatabaseUnavailable
from metering.generations import remember_prices
from metering.ledger import Balance, Ledger, balance, deposit, room
from metering.money import AMOUNT_MAX, NANO_PER_USD, now_ms, parse_usd
from metering.tables import Account
from metering.usage import Usage
from metering.verify import verify
from tests import books
from tests.prove.machine import UNIT

PRICE = books.COST.charge
FUNDS = 10 * PRICE
INT64_MAX = 2**63 - 1


async def _hold(ledger: Ledger, id: str, amount: int, *limits: str) -> Held | Refused:
    return await ledger.hold(id, account_id="acc", limits=limits, amount=amount)


async def _balance(database: Database) -> Balance:
    return await database.read(balance, "acc")


# Amounts


@pytest.mark.parametrize("amount", [FUNDS + 1, INT64_MAX - 1, INT64_MAX])
async def test_a_hold_that_is_too_large_is_refused_however_large(database: Database, ledger: Ledger, amount: int) -> None:
    await books.fund(database, "acc", FUNDS)
    assert await _hold(ledger, "gen_1", amount) == Refused("acc", FUNDS)
    many = await asyncio.gather(*(_hold(ledger, f"gen_{number}", amount) for number in range(3)))
    assert many == [Refused("acc", FUNDS)] * 3
    assert (await _balance(database)).held == 0


@pytest.mark.parametrize("amount", [-1, -FUNDS, -INT64_MAX, 2**63, -(2**63) - 1, 2**200])
async def test_an_amount_that_is_none_is_refused_and_its_neighbours_are_held(database: Database, ledger: Ledger, amount: int) -> None:
    await books.fund(database, "acc", FUNDS)
    outcomes = await asyncio.gather(
        _hold(ledger, "gen_1", 1), _hold(ledger, "gen_2", amount), _hold(ledger, "gen_3", 2), return_exceptions=True
    )
    assert isinstance(outcomes.pop(1), (*REFUSALS, Refused))
    assert outcomes == [Held(1), Held(2)]
    assert (await _balance(database)).held == 3


async def test_nothing_can_be_held_and_charged(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 0)
    assert await _hold(ledger, "gen_1", 0) == Held(0)
    row = books.generation("gen_1", "acc", usage=Usage())
    assert await ledger.settle("gen_1", charge=0, held=0, generation=row) == Closed(0, SETTLED, True)
    assert await _balance(database) == Balance(credits=0, usage=0, held=0, available=0)


@pytest.mark.parametrize("target", [INT64_MAX, FUNDS + 1])
async def test_an_extension_beyond_everything_is_refused_and_the_hold_stays(database: Database, ledger: Ledger, target: int) -> None:
    await books.fund(database, "acc", FUNDS)
    await _hold(ledger, "gen_1", PRICE)
    assert await ledger.extend("gen_1", target) == Refused("acc", FUNDS - PRICE, PRICE)
    for less in (-1, 0, PRICE - 1):
        assert await ledger.extend("gen_1", less) == Held(PRICE)
    assert (await _balance(database)).held == PRICE


@pytest.mark.parametrize("charge", [FUNDS + 1, INT64_MAX // 1000])
async def test_a_charge_beyond_everything_takes_what_there_is(
    database: Database, ledger: Ledger, charge: int, migrated_database_url: str
) -> None:
    """As many nano-dollars as 64 bits of pico-dollars can say."""
    await books.fund(database, "acc", FUNDS)
    await database.write(remember_prices, {UNIT.id: UNIT}, books.START)
    await _hold(ledger, "gen_1", 1)
    row = books.generation("gen_1", "acc", usage=Usage(completion=charge), price=UNIT)
    assert await ledger.settle("gen_1", charge=charge, held=1, generation=row) == Closed(FUNDS, SETTLED, True)
    assert await _balance(database) == Balance(credits=FUNDS, usage=FUNDS, held=0, available=0)
    assert await books.sql(migrated_database_url, "SELECT held, charge, shortfall FROM generation") == [(FUNDS, FUNDS, charge - FUNDS)]


@pytest.mark.parametrize("charge", [-1, -INT64_MAX, 2**63])
async def test_a_charge_that_is_none_charges_nothing_and_the_hold_can_still_end(database: Database, ledger: Ledger, charge: int) -> None:
    await books.fund(database, "acc", FUNDS)
    await _hold(ledger, "gen_1", PRICE)
    with pytest.raises(REFUSALS):
        await ledger.settle("gen_1", charge=charge, held=max(charge, PRICE), generation=books.generation("gen_1", "acc"))
    assert await _balance(database) == Balance(credits=FUNDS, usage=0, held=PRICE, available=FUNDS - PRICE)
    assert await ledger.void("gen_1", generation=None) == Closed(0, VOID, True)


ODD_TEXT = (
    "+5",
    " 5 ",
    "5.",
    ".5",
    "1_000",
    "1e3",
    "1E-9",
    "٣",
    "５",
    "00012",
    "-0.0",
    "1__0",
    "1 0",
    "5\n",
    "0b1",
    "5e",
    "--5",
    "½",
    "1e-10",
)


@pytest.mark.parametrize("text", ODD_TEXT)
def test_a_number_written_oddly_is_exactly_itself_or_refused(text: str) -> None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or value.scaleb(9) != value.scaleb(9).to_integral_value():
        with pytest.raises(ValueError, match=r"not|finer"):
            parse_usd(text)
    else:
        assert parse_usd(text) == value * NANO_PER_USD


async def test_credit_at_the_edge_of_what_is_accepted_adds_up(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", AMOUNT_MAX)
    assert await _hold(ledger, "gen_1", AMOUNT_MAX) == Held(AMOUNT_MAX)
    assert await _hold(ledger, "gen_2", 1) == Refused("acc", 0, AMOUNT_MAX)
    await ledger.settle("gen_1", charge=PRICE, held=AMOUNT_MAX, generation=books.generation("gen_1", "acc"))
    assert (await _balance(database)).available == AMOUNT_MAX - PRICE


# Ids and order


ODD_IDS = ("", "gen_nobody", "x" * 10_000, "'; DROP TABLE hold; --", "gen,with,commas", "\u0662")


@pytest.mark.parametrize("id", ODD_IDS, ids=range(len(ODD_IDS)))
async def test_what_nobody_knows_ends_without_a_charge(database: Database, ledger: Ledger, id: str) -> None:
    await books.fund(database, "acc", FUNDS)
    assert await ledger.extend(id, 5) == Refused("", 0)
    assert await ledger.void(id, generation=None) == Closed(0, VOID, False)
    assert await ledger.settle(id, charge=PRICE, held=PRICE, generation=books.generation(id, "acc")) == Closed(0, SETTLED, False)
    assert await ledger.hold("gen_1", account_id=f"a{id}", limits=(), amount=1) == Refused(f"a{id}", 0)
    assert await _balance(database) == Balance(credits=FUNDS, usage=0, held=0, available=FUNDS)


async def test_an_id_that_is_no_text_harms_no_neighbour(database: Database, ledger: Ledger) -> None:
    text = "gen\0"
    await books.fund(database, "acc", FUNDS)
    outcomes = await asyncio.gather(_hold(ledger, "gen_1", 1), _hold(ledger, text, 2), _hold(ledger, "gen_3", 4), return_exceptions=True)
    assert isinstance(outcomes.pop(1), (*REFUSALS, Held))
    assert outcomes == [Held(1), Held(4)]
    with contextlib.suppress(*REFUSALS):
        await ledger.void(text, generation=None)
    assert (await _balance(database)).held == 5


async def test_after_its_end_nothing_moves_a_generation_again(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", FUNDS)
    await _hold(ledger, "gen_1", 2 * PRICE)
    row = books.generation("gen_1", "acc")
    assert await ledger.settle("gen_1", charge=PRICE, held=2 * PRICE, generation=row) == Closed(PRICE, SETTLED, True)
    before = await _balance(database)
    assert await ledger.void("gen_1", generation=None) == Closed(PRICE, SETTLED, False)
    assert await ledger.settle("gen_1", charge=3 * PRICE, held=PRICE, generation=row) == Closed(PRICE, SETTLED, False)
    assert await ledger.extend("gen_1", 5 * PRICE) == Refused("", 0)
    assert await _hold(ledger, "gen_1", PRICE) == Refused("acc", FUNDS - PRICE)
    ledger.void_later("gen_1")
    await ledger.flush()
    assert await _balance(database) == before


async def test_a_clock_that_is_set_back_between_hold_and_settle_changes_no_sum(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", FUNDS)
    await books.limit(database, "lim", FUNDS, reset="daily", now=now_ms())
    await _hold(ledger, "gen_1", PRICE, "lim")
    with patch("metering.database.now_ms", lambda: books.START - 10**9):
        await ledger.settle("gen_1", charge=PRICE, held=PRICE, generation=books.generation("gen_1", "acc"))
    assert await _balance(database) == Balance(credits=FUNDS, usage=PRICE, held=0, available=FUNDS - PRICE)


# A full disk. On Postgres nothing short of a file system of its own can be filled for one database, so this is SQLite's alone; that
# Postgres' answer to a full disk counts as an outage is in `metering.database.LOST`, and outages are `test_ledger_outage.py`.


async def test_on_a_full_disk_holds_are_refused_and_settles_wait(sqlite_template: Path, tmp_path: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "tollway.db")
    async with books.opened(f"sqlite:///{tmp_path}/tollway.db") as database:
        assert isinstance(database, Sqlite)
        ledger = Ledger(database, "boot_1")
        await books.fund(database, "acc", 1000 * PRICE)
        held = [f"gen_{number}" for number in range(40)]
        await asyncio.gather(*(_hold(ledger, id, PRICE) for id in held))
        connection = database._connection
        assert connection is not None
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        refused = await asyncio.gather(*(_hold(ledger, f"more_{number}", 1) for number in range(400)), return_exceptions=True)
        assert any(isinstance(each, DatabaseUnavailable) and "full" in str(each) for each in refused)
        rows = {id: books.generation(id, "acc") for id in held}
        settles = [asyncio.create_task(ledger.settle(id, charge=PRICE, held=PRICE, generation=rows[id])) for id in held]
        await asyncio.sleep(0.5)
        assert not all(each.done() for each in settles)
        assert min(await database.read(_figures)) >= 0
        connection.execute("PRAGMA max_page_count = 1073741823")
        async with asyncio.timeout(20):
            assert {await each for each in settles} == {Closed(PRICE, SETTLED, True)}
        more = sum(isinstance(each, Held) for each in refused)
        assert await _balance(database) == Balance(credits=1000 * PRICE, usage=40 * PRICE, held=more, available=960 * PRICE - more)
        assert [check for check in await database.read(verify, now=now_ms()) if not check.ok] == []


def _figures(session: object) -> tuple[int, int]:
    found = balance(session, "acc")  # type: ignore[arg-type]
    return found.available, found.held


@pytest.mark.parametrize("amount", [0, AMOUNT_MAX + 1, -AMOUNT_MAX - 1])
async def test_a_deposit_of_nothing_or_of_more_than_all_is_refused(database: Database, amount: int) -> None:
    await books.fund(database, "acc", 10)
    with pytest.raises(ValueError, match="an amount must be between"):
        await database.write(
            lambda session: deposit(session, id="d", account_id="acc", amount=amount, kind="credit", reason="x", now=now_ms())
        )
    assert (await _balance(database)).available == 10


def test_a_limit_whose_period_is_over_has_all_its_room_again() -> None:
    limit = Account(id="l", kind="limit", posted=-7, held=2, overdraft=10, period_start=0, period_end=100, created_at=0)
    assert [room(limit, now) for now in (99, 100)] == [10 - 2 - 7, 10 - 2]
    assert room(Account(id="l", kind="limit", posted=-7, held=2, overdraft=10, created_at=0), 10**15) == 1
