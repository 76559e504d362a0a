"""What other rules would have changed, added up generation by generation: numbers, exact costs, provider shares and latency. Pure.

Memory does not grow with the number of generations: latencies are counted in buckets of 1 % and below one second exactly.
"""

from collections import Counter
from typing import Final

from metering.recorded import Recorded
from policy.replay import Replayed
from policy.stats import Percentiles, Stats

EXACT_MS: Final = 1000
SHARES: Final = (50, 75, 90, 99)


class Latencies:
    """Milliseconds, in buckets; three digits of each count."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def add(self, ms: int) -> None:
        step = 1
        while ms // step >= EXACT_MS:
            step *= 10
        self._buckets[ms // step * step] += 1

    @property
    def count(self) -> int:
        return self._buckets.total()

    def percentile(self, percent: int) -> int | None:
        """The bucket within which so many percent of them lie, in milliseconds; None = nothing was added."""
        rank = -(-self.count * percent // 100)
        for ms in sorted(self._buckets):
            rank -= self._buckets[ms]
            if rank <= 0:
                return ms
        return None


class Observed:
    """First bytes per endpoint, as recorded."""

    def __init__(self) -> None:
        self._endpoints: dict[str, Latencies] = {}

    def add(self, recorded: Recorded) -> None:
        if recorded.answered and recorded.endpoint is not None and recorded.first_byte_ms is not None:
            self._endpoints.setdefault(recorded.endpoint, Latencies()).add(recorded.first_byte_ms)

    def medians(self) -> dict[str, int]:
        """Milliseconds, by endpoint id."""
        return {id: median for id, found in self._endpoints.items() if (median := found.percentile(50)) is not None}

    def stats(self) -> dict[str, Stats]:
        """As ranking reads them, by endpoint id; one that has no record is not known."""
        return {id: Stats(latency=_percentiles(found)) for id, found in self._endpoints.items()}


class Totals:
    """Of one provider: how many generations it served and what they cost, nano-USD."""

    def __init__(self) -> None:
        self.generations = 0
        self.charge = 0

    def add(self, charge: int) -> None:
        self.generations += 1
        self.charge += charge


class Comparison:
    """`before` and `after` are totals by provider; what the rules refuse is in `before` and in `refused`, by the step that refused it."""

    def __init__(self, medians: dict[str, int]) -> None:
        self._medians = medians
        self.unanswered = 0
        self.moved = 0
        self.shortfall = 0
        self.refused: dict[str, Totals] = {}
        self.before: dict[str, Totals] = {}
        self.after: dict[str, Totals] = {}
        self.recorded_ms, self.estimated_ms = Latencies(), Latencies()

    def add(self, recorded: Recorded, replayed: Replayed) -> None:
        """An answered generation and its outcome under the other rules."""
        self.before.setdefault(recorded.provider or "", Totals()).add(recorded.charge)
        self.shortfall += recorded.shortfall
        if recorded.first_byte_ms is not None:
            self.recorded_ms.add(recorded.first_byte_ms)
        endpoint = replayed.endpoint
        if endpoint is None:
            self.refused.setdefault(replayed.refused or "", Totals()).add(recorded.charge)
            return
        self.after.setdefault(endpoint.provider.slug, Totals()).add(replayed.charge)
        same = endpoint.id == recorded.endpoint
        self.moved += not same
        estimate = recorded.first_byte_ms if same else self._medians.get(endpoint.id)
        if estimate is not None:
            self.estimated_ms.add(estimate)


def _percentiles(found: Latencies) -> Percentiles:
    """Seconds. There is at least one record."""
    return Percentiles(*((found.percentile(share) or 0) / 1000 for share in SHARES))
