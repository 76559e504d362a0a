"""A database with 1,000,000 generations of one account, whose books are right: what the pages are measured on.

Run: python -m benchmarks.pages_seed URL [--generations 1000000] [--days 30] [--spread]. URL names a migrated, empty database.
20 models at 2 of 8 providers each, 12 keys of 5 apps with 8 models each, 2 % failures; `--spread`: every key asks for every model at every
provider for every app. The chain is sealed; nothing is added up yet: that is the chore's work, which is measured too.
"""

import argparse
import asyncio
import random
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from time import perf_counter
from typing import Any, Final

import asyncpg
from sqlmodel import Session, SQLModel

from gateway.ids import Ids
from metering import chain, credits, generations, ledger, seal
from metering.database import open_database
from metering.money import NANO_PER_USD, now_ms
from metering.price import Price, cost
from metering.tables import Entry, Generation, Hold, Seal
from metering.usage import Usage
from policy import keys, members
from policy.keys import NewKey

ABOUT: Final = "20 models at 2 of 8 providers each, 12 keys with 8 models each, 5 apps, 2 % failures"
ACCOUNT: Final = "acct_pages"
OWNER: Final = "owner@pages.example"
PEPPER: Final = b"p" * 32
DAY_MS: Final = 86_400_000
FUNDS: Final = 1_000_000 * NANO_PER_USD
CHUNK: Final = 20_000
MODELS: Final = tuple(f"maker-{number % 6}/model-{number:02}" for number in range(20))
PROVIDERS: Final = tuple(f"provider-{number}" for number in range(8))
KEYS: Final = tuple(f"key_pages_{number:02}" for number in range(12))
APPS: Final = tuple(f"https://app-{number}.example" for number in range(5))
PRICES: Final = tuple(Price(prompt=75_003 + 40_000 * number, completion=300_007 + 90_000 * number) for number in range(len(MODELS)))
VARIANTS: Final = 24
ERROR: Final = '"UpstreamError"'
TABLES: Final = (Generation, Hold, Entry, Seal)
COLUMNS: Final = {table: tuple(SQLModel.metadata.tables[str(table.__tablename__)].columns.keys()) for table in TABLES}

Rows = dict[Any, list[tuple[Any, ...]]]


class Draw:
    """One request after another: who asked what of whom, and how it ended. The same ones for the same seed."""

    def __init__(self, *, spread: bool, seed: int = 1) -> None:
        self._random, self._spread = random.Random(seed), spread
        self._models = [[(key * 3 + step * 5) % len(MODELS) for step in range(8)] for key in range(len(KEYS))]
        self._rows = [[self._row(model, variant) for variant in range(VARIANTS)] for model in range(len(MODELS))]

    def _row(self, model: int, variant: int) -> dict[str, Any]:
        usage = Usage(
            prompt=150 + 211 * variant, cached_prompt=64 * (variant % 5), completion=20 + 37 * variant, reasoning=variant % 3 * 90
        )
        price = PRICES[model]
        record = generations.Record(
            id="", account_id=ACCOUNT, key_id="", created_at=0, model=MODELS[model], provider=None, endpoint=None, price_id=price.id,
            api_type="completions", streamed=variant % 3 != 0, outcome="completed", finish_reason="stop", native_finish_reason="stop",
            error_type=None, upstream_id="chatcmpl-9rXlHcZ0a1bQwErTyUiOpAsDfGhJk", usage_source="provider", held=0, first_byte_ms=0,
            duration_ms=0, attempts=[], origin=None, title=None,
        )  # fmt: skip
        exact = cost(usage, price)
        return generations.row(record, usage, exact) | {"charge": exact.charge, "held": exact.charge * 4}

    def next(self, id: str, at: int) -> dict[str, Any]:
        draw = self._random.random
        key = int(draw() * len(KEYS))
        model = int(draw() * len(MODELS)) if self._spread else self._models[key][int(draw() ** 2 * 8)]
        provider = int(draw() * 8) if self._spread else (model * 3 + (draw() < 0.2)) % len(PROVIDERS)
        app = int(draw() * 5) if self._spread else key % len(APPS)
        first, last = 80 + int(draw() ** 4 * 4000), 200 + int(draw() ** 3 * 20_000)
        endpoint = f"{PROVIDERS[provider]}-{model:02}"
        failed = draw() < 0.02
        attempt = (
            f'[{{"provider":"{PROVIDERS[provider]}","endpoint":"{endpoint}","status":{500 if failed else 200},"started_ms":3,'
            f'"first_byte_ms":{"null" if failed else first},"ended_ms":{first + last},"error_class":{ERROR if failed else "null"}}}]'
        )
        row = self._rows[model][int(draw() * VARIANTS)] | {
            "id": id, "key_id": KEYS[key], "created_at": at, "provider": PROVIDERS[provider], "endpoint": endpoint,
            "first_byte_ms": first, "duration_ms": first + last, "attempts": attempt, "origin": APPS[app], "title": f"App {app}",
        }  # fmt: skip
        return row | FAILED if failed else row


FAILED: Final[dict[str, Any]] = {
    **dict.fromkeys(("prompt", "cached_prompt", "completion", "reasoning", "total_pico", "remainder", "charge"), 0),
    **dict.fromkeys(("usage_source", "first_byte_ms", "finish_reason", "native_finish_reason", "upstream_id")),
    "outcome": "failed", "error_type": "upstream_error",
}  # fmt: skip


def chunks(count: int, *, days: int, now: int, head: seal.Head, spread: bool) -> Iterator[tuple[Rows, int]]:
    """The rows of all tables, `CHUNK` generations at a time in time order, and what they were charged together."""
    draw, ids, clock = Draw(spread=spread), Ids(), random.Random(2)
    step, before, seq = days * DAY_MS / count, bytes.fromhex(head.hash), head.seq
    moments = (int(now - days * DAY_MS + (number + clock.random()) * step) for number in range(count))
    while part := list(islice(moments, CHUNK)):
        rows: Rows = {table: [] for table in TABLES}
        charged = 0
        for at in part:
            row = draw.next(ids.generation(at), at)
            id, charge, end = row["id"], row["charge"], min(now, at + row["duration_ms"])
            rows[Generation].append(tuple(row[name] for name in COLUMNS[Generation]))
            rows[Hold].append((id, ACCOUNT, "", row["held"], 1 if charge else 2, charge, "boot_pages", at, end, None))
            if charge:
                rows[Entry].append((id, 0, ACCOUNT, -charge, "charge", None, end))
                rows[Entry].append((id, 1, "house:revenue", charge, "charge", None, end))
                seq, charged = seq + 1, charged + charge
                fields = chain.message("tollway-entry-1", ACCOUNT, str(seq), id, "charge", str(-charge), None, str(end))
                before = sha256(before + fields).digest()
                rows[Seal].append((ACCOUNT, seq, id, before.hex(), max(head.sealed_at, now)))
        yield rows, charged


async def seed(url: str, *, count: int, days: int, spread: bool = False) -> float:
    """Fills the database; returns the seconds that it took."""
    began, now = perf_counter(), now_ms()
    database = open_database(url)
    try:
        await database.write(_open, now - days * DAY_MS - 1)
        await database.write(seal.seal, [f"dep_{ACCOUNT}"], now=now - days * DAY_MS)
        head = (await database.read(seal.heads_of, {ACCOUNT}))[ACCOUNT]
    finally:
        await database.aclose()
    parts = chunks(count, days=days, now=now, head=head, spread=spread)
    if url.startswith("sqlite:///"):
        _into_sqlite(url.removeprefix("sqlite:///"), parts)
    else:
        await _into_postgres(url, parts)
    return perf_counter() - began


def _open(session: Session, now: int) -> None:
    ledger.start_boot(session, id="boot_pages", now=now)
    ledger.open_account(session, id=ACCOUNT, now=now)
    credits.add(session, id=f"dep_{ACCOUNT}", account_id=ACCOUNT, amount=FUNDS, reason="bench", now=now)
    generations.remember_prices(session, {price.id: price for price in PRICES}, now)
    members.add(session, id="mem_pages", account_id=ACCOUNT, email=OWNER, role="owner", now=now)
    for number, key_id in enumerate(KEYS):
        kind, token = "inference" if number else "owner", keys.generate(random.Random(number).randrange)
        new = NewKey(account_id=ACCOUNT, kind=kind, name=f"Key {number}", member_id="mem_pages")
        keys.create(session, new, token=token, pepper=PEPPER, id=key_id, now=now)


_BOOKED: Final = (
    "UPDATE account SET posted = posted - {charged} WHERE id = '{account}'",
    "UPDATE credit SET remaining = remaining - {charged} WHERE account_id = '{account}'",
)


_INDEXES: Final = """SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS made_by FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE NOT i.indisprimary AND t.relname = ANY($1::text[])"""


def _into_sqlite(path: str, parts: Iterator[tuple[Rows, int]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous=OFF", "cache_size=-200000", "foreign_keys=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    total = 0
    for rows, charged in parts:
        connection.execute("BEGIN")
        for table, values in rows.items():
            places = ", ".join("?" * len(COLUMNS[table]))
            connection.executemany(f"INSERT INTO {table.__tablename__} ({', '.join(COLUMNS[table])}) VALUES ({places})", values)
        connection.execute("COMMIT")
        total += charged
    for statement in _BOOKED:
        connection.execute(statement.format(charged=total, account=ACCOUNT))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _into_postgres(url: str, parts: Iterator[tuple[Rows, int]]) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
    indexes = await connection.fetch(_INDEXES, [str(table.__tablename__) for table in TABLES])
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    total = 0
    for rows, charged in parts:
        for table, values in rows.items():
            await connection.copy_records_to_table(table.__tablename__, records=values, columns=COLUMNS[table])
        total += charged
    for statement in _BOOKED:
        await connection.execute(statement.format(charged=total, account=ACCOUNT))
    for index in indexes:
        await connection.execute(index["made_by"], timeout=300)
    await connection.execute("VACUUM ANALYZE", timeout=300)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--generations", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--spread", action="store_true", help="no pattern in who asks what of whom: as many groups as there can be")
    args = parser.parse_args()
    seconds = asyncio.run(seed(args.url, count=args.generations, days=args.days, spread=args.spread))
    print(f"{args.generations:,} generations in {seconds:.1f} s")


if __name__ == "__main__":
    main()
