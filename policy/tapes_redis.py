"""Tapes that all gateway processes can play, as Redis streams with a lifetime: sealed frames, one entry each.

Writing waits for nobody: frames are queued and sent by one task, in order. When Redis fails, or falls behind by more than a tape may hold,
the tape is lost, which only means that its stream can no longer be resumed.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from policy.tapes import BYTES_MAX, LIFETIME_SECONDS

PREFIX: Final = "tollway:tape:"
CONNECTIONS_MAX: Final = 64
TIMEOUT_SECONDS: Final = 5.0
QUEUE_BYTES_MAX: Final = 16 * BYTES_MAX
BATCH_MAX: Final = 256

_log = logging.getLogger("tollway.tapes")


class RedisTapes:
    """Frame n of a tape is the entry with the id `n+1`, so that frames are never taken twice or out of order."""

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        self._redis = Redis.from_pool(pool)
        self._counts: dict[str, int] = {}
        self._queue: list[tuple[str, int, bytes, bool, Callable[[], None]]] = []
        self._queued = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something that was added is not there yet."""
        return self._writer is not None

    def add(self, name: str, frame: bytes, *, last: bool, on_lost: Callable[[], None]) -> None:
        number = self._counts.get(name, 0) + 1
        if self._queued + len(frame) > QUEUE_BYTES_MAX:
            self.drop(name)
            on_lost()
            return
        if last:
            self._counts.pop(name, None)
        else:
            self._counts[name] = number
        self._queue.append((name, number, frame, last, on_lost))
        self._queued += len(frame)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def after(self, name: str, count: int, wait_seconds: float) -> tuple[list[bytes], bool] | None:
        """A Redis that does not answer has no tapes."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._after(name, count, wait_seconds)
        except (RedisError, OSError, TimeoutError):
            return None

    async def _after(self, name: str, count: int, wait_seconds: float) -> tuple[list[bytes], bool] | None:
        block = int(wait_seconds * 1000) or None
        found: Any = await self._redis.xread({PREFIX + name: f"{count}-0"}, block=block)
        if not found:
            there = await self._redis.exists(PREFIX + name)
            return ([], await self._has_ended(name)) if there else None
        entries = found[0][1] if isinstance(found, list) else next(iter(found.values()))[0]
        return [fields[b"f"] for _, fields in entries], any(b"end" in fields for _, fields in entries)

    async def _has_ended(self, name: str) -> bool:
        newest: Any = await self._redis.xrevrange(PREFIX + name, count=1)
        return bool(newest) and b"end" in newest[0][1]

    def drop(self, name: str) -> None:
        self._counts.pop(name, None)
        self._queue.append((name, 0, b"", False, lambda: None))
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Until the queue is empty. In transactions, so that no tape can be there without its lifetime."""
        while self._queue:
            batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS), self._redis.pipeline(transaction=True) as pipeline:
                    for entry in batch:
                        _put(pipeline, *entry[:4])
                    await pipeline.execute()
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("streams cannot be resumed, Redis fails: %s", type(error).__name__)
                for _, _, _, _, on_lost in batch:
                    on_lost()
            self._queued -= sum(len(frame) for _, _, frame, _, _ in batch)
        self._writer = None

    async def aclose(self) -> None:
        if self._writer is not None:
            await self._writer
        await self._redis.aclose()


def _put(pipeline: Any, name: str, number: int, frame: bytes, last: bool) -> None:
    """Number 0 stands for the end of a tape that was dropped. The lifetime begins with the first frame and is never renewed."""
    if number == 0:
        pipeline.delete(PREFIX + name)
        return
    pipeline.xadd(PREFIX + name, {"f": frame, **({"end": b"1"} if last else {})}, id=f"{number}-0")
    if number == 1:
        pipeline.expire(PREFIX + name, LIFETIME_SECONDS)
