"""Keeps this process's boot alive and looks after the dead: heartbeat, checkpoints of live generations, recovery of orphaned holds.

Only `serve` and `demo` have a lifeline. Every second: one heartbeat and, if anything streams, one statement with all checkpoints; every
five seconds: fence boots that are dead and end their holds. After kill -9 at most a second of delivered answers is the house's.
"""

import asyncio
import logging
import secrets
from typing import Final

from gateway.generation import State
from gateway.watch import Watch
from metering import ledger, recovery
from metering.database import Database
from metering.errors import MeteringError
from metering.ledger import Ledger
from metering.money import now_ms

RECOVER_EVERY: Final = 5
"""Heartbeats between two looks for dead boots."""

_log = logging.getLogger("tollway.lifeline")


class Lifeline:
    """`start` registers the boot, takes its lock and recovers what earlier boots left; `stop` ends the heartbeat."""

    def __init__(self, database: Database, books: Ledger, watch: Watch) -> None:
        self._database = database
        self._ledger = books
        self._watch = watch
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """DatabaseUnavailable if another process serves this SQLite file."""
        await self._begin()
        self._task = asyncio.get_running_loop().create_task(self._beat_forever())
        await self.recover()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def recover(self) -> int:
        """Ends the holds of dead boots; returns how many."""
        fenced = await self._database.write(recovery.fence, own=self._ledger.boot_id, now=now_ms(), is_dead=self._database.is_dead)
        ended = 0
        while fenced:
            jobs = await self._database.read(recovery.orphans, fenced)
            if not jobs:
                break
            await asyncio.gather(*(self._ledger.recover(job) for job in jobs))
            ended += len(jobs)
        if ended:
            _log.warning("recovered %d holds of processes that died", ended)
        return ended

    async def _begin(self) -> None:
        boot_id = f"boot_{secrets.token_hex(12)}"
        await self._database.live(boot_id)
        await self._database.write(ledger.start_boot, id=boot_id, now=now_ms())
        self._ledger.boot_id = boot_id

    async def _beat_forever(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(recovery.BEAT_SECONDS)
            beats += 1
            try:
                await self._beat()
                await self._checkpoint()
                if beats % RECOVER_EVERY == 0:
                    await self.recover()
            except MeteringError as error:
                beats = 0  # others may have been as silent for the same reason: they get time to beat before anybody calls them dead
                _log.warning("heartbeat: %s", error)
            except Exception as error:  # noqa: BLE001 - the edge of a worker loop: a heartbeat that stops would fence a healthy process
                _log.error("heartbeat: %s", type(error).__name__)

    async def _beat(self) -> None:
        await self._database.live(self._ledger.boot_id)
        if not await self._database.write(recovery.beat, boot_id=self._ledger.boot_id, now=now_ms()):
            _log.error("this process was taken for dead; its running generations are the house's, new ones start under a new boot")
            await self._begin()

    async def _checkpoint(self) -> None:
        rows = {}
        for generation in list(self._watch.live):
            row = await generation.progress() if generation.progress and generation.state is State.ANSWERING else None
            if row is not None:
                rows[generation.id] = row
        if rows:
            await self._database.write(recovery.checkpoint, rows)
