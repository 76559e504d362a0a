"""The chores, beside a server and alone: they go on when one of them fails, after kill -9, and whoever else does them."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from gateway.workers import Chore, Chores, checkpoint, everyday, expire, inside, prune
from metering import credits, ledger
from metering.database import Database
from metering.errors import DatabaseUnavailable
from metering.money import now_ms
from metering.notary import Notary
from metering.signing import Signer
from metering.verify import verify
from tests import books, warm
from tests.running import Tollway

SIGNER = Signer(b"w" * 32)
WITHIN_SECONDS = 15


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database


async def sealed(url: str) -> int:
    [(number,)] = await books.sql(url, "SELECT COUNT(*) FROM seal")
    return int(str(number))


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await true():
            await asyncio.sleep(0.05)


@contextmanager
def worker(url: str, folder: Path, **settings: str) -> "Any":
    """`tollway worker` in its own process; killed at the end if it still runs."""
    environment = {**Tollway({"TOLLWAY_DATABASE_URL": url, **settings}, folder / "log").environment}
    with (folder / "worker.log").open("ab") as log:
        process = warm.Process(("worker",), environment, out=log, err=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def test_the_chores_seal_and_make_the_checkpoint_of_the_day(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 5)
    chores = inside(database, Notary(database, SIGNER), migrated_database_url)
    chores.start()
    await until(lambda: sealed(migrated_database_url))
    await until(lambda: Notary(database, SIGNER).has(now=now_ms()))
    await books.fund(database, "acc_2", 5)
    await until(lambda: _equals(sealed(migrated_database_url), 2))
    await chores.stop()
    assert (await database.read(verify, now=now_ms()))[-1].ok


async def _equals(number: Any, wanted: int) -> bool:
    return bool(await number == wanted)


async def test_a_chore_that_fails_tries_again_and_stops_no_other(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    rounds: dict[str, int] = {}

    def counting(name: str, error: Exception | None, said: str | None = None) -> Chore:
        async def do() -> str | None:
            rounds[name] = rounds.get(name, 0) + 1
            if error is not None:
                raise error
            return said

        return Chore(name=name, every_seconds=0.01, do=do)

    away, broken = DatabaseUnavailable("Postgres: gone"), KeyError("secret text of a row")
    chores = Chores(
        database, (counting("away", away), counting("broken", broken), counting("fine", None), counting("busy", None, "3 things"))
    )
    with caplog.at_level("INFO", logger="tollway.chores"):
        chores.start()
        await asyncio.sleep(1)
        await chores.stop()
    assert rounds["fine"] > rounds["away"] > 1, "backing off"
    assert rounds["broken"] > 1
    lines = {record.getMessage() for record in caplog.records}
    assert lines == {"away: Postgres: gone", "broken: KeyError", "busy: 3 things"}


async def test_only_the_leader_does_chores_and_a_stopped_leader_is_followed(database: Database, migrated_database_url: str) -> None:
    if migrated_database_url.startswith("sqlite"):
        pytest.skip("SQLite has no leader: two may do the same chore")
    done: list[str] = []

    def chores(name: str, at: Database) -> Chores:
        async def do() -> None:
            done.append(name)

        return Chores(at, (Chore(name="chore", every_seconds=0.05, do=do),))

    async with books.connected(migrated_database_url) as other:
        first, second = chores("first", database), chores("second", other)
        first.start()
        await until(lambda: _true(done))
        second.start()
        await asyncio.sleep(2)
        assert set(done) == {"first"}
        await first.stop()
        await database.aclose()
        await until(lambda: _true("second" in done))
        await second.stop()


async def _true(value: object) -> bool:
    return bool(value)


async def test_a_checkpoint_is_made_once_a_day_after_a_sweep_and_says_by_whom(database: Database) -> None:
    await books.fund(database, "acc", 5)
    keeper = Notary(database, SIGNER)
    said = await checkpoint(database, keeper, rows_max=10, clock=now_ms)
    assert said is not None
    assert said.endswith(f" over 1 accounts, signed by {SIGNER.public_key}, after a sweep that sealed 1 entries")
    assert await checkpoint(database, keeper, rows_max=10, clock=now_ms) is None


async def test_credit_that_has_expired_is_moved_out_and_said_once(database: Database) -> None:
    await database.write(ledger.open_account, id="acc", now=books.START)
    gift: dict[str, Any] = {"kind": "promotional", "refundable": False, "reason": "gift", "now": books.START}
    await database.write(credits.add, id="gift", account_id="acc", amount=10**9, expires_at=books.START + 10, **gift)
    assert await expire(database, now=books.START + 5) is None
    assert await expire(database, now=books.START + 20) == "1 USD of 1 accounts expired"
    assert await expire(database, now=books.START + 20) is None
    assert (await database.read(ledger.balance, "acc")).available == 0


async def test_old_idempotency_claims_are_forgotten(database: Database, migrated_database_url: str) -> None:
    rows = ", ".join(f"('acc', 'k{number}', 'b', 'gen_{number}', {books.START})" for number in range(5))
    claims = "INSERT INTO idempotency_claim (account_id, key_mac, body_mac, generation_id, created_at) VALUES"
    await books.sql(migrated_database_url, f"{claims} {rows}, ('acc', 'new', 'b', 'gen_new', {now_ms()})")
    assert await prune(database, now=now_ms()) == "5 old claims forgotten"
    assert await prune(database, now=now_ms()) is None


async def test_the_worker_seals_ends_cleanly_and_goes_on_after_kill_9(migrated_database_url: str, tmp_path: Path) -> None:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 5)
        with worker(migrated_database_url, tmp_path) as process:
            await until(lambda: _equals(sealed(migrated_database_url), 1))
            process.kill()
            process.wait(10)
        for number in range(3):
            await books.fund(database, f"acc_{number}", 5)
        with worker(migrated_database_url, tmp_path) as process:
            await until(lambda: _equals(sealed(migrated_database_url), 4))
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN_SECONDS) == 0
        assert (await database.read(verify, now=now_ms()))[-1].ok
    log = (tmp_path / "worker.log").read_text()
    assert "Tollway does the chores" in log
    assert "tollway.chores seal: 1 entries" in log
    assert "Traceback" not in log


async def test_the_worker_ends_what_dead_boots_held_on_postgres_and_leaves_the_living_alone(
    database: Database, migrated_database_url: str, tmp_path: Path
) -> None:
    """On SQLite it leaves both: only the serving process knows who is dead there."""
    await books.fund(database, "acc", 10**9)
    await database.write(ledger.start_boot, id="boot_live", now=now_ms())
    await database.live("boot_live")
    for boot in ("boot_1", "boot_live"):
        await ledger.Ledger(database, boot).hold(f"gen_{boot}", account_id="acc", limits=(), amount=5)
    on_postgres = not migrated_database_url.startswith("sqlite")

    async def open_holds() -> list[object]:
        return [id for (id,) in await books.sql(migrated_database_url, "SELECT id FROM hold WHERE state = 0 ORDER BY id")]

    async def over() -> bool:
        return await sealed(migrated_database_url) == 1 and len(await open_holds()) == (1 if on_postgres else 2)

    with worker(migrated_database_url, tmp_path):
        await until(over)
        await asyncio.sleep(1)
        assert await open_holds() == (["gen_boot_live"] if on_postgres else ["gen_boot_1", "gen_boot_live"])


def test_a_server_leaves_the_chores_to_the_worker_when_it_is_told_to(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tollway.db"
    server = Tollway({"TOLLWAY_DATABASE_URL": url, "TOLLWAY_CHORES": "off"}, tmp_path / "tollway.log")
    server.start()
    try:
        server.account()
        time.sleep(2)
        assert asyncio.run(sealed(url)) == 0
        with worker(url, tmp_path):
            asyncio.run(until(lambda: _equals(sealed(url), 1)))
    finally:
        server.kill()


def test_chores_are_on_or_off() -> None:
    assert Settings().chores == "on"
    with pytest.raises(ValueError, match="TOLLWAY_CHORES must be on or off"):
        Settings(chores="maybe").check()


async def test_every_chore_has_its_turn(database: Database) -> None:
    assert [chore.name for chore in everyday(database, Notary(database, SIGNER), rows_max=1)] == [
        "seal",
        "usage",
        "checkpoint",
        "expiry",
        "content",
        "account",
        "retention",
        "rights",
        "idempotency",
    ]
