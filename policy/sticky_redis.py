"""Sticky routes that all gateway processes share, in Redis: HMAC -> endpoint id, with a lifetime. One round trip per verb.

Sticky routes save money, they decide nothing: when Redis fails there are none, and it is left alone for a second, so that one which
hangs delays one request a second by its time-out.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from policy.sticky import LIFETIME_MS

PREFIX: Final = "tollway:sticky:"
CONNECTIONS_MAX: Final = 16
TIMEOUT_MS: Final = 250
PAUSE_MS: Final = 1_000

_log = logging.getLogger("tollway.sticky")


class RedisSticky:
    """`failures` counts the questions that Redis did not answer or that were not asked because of that."""

    def __init__(self, url: str, now_ms: Callable[[], int], timeout_ms: int = TIMEOUT_MS) -> None:
        self.failures = 0
        self._now_ms = now_ms
        self._paused_until_ms: int | None = None
        self._timeout_seconds = timeout_ms / 1000
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=self._timeout_seconds,
            socket_timeout=self._timeout_seconds,
            socket_connect_timeout=self._timeout_seconds,
            retry=Retry(NoBackoff(), 1),
        )
        self._redis = Redis.from_pool(pool)

    async def find(self, key: str) -> str | None:
        found = None
        async with self._asking() as may:
            if may:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    pipeline.get(PREFIX + key)
                    pipeline.pexpire(PREFIX + key, LIFETIME_MS)
                    found = (await pipeline.execute())[0]
        return found.decode() if found is not None else None

    async def keep(self, key: str, endpoint_id: str) -> None:
        async with self._asking() as may:
            if may:
                await self._redis.set(PREFIX + key, endpoint_id, px=LIFETIME_MS)

    async def drop(self, key: str) -> None:
        async with self._asking() as may:
            if may:
                await self._redis.delete(PREFIX + key)

    async def aclose(self) -> None:
        await self._redis.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[bool]:
        """Gives False while Redis is left alone."""
        if self._paused_until_ms is not None and self._now_ms() < self._paused_until_ms:
            self.failures += 1
            yield False
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield True
        except (RedisError, OSError) as error:
            self.failures += 1
            if self._paused_until_ms is None:
                _log.warning("there are no sticky routes, Redis fails: %s", type(error).__name__)
            self._paused_until_ms = self._now_ms() + PAUSE_MS
        else:
            self._paused_until_ms = None
