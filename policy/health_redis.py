"""Health shared between processes through Redis: each decides by itself at once, and once a second tells and hears what changed.

No request waits for Redis. `sync` runs one script, which writes what this process saw and reads what the others did:

    <prefix>slot:<n>    hash, process -> what it saw in these ten seconds: {endpoint: [ok, failed, latency, throughput]}; msgpack
    <prefix>ejections   hash, endpoint -> its last turn: "changed since until probes refused process"; the latest change wins

A process writes its own fields whole, so a `sync` whose answer was lost changes nothing when it is sent again. Times in Redis are by
its clock; each process keeps the distance to its own, so clocks need not agree. While Redis is down every process goes on with what it
knows and learns; after that it makes up for the slots it missed. Each process lets one probe of its own through.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from policy.health import CLOSED, LONGEST_MS, Circuit, monotonic_ms
from policy.health_memory import ENDPOINTS_MAX, MemoryHealth, Seen
from policy.histogram import BUCKETS, SLOT_MS, SLOTS, Part

PREFIX: Final = "tollway:{health}:1:"
"""The braces keep all keys in one slot of a Redis Cluster; the number is the version of the formats."""
TIMEOUT_MS: Final = 1_000
KEPT_MS: Final = (SLOTS + 6) * SLOT_MS
TURNS_KEPT_MS: Final = 1_200_000
"""Longer than the longest ejection and its probe."""
PROCESSES_MAX: Final = 64
PUBLISHED_MAX: Final = 1_000
"""Endpoints per slot and process, the ones used last: 100 bytes each."""
STEP_MS: Final = 1_000
"""A clock that is further off than this has jumped; what is less is the network."""

# KEYS: ejections, slots. ARGV: process, lifetime of a slot, lifetime of a turn, most processes, most turns, what the process takes for
# Redis's time, how far it may be off, one blob per slot ('' = none), then endpoint and turn in pairs.
# Answers the time, the turns and the slots; only the time, with nothing done, to a process whose idea of it is wrong.
EXCHANGE: Final = """
local time, slots = redis.call('TIME'), #KEYS - 1
local now, off = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[7])
if math.abs(now - ARGV[6]) > off then
  return time
end
for i = 1, slots do
  local key, blob = KEYS[1 + i], ARGV[7 + i]
  local room = redis.call('HEXISTS', key, ARGV[1]) == 1 or redis.call('HLEN', key) < tonumber(ARGV[4])
  if blob ~= '' and room then
    redis.call('HSET', key, ARGV[1], blob)
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
local function age(turn)
  return now - string.match(turn, '^-?%d+')
end
local turns = redis.call('HGETALL', KEYS[1])
for i = 1, #turns, 2 do
  if age(turns[i + 1]) > tonumber(ARGV[3]) or age(turns[i + 1]) < -2 * off then
    redis.call('HDEL', KEYS[1], turns[i])
  end
end
for i = 8 + slots, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if known and age(known) >= age(ARGV[i + 1]) or not known and redis.call('HLEN', KEYS[1]) < tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
end
local answer = {time[1], time[2], redis.call('HGETALL', KEYS[1])}
for i = 1, slots do
  answer[3 + i] = redis.call('HGETALL', KEYS[1 + i])
end
return answer
"""

Counts = dict[Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)], int]
_BLOB: Final = msgspec.msgpack.Decoder(dict[str, tuple[int, int, Counts, Counts]])

_log = logging.getLogger("tollway.health")


class RedisHealth(MemoryHealth):
    """`process` is this process's name among the others, new at every start (its boot id)."""

    def __init__(
        self,
        url: str,
        process: str,
        now_ms: Callable[[], int] = monotonic_ms,
        draw: Callable[[], float] = random.random,
        endpoints_max: int = ENDPOINTS_MAX,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        super().__init__(now_ms, draw, endpoints_max)
        self._process = process
        self._timeout_seconds = timeout_ms / 1000
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=2,
            timeout=self._timeout_seconds,
            socket_timeout=self._timeout_seconds,
            socket_connect_timeout=self._timeout_seconds,
            retry=Retry(NoBackoff(), 1),
        )
        self._redis = Redis.from_pool(pool)
        self._exchange = self._redis.register_script(EXCHANGE)
        self._offset_ms = 0
        self._synced_slot: int | None = None
        self._changed_ms: dict[str, int] = {}
        self._untold: set[str] = set()
        self._heard: dict[tuple[str, int], bytes] = {}
        self._down = False

    async def sync(self) -> None:
        """At most one round trip and `timeout_ms`; one more when the distance to Redis's clock is not known yet, or has changed."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if not await self._sync():
                    await self._sync()
        except (RedisError, OSError, ValueError) as error:
            if not self._down:
                _log.warning("health is not shared, Redis fails: %s", type(error).__name__)
            self._down = True
        else:
            if self._down:
                _log.info("health is shared again")
            self._down = False

    async def aclose(self) -> None:
        await super().aclose()
        await self._redis.aclose()

    def _turned(self, id: str, seen: Seen) -> None:
        super()._turned(id, seen)
        self._changed_ms[id] = self._now_ms()
        self._untold.add(id)

    async def _sync(self) -> bool:
        """False: the distance to Redis's clock was wrong, nothing was told or heard, and now it is right."""
        offset_ms, now_ms = self._offset_ms, self._now_ms()
        now_slot = now_ms // SLOT_MS
        oldest = now_slot - SLOTS
        first = oldest if self._synced_slot is None else max(self._synced_slot - 1, oldest)
        slots = range(first, now_slot + 2)  # another process may be one slot ahead
        telling, self._untold = self._untold, set()
        try:
            seconds, micros, *heard = await self._tell(slots, telling, now_ms + offset_ms)
        except BaseException:
            self._untold |= telling
            raise
        if not heard:
            self._offset_ms = int(seconds) * 1000 + int(micros) // 1000 - self._now_ms()
            self._synced_slot = None
            self._untold |= telling
            return False
        heard_turns, *heard_slots = heard
        self._synced_slot = now_slot
        self._adopt(heard_turns, offset_ms)
        for slot, fields in zip(slots, heard_slots, strict=True):
            await self._hear(slot, fields)
        self._tidy(now_ms)
        return True

    async def _tell(self, slots: range, telling: set[str], shared_now_ms: int) -> list[Any]:
        shift = round(self._offset_ms / SLOT_MS)
        keys = [PREFIX + "ejections", *(f"{PREFIX}slot:{slot + shift}" for slot in slots)]
        args: list[str | int | bytes] = [self._process, KEPT_MS, TURNS_KEPT_MS, PROCESSES_MAX, ENDPOINTS_MAX, shared_now_ms, STEP_MS]
        args += [self._blob(slot) for slot in slots]
        args += [text for id in telling if id in self._seen for text in (id, self._turn(id))]
        answer: list[Any] = await self._exchange(keys=keys, args=args)
        return answer

    def _blob(self, slot: int) -> bytes:
        """What this process saw in a slot, empty if nothing."""
        parts = ((id, seen.window.parts.get(("", slot))) for id, seen in islice(reversed(self._seen.items()), PUBLISHED_MAX))
        seen = {id: (part.ok, part.failed, part.latency, part.throughput) for id, part in parts if part is not None}
        return msgspec.msgpack.encode(seen) if seen else b""

    def _turn(self, id: str) -> str:
        circuit, offset_ms = self._seen[id].circuit, self._offset_ms
        until_ms = circuit.until_ms + offset_ms if circuit.ejected else 0
        since = f"{self._changed_ms[id] + offset_ms} {circuit.since_ms + offset_ms}"
        return f"{since} {until_ms} {circuit.probes} {circuit.refused:d} {self._process}"

    def _adopt(self, turns: list[bytes], offset_ms: int) -> None:
        """The turns that are later than what this process knows of the same endpoint."""
        for id, turn in _pairs(turns):
            *figures, process = turn.decode().split()
            changed, since, until, probes, refused = map(int, figures)
            known_ms = self._changed_ms.get(id)
            later = known_ms is None or changed - offset_ms > known_ms
            if process == self._process or not later or (seen := self._other(id)) is None:
                continue
            self._changed_ms[id] = changed - offset_ms
            until_ms = min(until - offset_ms, self._now_ms() + LONGEST_MS)
            ejected = Circuit(since_ms=since - offset_ms, until_ms=until_ms, probes=probes, refused=bool(refused))
            seen.turn(ejected if until else CLOSED)

    async def _hear(self, slot: int, fields: list[bytes]) -> None:
        """Lets requests go first after each process: 500 endpoints take 3 ms."""
        for process, blob in _pairs(fields):
            if process == self._process or self._heard.get((process, slot)) == blob:
                continue
            self._heard[process, slot] = blob
            try:
                parts = _BLOB.decode(blob)
            except msgspec.DecodeError:
                _log.warning("what process %s says about health is not understood", process)
                continue
            for id, (ok, failed, latency, throughput) in parts.items():
                if (seen := self._other(id)) is not None:
                    seen.window.put(process, slot, Part(ok, failed, latency, throughput))
            await asyncio.sleep(0)

    def _other(self, id: str) -> Seen | None:
        """What others say of endpoints that this process never used takes no place from those it does."""
        seen = self._seen.get(id)
        if seen is None and len(self._seen) < self._endpoints_max:
            seen = self._seen[id] = Seen()
            self._seen.move_to_end(id, last=False)
        return seen

    def _tidy(self, now_ms: int) -> None:
        oldest = now_ms // SLOT_MS - SLOTS
        self._heard = {key: blob for key, blob in self._heard.items() if key[1] >= oldest}
        self._changed_ms = {id: changed for id, changed in self._changed_ms.items() if changed > now_ms - TURNS_KEPT_MS}
        for seen in self._seen.values():
            seen.window.forget(now_ms)


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, Any]]:
    return ((name.decode(), value) for name, value in zip(flat[::2], flat[1::2], strict=True))
