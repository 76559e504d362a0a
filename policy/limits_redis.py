"""Limits that all gateway processes share, in Redis: one hash per key (part of the window -> taken), one script per verb.

Each verb touches one key, so a Redis Cluster needs nothing special. A `take` whose answer was lost is sent once more and may then
count twice, for one window: strict is the harmless side.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from policy.limits import PARTS, LimitsUnavailable, part_of, retry_after

PREFIX: Final = "tollway:limits:"
CONNECTIONS_MAX: Final = 32
TIMEOUT_MS: Final = 250
GRACE_MS: Final = 60_000
"""How long counts are kept after they left the window: gateways' clocks may differ by less than this."""

# ARGV: part, oldest part that counts, amount, limit, lifetime in ms. Answers nil = taken, else the counts, for the retry time.
TAKE: Final = """
local counts, used = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #counts, 2 do
  if tonumber(counts[i]) < tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], counts[i])
  else
    used = used + tonumber(counts[i + 1])
  end
end
if used + tonumber(ARGV[3]) > tonumber(ARGV[4]) then
  return counts
end
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return false
"""

# ARGV: part, amount. A key that has expired is not made anew.
GIVE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  return
end
local taken = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local unused = math.min(tonumber(ARGV[2]), taken)
if unused ~= 0 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], -unused)
end
"""


class RedisLimits:
    """Raises LimitsUnavailable when Redis does not answer within `timeout_ms`, waiting for a connection included."""

    def __init__(self, url: str, timeout_ms: int = TIMEOUT_MS) -> None:
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
        self._take = self._redis.register_script(TAKE)
        self._give = self._redis.register_script(GIVE)

    async def take(self, key: str, amount: int, limit: int, window_seconds: int, now_ms: int) -> int | None:
        part = part_of(now_ms, window_seconds)
        lifetime_ms = 2 * window_seconds * 1000 + GRACE_MS
        async with self._answering():
            refusal = await self._take(keys=[PREFIX + key], args=[part, part - PARTS, amount, limit, lifetime_ms])
        if refusal is None:
            return None
        counts = {int(part): int(taken) for part, taken in zip(refusal[::2], refusal[1::2], strict=True)}
        return retry_after(counts, amount, limit, window_seconds, now_ms)

    async def give(self, key: str, amount: int, window_seconds: int, taken_ms: int) -> None:
        async with self._answering():
            await self._give(keys=[PREFIX + key], args=[part_of(taken_ms, window_seconds), amount])

    async def ping(self) -> None:
        async with self._answering():
            await self._redis.ping()

    async def aclose(self) -> None:
        await self._redis.aclose()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except (RedisError, OSError) as error:
            raise LimitsUnavailable(f"{type(error).__name__}: {error}") from error
