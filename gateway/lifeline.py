"""Keeps this process's boot alive and looks after the dead: heartbeat, checkpoints of live generations, recovery of orphaned holds.

Only `serve` and `demo` have a lifeline. Every second: one heartbeat and, if anything streams, one statement with all checkpoints. Every
five seconds, in a task of its own: fence boots that are dead and end their holds, and end holds of this boot that nobody looks after any
more. After kill -9 at most a second of delivered answers is the house's.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from sqlmodel import Session

from gateway.generation import State
from gateway.watch import Watch
from metering import ledger, recovery
from metering.database import Database
from metering.errors import MeteringError
from metering.ledger import Ledger
from metering.money import now_ms

RECOVER_SECONDS: Final = 5.0
STRAY_MS: Final = 60_000
"""A hold of this boot that is so old without a live generation has lost its end; a generation is live before it is held."""

_log = logging.getLogger("tollway.lifeline")


class Lifeline:
    """`start` registers the boot, takes its lock and recovers what earlier boots left; `stop` ends the heartbeat."""

    def __init__(self, database: Database, books: Ledger, watch: Watch) -> None:
        self._database = database
        self._ledger = books
        self._watch = watch
        self._tasks: list[asyncio.Task[None]] = []
        self._missed = False
        self.recovered = 0
        """Holds ended for processes that died, and strays, since the start."""

    async def start(self) -> None:
        """DatabaseUnavailable if another process serves this SQLite file."""
        await self._begin()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._forever(recovery.BEAT_SECONDS, self._beat))]
        await self.recover()
        self._tasks.append(loop.create_task(self._forever(RECOVER_SECONDS, self._look_around)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def recover(self) -> int:
        """Ends the holds of dead boots; returns how many."""
        fenced = await self._database.write(self._fence)
        ended = 0
        while fenced:
            jobs = await self._database.read(recovery.orphans, fenced)
            if not jobs:
                break
            await asyncio.gather(*(self._ledger.recover(job) for job in jobs))
            ended += len(jobs)
        self.recovered += ended
        if ended:
            _log.warning("recovered %d holds of processes that died", ended)
        return ended

    async def end_strays(self, now: int) -> int:
        """Ends holds of this boot that no live generation looks after; returns how many. There should never be one."""
        live = {generation.id for generation in self._watch.live}
        boot_id, before = self._ledger.boot_id, now - STRAY_MS
        jobs = await self._database.read(recovery.strays, boot_id=boot_id, before=before, live=live)
        await asyncio.gather(*(self._ledger.recover(job) for job in jobs))
        self.recovered += len(jobs)
        if jobs:
            _log.error("ended %d holds whose generations were gone, the first is %s", len(jobs), jobs[0].id)
        return len(jobs)

    def _fence(self, session: Session) -> list[str]:
        now = self._database.clock(session)
        return recovery.fence(session, own=self._ledger.boot_id, now=now, is_dead=self._database.is_dead)

    async def _begin(self) -> None:
        boot_id = f"boot_{secrets.token_hex(12)}"
        await self._database.live(boot_id)
        await self._database.write(lambda session: ledger.start_boot(session, id=boot_id, now=self._database.clock(session)))
        self._ledger.boot_id = boot_id

    async def _forever(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except MeteringError as error:
                self._missed = True
                _log.warning("heartbeat: %s", error)
            except Exception as error:  # noqa: BLE001 - the edge of a worker loop: a heartbeat that stops would fence a healthy process
                _log.error("heartbeat: %s", type(error).__name__)

    async def _beat(self) -> None:
        boot_id = self._ledger.boot_id
        await self._database.live(boot_id)
        alive = await self._database.write(lambda session: recovery.beat(session, boot_id=boot_id, now=self._database.clock(session)))
        if not alive:
            _log.error("this process was taken for dead; its running generations are the house's, new ones start under a new boot")
            await self._begin()
        await self._checkpoint()

    async def _look_around(self) -> None:
        """Not right after an outage: others may have been as silent for the same reason, and get time to beat before anybody judges."""
        missed, self._missed = self._missed, False
        if not missed:
            await self.recover()
            await self.end_strays(now_ms())

    async def _checkpoint(self) -> None:
        rows = {}
        for generation in list(self._watch.live):
            row = await generation.progress() if generation.progress and generation.state is State.ANSWERING else None
            if row is not None:
                rows[generation.id] = row
        if rows:
            await self._database.write(recovery.checkpoint, rows)
