"""Every invariant that `tollway ledger verify` checks holds for true books and goes red, alone, for books that were tampered with."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import text
from sqlmodel import Session

from metering import credits
from metering.database import Database
from metering.ledger import Ledger
from metering.money import now_ms
from metering.usage import Usage
from metering.verify import ROWS_MAX, Check, verify
from tests import books

IDS = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I10", "I11", "I12", "I15", "I16"]
ENTRY = "INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at) VALUES"
CREDIT = "INSERT INTO credit (id, account_id, kind, refundable, amount, remaining, created_at) VALUES"
MINUTE = 60_000


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database


@pytest.fixture
async def history(database: Database) -> None:
    """Two accounts, two limits, and a generation for every way to end, one of them still open."""
    await books.fund(database, "acc_rich", 10**10)
    await books.fund(database, "acc_poor", 1000)
    gift = {"kind": "promotional", "refundable": False, "expires_at": 2 * books.START, "reason": "test", "now": books.START}
    await database.write(credits.add, id="gift", account_id="acc_rich", amount=100, **gift)
    await database.write(credits.take_back, id="back", account_id="acc_rich", amount=5, reason="test", now=books.START)
    await books.limit(database, "lim_ever", 10**9)
    await books.limit(database, "lim_day", 10**9, reset="daily", now=now_ms())
    ledger = Ledger(database, "boot_1")
    both = ("lim_ever", "lim_day")
    for name in ("settled", "extended", "void", "bare", "open"):
        await ledger.hold(f"gen_{name}", account_id="acc_rich", limits=both, amount=books.COST.charge - (name == "extended"))
    await ledger.hold("gen_short", account_id="acc_poor", limits=(), amount=600)
    for name in ("settled", "extended"):
        row = books.generation(f"gen_{name}", "acc_rich")
        await ledger.settle(f"gen_{name}", charge=books.COST.charge, held=books.COST.charge - (name == "extended"), generation=row)
    await ledger.settle("gen_short", charge=books.COST.charge, held=600, generation=books.generation("gen_short", "acc_poor"))
    await ledger.void("gen_void", generation=books.generation("gen_void", "acc_rich", usage=Usage()))
    await ledger.void("gen_bare", generation=None)


async def _verified(database: Database, *, after: int = 0) -> list[Check]:
    return await database.read(verify, now=now_ms() + after)


def _red(checks: list[Check]) -> list[tuple[str, list[str]]]:
    return [(check.id, check.rows) for check in checks if not check.ok]


async def test_empty_books_are_right(database: Database) -> None:
    checks = await _verified(database)
    assert [check.id for check in checks] == IDS
    assert _red(checks) == []


@pytest.mark.usefixtures("history")
async def test_true_books_are_right_and_the_figures_say_what_was_counted(database: Database) -> None:
    checks = await _verified(database)
    assert _red(checks) == []
    figures = {check.id: check.figure for check in checks}
    assert figures["I1"] == "7 transactions"
    assert figures["I2"] == "4 accounts and limits"
    assert figures["I7"] == "4 generations"
    assert figures["I11"].startswith("1 open holds, the oldest ")
    assert figures["I12"] == "3 charges"
    assert figures["I15"] == "3 credits"
    assert msgspec.json.decode(msgspec.json.encode(checks), type=list[Check]) == checks


TAMPERED = [
    pytest.param("I1", "dep_acc_rich", [f"{ENTRY} ('dep_acc_rich', 2, 'house:cash', 5, 'deposit', 0)"], id="a-leg-too-many"),
    pytest.param(
        "I2", "acc_rich", [f"{ENTRY} ('dep_2', 0, 'acc_rich', 7, 'deposit', 0), ('dep_2', 1, 'house:cash', -7, 'deposit', 0)",
        f"{CREDIT} ('dep_2', 'acc_rich', 'paid', 1, 7, 7, 0)"],
        id="a-deposit-that-was-not-posted",
    ),
    pytest.param(
        "I2", "acc_gone", [f"{ENTRY} ('dep_2', 0, 'acc_gone', -7, 'refund', 0), ('dep_2', 1, 'house:cash', 7, 'refund', 0)"],
        id="money-of-nobody",
    ),
    pytest.param("I2", "lim_ever", ["UPDATE account SET posted = posted - 1 WHERE id = 'lim_ever'"], id="a-limit-spent-twice"),
    pytest.param("I2", "lim_day", ["UPDATE account SET posted = 0 WHERE id = 'lim_day'"], id="a-limit-forgotten"),
    pytest.param("I3", "acc_rich", ["UPDATE account SET held = held + 1 WHERE id = 'acc_rich'"], id="a-hold-leaked"),
    pytest.param("I3", "lim_day", ["UPDATE account SET held = held - 1 WHERE id = 'lim_day'"], id="a-hold-lost-by-a-limit"),
    pytest.param("I4", "acc_poor", ["UPDATE account SET overdraft = -1 WHERE id = 'acc_poor'"], id="below-zero"),
    pytest.param("I5", "gen_void", ["DELETE FROM hold WHERE id = 'gen_void'"], id="a-generation-without-a-hold"),
    pytest.param("I5", "gen_void", ["UPDATE hold SET closed_at = NULL WHERE id = 'gen_void'"], id="an-end-without-a-time"),
    pytest.param("I5", "gen_settled", [f"{ENTRY} ('gen_settled', 2, 'house:revenue', 0, 'charge', 0)"], id="a-third-leg"),
    pytest.param(
        "I5", "stray", [f"{ENTRY} ('stray', 0, 'house:cash', -9, 'charge', 0), ('stray', 1, 'house:revenue', 9, 'charge', 0)"],
        id="a-charge-without-a-hold",
    ),
    pytest.param("I6", "gen_short", ["UPDATE generation SET shortfall = shortfall + 1 WHERE id = 'gen_short'"], id="a-wrong-shortfall"),
    pytest.param("I6", "gen_settled", ["UPDATE hold SET amount = charge - 1 WHERE id = 'gen_settled'"], id="a-charge-above-the-hold"),
    pytest.param("I7", "gen_settled", ["UPDATE generation SET remainder = remainder + 1 WHERE id = 'gen_settled'"], id="a-pico-dollar"),
    pytest.param("I7", "gen_short", ["UPDATE generation SET prompt = prompt + 1 WHERE id = 'gen_short'"], id="a-token"),
    pytest.param("I7", "gen_short", ["UPDATE generation SET price_id = NULL WHERE id = 'gen_short'"], id="no-price"),
    pytest.param("I7", "gen_void", ["UPDATE generation SET remainder = 1 WHERE id = 'gen_void'"], id="a-void-that-cost-something"),
    pytest.param("I12", "acc_rich", ["DELETE FROM generation WHERE id = 'gen_settled'"], id="a-charge-nobody-sees"),
    pytest.param("I15", "acc_rich", ["UPDATE credit SET remaining = 10 WHERE id = 'dep_acc_rich'"], id="credit-below-the-balance"),
    pytest.param("I15", "gift", ["UPDATE credit SET remaining = amount + 1 WHERE id = 'gift'"], id="more-left-than-was-given"),
    pytest.param("I15", "gift", ["UPDATE credit SET remaining = -1 WHERE id = 'gift'"], id="less-left-than-nothing"),
    pytest.param("I15", "gift", ["UPDATE credit SET amount = amount + 1 WHERE id = 'gift'"], id="a-credit-larger-than-its-deposit"),
    pytest.param("I15", "gift", ["UPDATE credit SET account_id = 'acc_poor' WHERE id = 'gift'"], id="credit-of-another-account"),
    pytest.param("I15", "made_up", [f"{CREDIT} ('made_up', 'acc_rich', 'paid', 1, 7, 7, 0)"], id="a-credit-that-nobody-deposited"),
    pytest.param("I15", "dep_acc_poor", ["DELETE FROM credit WHERE id = 'dep_acc_poor'"], id="a-deposit-that-is-no-credit"),
]  # fmt: skip


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("red", "row", "statements"), TAMPERED)
async def test_tampering_turns_one_check_red_and_names_the_row(
    database: Database, migrated_database_url: str, red: str, row: str, statements: list[str]
) -> None:
    await books.sql(migrated_database_url, *_unguarded(migrated_database_url), *statements)
    checks = await _verified(database)
    assert _red(checks) == [(red, [row])]
    assert next(check for check in checks if not check.ok).figure.endswith(", 1 wrong")


def _unguarded(url: str) -> list[str]:
    """SQLite ignores CHECK constraints when asked to; Postgres has to lose them."""
    names = {"account": "account_never_below_zero", "hold": "hold_charge", "credit": "credit_remaining"}
    return [] if url.startswith("sqlite") else [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name in names.items()]


@pytest.mark.usefixtures("history")
async def test_changed_rates_turn_every_generation_they_priced_red(database: Database, migrated_database_url: str) -> None:
    dearer = msgspec.json.encode(msgspec.structs.replace(books.PRICE, prompt=75_004)).decode()
    await books.sql(migrated_database_url, f"UPDATE price_version SET rates = '{dearer}'")
    assert _red(await _verified(database)) == [("I7", ["gen_extended", "gen_settled", "gen_short"])]


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
async def test_a_missing_trigger_is_seen(database: Database, migrated_database_url: str, verb: str) -> None:
    statements = [f"DROP TRIGGER entry_no_{verb}"]
    if not migrated_database_url.startswith("sqlite"):
        other = {"UPDATE": "DELETE", "DELETE": "UPDATE"}[verb]
        trigger = f"CREATE TRIGGER entry_half BEFORE {other} ON entry FOR EACH ROW EXECUTE FUNCTION entry_append_only()"
        statements = ["ALTER TABLE entry DISABLE TRIGGER entry_append_only", trigger]
    await books.sql(migrated_database_url, *statements)
    assert _red(await _verified(database)) == [("I10", [f"no trigger refuses {verb} of entries"])]


@pytest.mark.usefixtures("history")
async def test_a_hold_that_stays_open_is_seen_after_twenty_minutes(database: Database) -> None:
    assert _red(await _verified(database, after=19 * MINUTE)) == []
    assert _red(await _verified(database, after=21 * MINUTE)) == [("I11", ["gen_open"])]


async def test_at_most_twenty_rows_are_named_and_all_are_counted(database: Database, migrated_database_url: str) -> None:
    legs = ", ".join(f"('t{number:03}', 0, 'house:cash', 1, 'deposit', 0)" for number in range(50))
    await books.sql(migrated_database_url, f"{ENTRY} {legs}")
    (i1,) = [check for check in await _verified(database) if not check.ok]
    assert i1.id == "I1"
    assert i1.rows == [f"t{number:03}" for number in range(ROWS_MAX)]
    assert i1.figure == "50 transactions, 50 wrong"


async def test_all_checks_see_one_snapshot_and_change_nothing(database: Database, migrated_database_url: str) -> None:
    if migrated_database_url.startswith("sqlite"):
        pytest.skip("a transaction of SQLite is a snapshot by itself")

    def look(session: Session) -> list[str]:
        verify(session, now=now_ms())
        settings = ("transaction_isolation", "transaction_read_only")
        return [session.connection().execute(text(f"SHOW {name}")).scalar_one() for name in settings]

    assert await database.read(look) == ["repeatable read", "on"]


async def test_books_are_right_at_every_moment_of_a_busy_server(database: Database) -> None:
    await books.fund(database, "acc_rich", 10**12)
    await books.limit(database, "lim_ever", 10**12)
    ledger = Ledger(database, "boot_1")

    async def generate(id: str) -> None:
        await ledger.hold(id, account_id="acc_rich", limits=("lim_ever",), amount=books.COST.charge // 2)
        await ledger.settle(id, charge=books.COST.charge, held=books.COST.charge // 2, generation=books.generation(id, "acc_rich"))

    async def look() -> None:
        while not done.is_set():
            assert _red(await _verified(database)) == []

    done = asyncio.Event()
    looking = asyncio.create_task(look())
    for start in range(0, 600, 60):
        await asyncio.gather(*(generate(f"gen_{number}") for number in range(start, start + 60)))
    done.set()
    await looking
