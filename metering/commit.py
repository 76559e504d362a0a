"""Group commit: jobs that arrive while a batch is being written form the next batch, so the disk is waited for once per batch.

No timer: the next batch starts when the previous one returns. Under load batches grow by themselves, when idle a job goes alone.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from metering.batch import CloseJob, ExtendJob, Job, Outcome
from metering.errors import DatabaseUnavailable, LedgerBusy

BATCH_ROWS_MAX: Final = 512
QUEUE_MAX: Final = 10_000
RETRY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)

_log = logging.getLogger("tollway.ledger")

Pending = tuple[Job, "asyncio.Future[Outcome]"]


class Commit:
    """`submit` a job and await its outcome. A waiter that is cancelled loses only the answer, never the job."""

    def __init__(self, run: Callable[[list[Job]], Awaitable[list[Outcome]]]) -> None:
        self._run = run
        self._queue: deque[Pending] = deque()
        self._task: asyncio.Task[None] | None = None
        self._waiting_since_ms = 0

    @property
    def waiting_ms(self) -> int:
        """For how long the oldest waiting job has waited; less where more jobs wait than one batch takes."""
        return _clock_ms() - self._waiting_since_ms if self._queue else 0

    @property
    def waiting(self) -> int:
        """Jobs that wait for the next batch."""
        return len(self._queue)

    async def submit(self, job: Job) -> Outcome:
        """LedgerBusy when the queue is full (an end of a hold is always taken); DatabaseUnavailable when a hold cannot be written."""
        return await self.post(job)

    def post(self, job: Job) -> "asyncio.Future[Outcome]":
        """`submit` without waiting."""
        if len(self._queue) >= QUEUE_MAX and not _ends(job):
            raise LedgerBusy(f"{QUEUE_MAX} ledger jobs are waiting already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if not self._queue:
            self._waiting_since_ms = _clock_ms()
        self._queue.append((job, future))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        return future

    async def flush(self) -> None:
        """Returns when nothing is waiting."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def _drain(self) -> None:
        failures = 0
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_ROWS_MAX))]
                if self._queue:
                    self._waiting_since_ms = _clock_ms()
                try:
                    await self._write(batch)
                    failures = 0
                except DatabaseUnavailable as error:
                    self._put_back(batch, error)
                    await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1
        finally:
            self._task = None

    async def _write(self, batch: list[Pending]) -> None:
        try:
            outcomes = await self._run([job for job, _ in batch])
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one impossible row must not take its neighbours with it
            await self._write_singly(batch, error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)

    async def _write_singly(self, batch: list[Pending], error: Exception) -> None:
        if len(batch) > 1:
            for pending in batch:
                await self._write([pending])
            return
        [(job, future)] = batch
        _log.error("the ledger refused %s %s: %s", type(job).__name__, job.id, type(error).__name__)
        if not future.done():
            future.set_exception(error)

    def _put_back(self, batch: list[Pending], error: DatabaseUnavailable) -> None:
        """Ends of holds stay first in line until the database is back; everything else is refused now."""
        kept = [(job, future) for job, future in batch if _ends(job) and (future.cancelled() or not future.done())]
        if not self._queue:
            self._waiting_since_ms = _clock_ms()
        self._queue.extendleft(reversed(kept))
        for job, future in batch:
            if not _ends(job) and not future.done():
                future.set_exception(error)


def _clock_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _ends(job: Job) -> bool:
    """A close, or the extension that a settle asks for first: what was delivered is charged, however long the database is away."""
    return isinstance(job, CloseJob) or (isinstance(job, ExtendJob) and job.partly)
