"""What the ledger is measured against: one transaction per step, the same rows, the same database, as most gateways do it.

`ForUpdate`: lock the account, look, write; five round trips for a hold, seven for a settle. `Guarded`: the whole step as one
statement with the guard in its WHERE, which is the best that a transaction per step can be. `Single`: the same on SQLite.
All are simpler than the ledger (no limits, no periods, no fencing, no idempotent answers) and so do less work per step.
"""

from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec

from benchmarks.ledger_load import Bill
from metering.batch import REVENUE, Column
from metering.database import connect_sqlite
from metering.money import now_ms
from metering.tables import Generation
from metering.worker import Worker

CONNECTIONS: Final = 20
BOOT: Final = "boot_1"
_COLUMNS: Final = tuple(Generation.__table__.columns.keys())  # type: ignore[attr-defined]

_HOLD: Final = """INSERT INTO hold (id, account_id, limits, amount, state, charge, boot_id, created_at)
    VALUES ($1, $2, '', $3, 0, 0, $4, $5)"""
_ENTRIES: Final = f"""INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at)
    VALUES ($1, 0, $2, -$3::bigint, 'charge', $4), ($1, 1, '{REVENUE}', $3::bigint, 'charge', $4)"""
_GENERATION: Final = "INSERT INTO generation SELECT g.* FROM json_populate_record(NULL::generation, $1::json) g"

_SQLITE_HOLD: Final = """INSERT INTO hold (id, account_id, limits, amount, state, charge, boot_id, created_at)
    VALUES (?1, ?2, '', ?3, 0, 0, ?4, ?5)"""
_SQLITE_ENTRIES: Final = f"""INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at)
    VALUES (?1, 0, ?2, -?3, 'charge', ?4), (?1, 1, '{REVENUE}', ?3, 'charge', ?4)"""
_SQLITE_GENERATION: Final = f"INSERT INTO generation ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"

_GUARDED_HOLD: Final = """WITH moved AS (UPDATE account SET held = held + $3
        WHERE id = $2 AND posted - held + overdraft >= $3 RETURNING id)
    INSERT INTO hold (id, account_id, limits, amount, state, charge, boot_id, created_at)
        SELECT $1, id, '', $3::bigint, 0, 0, $4, $5::bigint FROM moved"""
_GUARDED_SETTLE: Final = f"""WITH
    done AS (UPDATE hold SET state = 1, charge = LEAST($2, amount), closed_at = $3 WHERE id = $1 AND state = 0
        RETURNING id, account_id, amount, charge),
    entries AS (INSERT INTO entry (transaction_id, leg, account_id, amount, kind, at)
        SELECT id, 0, account_id, -charge, 'charge', $3::bigint FROM done
        UNION ALL SELECT id, 1, '{REVENUE}', charge, 'charge', $3::bigint FROM done),
    moved AS (UPDATE account a SET held = a.held - d.amount, posted = a.posted - d.charge FROM done d WHERE a.id = d.account_id)
    INSERT INTO generation SELECT g.* FROM json_populate_record(NULL::generation, $4::json) g JOIN done USING (id)"""


class _Pooled:
    """A pool of connections; whoever finds none free waits for one in line."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def aclose(self) -> None:
        await self._pool.close()


class ForUpdate(_Pooled):
    async def hold(self, bill: Bill) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            account = await connection.fetchrow("SELECT posted, held, overdraft FROM account WHERE id = $1 FOR UPDATE", bill.account_id)
            _require(account["posted"] - account["held"] + account["overdraft"] >= bill.amount)
            await connection.execute("UPDATE account SET held = held + $2 WHERE id = $1", bill.account_id, bill.amount)
            await connection.execute(_HOLD, bill.id, bill.account_id, bill.amount, BOOT, now_ms())

    async def settle(self, bill: Bill) -> None:
        now = now_ms()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM account WHERE id = $1 FOR UPDATE", bill.account_id)
            ended = "UPDATE hold SET state = 1, charge = $2, closed_at = $3 WHERE id = $1 AND state = 0 RETURNING amount"
            held = await connection.fetchval(ended, bill.id, bill.charge, now)
            _require(held == bill.amount)
            moved = "UPDATE account SET held = held - $2, posted = posted - $3 WHERE id = $1"
            await connection.execute(moved, bill.account_id, bill.amount, bill.charge)
            await connection.execute(_ENTRIES, bill.id, bill.account_id, bill.charge, now)
            await connection.execute(_GENERATION, _json(bill))


class Guarded(_Pooled):
    async def hold(self, bill: Bill) -> None:
        async with self._pool.acquire() as connection:
            done = await connection.execute(_GUARDED_HOLD, bill.id, bill.account_id, bill.amount, BOOT, now_ms())
        _require(done == "INSERT 0 1")

    async def settle(self, bill: Bill) -> None:
        async with self._pool.acquire() as connection:
            done = await connection.execute(_GUARDED_SETTLE, bill.id, bill.charge, now_ms(), _json(bill))
        _require(done == "INSERT 0 1")


class Single:
    """One writer connection in a thread of its own, as the ledger has it (WAL, synchronous=FULL), and one BEGIN IMMEDIATE per step."""

    def __init__(self, path: str) -> None:
        self._connection = connect_sqlite(path)
        self._thread = Worker("baseline-writer")

    async def hold(self, bill: Bill) -> None:
        await self._thread.run(lambda: self._in_transaction(self._hold, bill))

    async def settle(self, bill: Bill) -> None:
        await self._thread.run(lambda: self._in_transaction(self._settle, bill))

    async def aclose(self) -> None:
        self._thread.stop()
        self._connection.close()

    def _in_transaction(self, step: Callable[[Bill, int], None], bill: Bill) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            step(bill, now_ms())
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def _hold(self, bill: Bill, now: int) -> None:
        guarded = "UPDATE account SET held = held + ?1 WHERE id = ?2 AND posted - held + overdraft >= ?1"
        _require(self._connection.execute(guarded, (bill.amount, bill.account_id)).rowcount == 1)
        self._connection.execute(_SQLITE_HOLD, (bill.id, bill.account_id, bill.amount, BOOT, now))

    def _settle(self, bill: Bill, now: int) -> None:
        execute = self._connection.execute
        ended = "UPDATE hold SET state = 1, charge = ?, closed_at = ? WHERE id = ? AND state = 0"
        _require(execute(ended, (bill.charge, now, bill.id)).rowcount == 1)
        moved = "UPDATE account SET held = held - ?, posted = posted - ? WHERE id = ?"
        execute(moved, (bill.amount, bill.charge, bill.account_id))
        execute(_SQLITE_ENTRIES, (bill.id, bill.account_id, bill.charge, now))
        row = _written(bill)
        execute(_SQLITE_GENERATION, [row[column] for column in _COLUMNS])


def _json(bill: Bill) -> str:
    return msgspec.json.encode(_written(bill)).decode()


def _written(bill: Bill) -> dict[str, Column]:
    """The generation's row as the ledger's settle writes it."""
    return {**bill.row, "held": bill.amount, "charge": bill.charge, "shortfall": 0}


def _require(fact: bool) -> None:
    if not fact:
        raise RuntimeError("a step of the baseline was refused")


async def pool(url: str) -> Any:
    return await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
