"""Limits that all gateway processes share, in Redis: a hash per window (part -> taken), a sorted set per limit of places (holder -> end
of its lease), one script per verb.

All keys of a `take` are of one account and carry its id in braces, so a Redis Cluster needs nothing special. A `take` whose answer was
lost is sent once more and may then count twice, for one window: strict is the harmless side. Leases are by the clock of Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from policy.limits import LEASE_MS, PARTS, Give, LimitsUnavailable, Refusal, Want, part_of, retry_after

PREFIX: Final = "tollway:limits:"
CONNECTIONS_MAX: Final = 32
TIMEOUT_MS: Final = 250
RENEWED_AT_ONCE: Final = 500
GRACE_MS: Final = 60_000
"""How long counts are kept after they left the window: gateways' clocks may differ by less than this."""

# Five ARGV per key: part, oldest part that counts, amount, limit, lifetime in ms; or holder, "", "", limit, lifetime of a lease in ms.
# Looks at all before it takes any. Answers nil = taken, else the place of the key that refused (from 1) and its counts.
TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS do
  local first, oldest, amount, limit = ARGV[i * 5 - 4], ARGV[i * 5 - 3], ARGV[i * 5 - 2], tonumber(ARGV[i * 5 - 1])
  if oldest == '' then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    if redis.call('ZCARD', KEYS[i]) >= limit and not redis.call('ZSCORE', KEYS[i], first) then
      return {i}
    end
  else
    local counts, used = redis.call('HGETALL', KEYS[i]), 0
    for j = 1, #counts, 2 do
      if tonumber(counts[j]) < tonumber(oldest) then
        redis.call('HDEL', KEYS[i], counts[j])
      else
        used = used + tonumber(counts[j + 1])
      end
    end
    if used + tonumber(amount) > limit then
      return {i, counts}
    end
  end
end
for i = 1, #KEYS do
  local first, oldest, amount, lifetime = ARGV[i * 5 - 4], ARGV[i * 5 - 3], ARGV[i * 5 - 2], ARGV[i * 5]
  if oldest == '' then
    redis.call('ZADD', KEYS[i], now + lifetime, first)
  else
    redis.call('HINCRBY', KEYS[i], first, amount)
  end
  redis.call('PEXPIRE', KEYS[i], lifetime)
end
return false
"""

# Two ARGV per key: part, amount; or holder, "". A key that has expired is not made anew.
GIVE: Final = """
for i = 1, #KEYS do
  local first, amount = ARGV[i * 2 - 1], ARGV[i * 2]
  if amount == '' then
    redis.call('ZREM', KEYS[i], first)
  elseif redis.call('EXISTS', KEYS[i]) == 1 then
    local unused = math.min(tonumber(amount), tonumber(redis.call('HGET', KEYS[i], first) or '0'))
    if unused ~= 0 then
      redis.call('HINCRBY', KEYS[i], first, -unused)
    end
  end
end
"""

# ARGV: lifetime of a lease in ms, holders.
RENEW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
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
        self._renew = self._redis.register_script(RENEW)

    async def take(self, wants: Sequence[Want], now_ms: int) -> Refusal | None:
        async with self._answering():
            refusal = await self._take(
                keys=[PREFIX + want.key for want in wants], args=[text for want in wants for text in _taking(want, now_ms)]
            )
        if refusal is None:
            return None
        index, want = refusal[0] - 1, wants[refusal[0] - 1]
        if want.holder:
            return Refusal(index, 1)
        counts = {int(part): int(taken) for part, taken in zip(refusal[1][::2], refusal[1][1::2], strict=True)}
        return Refusal(index, retry_after(counts, want.amount, want.limit, want.window_seconds, now_ms))

    async def give(self, gives: Sequence[Give]) -> None:
        args = [text for give in gives for text in _giving(give)]
        async with self._answering():
            await self._give(keys=[PREFIX + give.key for give in gives], args=args)

    async def renew(self, places: Sequence[tuple[str, str]], now_ms: int) -> None:
        holders: dict[str, list[str]] = {}
        for key, holder in places:
            holders.setdefault(key, []).append(holder)
        keys = list(holders)
        for start in range(0, len(keys), RENEWED_AT_ONCE):
            async with self._answering(), self._redis.pipeline(transaction=False) as pipeline:
                for key in keys[start : start + RENEWED_AT_ONCE]:
                    await self._renew(keys=[PREFIX + key], args=[LEASE_MS, *holders[key]], client=pipeline)
                await pipeline.execute()

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


def _taking(want: Want, now_ms: int) -> tuple[str | int, ...]:
    if want.holder:
        return want.holder, "", "", want.limit, LEASE_MS
    part = part_of(now_ms, want.window_seconds)
    return part, part - PARTS, want.amount, want.limit, 2 * want.window_seconds * 1000 + GRACE_MS


def _giving(give: Give) -> tuple[str | int, ...]:
    return (give.holder, "") if give.holder else (part_of(give.taken_ms, give.window_seconds), give.amount)
