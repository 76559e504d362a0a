"""Five minutes of an endpoint's answers in bounded memory: counts in logarithmic buckets, one set per slot of ten seconds.

Eight buckets per doubling: a percentile read from them is within `ERROR` (4.5 %) of the exact one. A set keeps only the buckets that
were hit, and the sums over all slots are kept up to date, so that reading a percentile is one pass over 160 numbers.
"""

from bisect import bisect_left
from itertools import accumulate
from math import log2
from typing import Final

from policy.health import Kind, Sample
from policy.stats import Percentiles

SLOT_MS: Final = 10_000
SLOTS: Final = 30
PER_DOUBLING: Final = 8
BUCKETS: Final = 20 * PER_DOUBLING
ERROR: Final = 2 ** (1 / (2 * PER_DOUBLING)) - 1
UPTIME_SAMPLES_MIN: Final = 100
LATENCY_UNIT: Final = 0.001
"""Latency is counted in milliseconds: 1 ms to 17 minutes."""
THROUGHPUT_UNIT: Final = 0.01
"""Throughput is counted in hundredths of a token per second: up to 10,000 tokens/s."""
_SHARES: Final = (0.5, 0.75, 0.9, 0.99)
_MIDDLES: Final = tuple(2 ** ((bucket + 0.5) / PER_DOUBLING) for bucket in range(BUCKETS + 1))


class Part:
    """What one process saw of one endpoint in one slot: answers, failures, and bucket -> count of latency and throughput."""

    __slots__ = ("failed", "latency", "ok", "throughput")

    def __init__(
        self, ok: int = 0, failed: int = 0, latency: dict[int, int] | None = None, throughput: dict[int, int] | None = None
    ) -> None:
        self.ok = ok
        self.failed = failed
        self.latency = latency if latency is not None else {}
        self.throughput = throughput if throughput is not None else {}


class Window:
    """The parts of the last `SLOTS` slots by (process, slot), and their sums. This process is ""."""

    __slots__ = ("changed", "failed", "latency", "ok", "oldest", "parts", "throughput")

    def __init__(self) -> None:
        self.parts: dict[tuple[str, int], Part] = {}
        self.changed = False
        self.oldest = 0
        self.ok = 0
        self.failed = 0
        self.latency = [0] * BUCKETS
        self.throughput = [0] * BUCKETS

    def add(self, sample: Sample) -> None:
        """CAPACITY and REQUEST count as neither; a refused key is an answer that its client did not get."""
        kind = sample.kind
        if kind is Kind.CAPACITY or kind is Kind.REQUEST:
            return
        self.changed = True
        key = ("", sample.at_ms // SLOT_MS)
        part = self.parts.get(key)
        if part is None:
            self.forget(sample.at_ms)
            part = self.parts[key] = Part()
        if kind is not Kind.OK:
            part.failed += 1
            self.failed += 1
            return
        part.ok += 1
        self.ok += 1
        if sample.first_byte_ms is not None:
            bucket = bucket_of(sample.first_byte_ms)
            part.latency[bucket] = part.latency.get(bucket, 0) + 1
            self.latency[bucket] += 1
        if sample.tokens and sample.seconds_ms:
            bucket = bucket_of(sample.tokens * 100_000 / sample.seconds_ms)
            part.throughput[bucket] = part.throughput.get(bucket, 0) + 1
            self.throughput[bucket] += 1

    def put(self, process: str, slot: int, part: Part) -> None:
        """What another process has seen in a slot so far, in place of what it said before."""
        if slot < self.oldest:
            return
        self._sum(self.parts.get((process, slot)), -1)
        self.parts[process, slot] = part
        self._sum(part, 1)

    def forget(self, now_ms: int) -> None:
        """Drops the slots that have left the window."""
        oldest = now_ms // SLOT_MS - SLOTS
        if oldest <= self.oldest:
            return
        self.oldest = oldest
        for key in [key for key in self.parts if key[1] < oldest]:
            self._sum(self.parts.pop(key), -1)

    def uptime(self) -> float | None:
        total = self.ok + self.failed
        return self.ok / total if total >= UPTIME_SAMPLES_MIN else None

    def _sum(self, part: Part | None, sign: int) -> None:
        if part is None:
            return
        self.changed = True
        self.ok += sign * part.ok
        self.failed += sign * part.failed
        for bucket, count in part.latency.items():
            self.latency[bucket] += sign * count
        for bucket, count in part.throughput.items():
            self.throughput[bucket] += sign * count


def bucket_of(value: float) -> int:
    """Values from 1 to a million have buckets of their own; what is below or above counts as that."""
    return min(int(log2(value) * PER_DOUBLING), BUCKETS - 1) if value > 1 else 0


def latency(counts: list[int]) -> Percentiles | None:
    """By nearest rank, each as the middle of its bucket; None without a single value. p99: 99 % of the answers were no slower."""
    ranks = _ranks(counts)
    return Percentiles(*[_MIDDLES[rank] * LATENCY_UNIT for rank in ranks]) if ranks else None


def throughput(counts: list[int]) -> Percentiles | None:
    """The same from the other end: p99 means that 99 % of the answers were no slower, so it is the lowest of the four."""
    ranks = _ranks(counts[::-1])
    return Percentiles(*[_MIDDLES[BUCKETS - 1 - rank] * THROUGHPUT_UNIT for rank in ranks]) if ranks else None


def _ranks(counts: list[int]) -> list[int]:
    sums = list(accumulate(counts))
    total = sums[-1]
    return [bisect_left(sums, total * share) for share in _SHARES] if total else []
