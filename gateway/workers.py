"""The chores that belong to no request: sealing, the daily checkpoint, expiry of credits, old idempotency claims.

`serve` and `demo` do them beside their requests, in transactions so short that nobody waits for them; `tollway worker` does them alone.
Every chore has a task of its own: one that fails tries again later and stops no other. On Postgres one process at a time does them, all
of them; doing one twice would be harmless, and on SQLite, where whoever writes waits for the others, it may happen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.timespan import iso
from metering import credits, rollups, sealer
from metering.database import Database
from metering.errors import MeteringError
from metering.money import format_usd, now_ms
from metering.notary import Notary
from metering.sealer import Sealer
from policy import account_states, content_store, idempotency, retention, rights_requests

RETRY_SECONDS_MAX: Final = 60.0
SEALS_LOGGED_EVERY_SECONDS: Final = 60.0
EXPIRED_MAX: Final = 100
"""Accounts whose credits expire in one round."""
ADDED_SAID_FROM: Final = 10_000
"""Charges and generations added up in one round, from which on the log says so."""

_log = logging.getLogger("tollway.chores")


@dataclass(frozen=True, kw_only=True)
class Chore:
    """`do` returns what was done, in words for the log, or None if there was nothing to say."""

    name: str
    every_seconds: float
    do: Callable[[], Awaitable[str | None]]


class Chores:
    """`start` begins them, `stop` ends them between two transactions or, at worst, by rolling one back."""

    def __init__(self, database: Database, chores: tuple[Chore, ...]) -> None:
        self._database = database
        self._chores = chores
        self._tasks: list[asyncio.Task[None]] = []
        self._leading = asyncio.Event()

    def start(self) -> None:
        turn = Chore(name="turn", every_seconds=1.0, do=self._take_turn)
        self._tasks = [asyncio.create_task(self._forever(turn)), *(asyncio.create_task(self._in_turn(chore)) for chore in self._chores)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take_turn(self) -> None:
        self._leading.clear()
        if await self._database.lead():
            self._leading.set()

    async def _in_turn(self, chore: Chore) -> None:
        async def do() -> str | None:
            await self._leading.wait()
            return await chore.do()

        await self._forever(Chore(name=chore.name, every_seconds=chore.every_seconds, do=do))

    async def _forever(self, chore: Chore) -> None:
        failures = 0
        while True:
            try:
                done = await chore.do()
                failures = 0
                if done:
                    _log.info("%s: %s", chore.name, done)
            except MeteringError as error:
                failures += 1
                _log.warning("%s: %s", chore.name, error)
            except Exception as error:  # noqa: BLE001 - the edge of a worker loop: the other chores, and its own next round, go on
                failures += 1
                _log.error("%s: %s", chore.name, type(error).__name__)
            await asyncio.sleep(min(chore.every_seconds * 2 ** min(failures, 6), max(RETRY_SECONDS_MAX, chore.every_seconds)))


def everyday(database: Database, notary: Notary, *, rows_max: int) -> tuple[Chore, ...]:
    """The chores of every process that does them. `rows_max`: entries that are sealed, or added up, in one transaction."""
    return (
        Chore(name="seal", every_seconds=1.0, do=_Sealing(Sealer(database, rows_max=rows_max)).do),
        Chore(name="usage", every_seconds=2.0, do=lambda: add_up(database, now=now_ms(), rows_max=rows_max)),
        Chore(name="checkpoint", every_seconds=60.0, do=lambda: checkpoint(database, notary, rows_max=rows_max, clock=now_ms)),
        Chore(name="expiry", every_seconds=60.0, do=lambda: expire(database, now=now_ms())),
        Chore(name="content", every_seconds=600.0, do=lambda: forget(database, now=now_ms())),
        Chore(name="account", every_seconds=600.0, do=lambda: purge(database, now=now_ms())),
        Chore(name="retention", every_seconds=86_400.0, do=lambda: keep_within(database, now=now_ms())),
        Chore(name="rights", every_seconds=3600.0, do=lambda: remind(database, now=now_ms())),
        Chore(name="idempotency", every_seconds=600.0, do=lambda: prune(database, now=now_ms())),
    )


async def add_up(database: Database, *, now: int, rows_max: int) -> str | None:
    """What was used, per hour and day."""
    added = await rollups.add_up(database, now=now, rows_max=rows_max)
    return f"{added:,} charges and generations added up" if added >= ADDED_SAID_FROM else None


async def checkpoint(database: Database, notary: Notary, *, rows_max: int, clock: Callable[[], int]) -> str | None:
    """Makes the checkpoint of the day; its moment is after the sweep that seals all there is, however long that takes."""
    if await notary.has(now=clock()):
        return None
    sealed = await Sealer(database, rows_max=rows_max).sweep()
    made, new = await notary.checkpoint(now=clock())
    found = f", after a sweep that sealed {sealed:,} entries" if sealed else ""
    return f"{made.day} over {made.accounts:,} accounts, signed by {made.public_key}{found}" if new else None


async def expire(database: Database, *, now: int) -> str | None:
    accounts = await database.read(credits.due, now=now, limit=EXPIRED_MAX)
    amounts = [await database.write(credits.expire, account_id=account_id, now=now) for account_id in accounts]
    moved = [amount for amount in amounts if amount]
    return f"{format_usd(sum(moved))} USD of {len(moved):,} accounts expired" if moved else None


async def prune(database: Database, *, now: int) -> str | None:
    pruned = 0
    while batch := await database.write(idempotency.prune, now=now):
        pruned += batch
        await asyncio.sleep(0)
    return f"{pruned:,} old claims forgotten" if pruned else None


async def forget(database: Database, *, now: int) -> str | None:
    """Prompts and answers whose days are over."""
    forgotten = 0
    while batch := await database.write(content_store.expire, now=now):
        forgotten += batch
        await asyncio.sleep(0)
    return f"{forgotten:,} prompts and answers forgotten, their days are over" if forgotten else None


async def keep_within(database: Database, *, now: int) -> str | None:
    """What is older than its category may be (`policy/retention.py`)."""
    done = await retention.enforce(database, now=now)
    return f"over their time: {', '.join(f'{count:,} {name}' for name, count in done.items())}" if done else None


async def purge(database: Database, *, now: int) -> str | None:
    """Accounts whose window is over (`policy/account_states.py`)."""
    purged = await account_states.purge_due(database, now=now)
    return f"{purged:,} closed accounts purged, their books remain" if purged else None


async def remind(database: Database, *, now: int) -> None:
    """Warns of requests under privacy laws that take long, in ids alone. A crash in between warns twice rather than never."""
    while late := await database.read(rights_requests.unsaid, now=now):
        for row in late:
            state = "overdue since" if rights_requests.is_overdue(row, now) else "past half of its time, due"
            _log.warning("rights: request %s (%s, %s) is %s %s", row.id, row.kind, row.law, state, iso(row.due_at))
        await database.write(rights_requests.said, [row.id for row in late], now=now)


class _Sealing:
    """Seals once a second and says so once a minute."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._sealed = 0
        self._logged = float("-inf")

    async def do(self) -> str | None:
        self._sealed += await self._sealer.step()
        clock = asyncio.get_running_loop().time()
        if not self._sealed or clock - self._logged < SEALS_LOGGED_EVERY_SECONDS:
            return None
        said, self._sealed, self._logged = f"{self._sealed:,} entries", 0, clock
        return said


def inside(database: Database, notary: Notary, database_url: str) -> Chores:
    """The chores of a serving process; its own lifeline looks after the dead."""
    return Chores(database, everyday(database, notary, rows_max=sealer.rows_max(database_url)))
