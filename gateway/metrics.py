"""What GET /metrics tells: counts and latencies of this process, by names from the catalog and our own code, never by a client's words.

The counters are plain integers that only the event loop touches, and prometheus_client merely writes them down. Its own Counter takes a
lock and a look-up of labels for each step, 0.7 to 1.3 us; `Telemetry.ended`, which makes a dozen, costs 1.8 us in all. prometheus_client
rather than OpenTelemetry's Prometheus exporter, because that is a beta (0.66b2) which itself writes through prometheus_client.

Each process serves its own figures: prometheus_client's mode for several keeps the counters in files that outlive the processes, holds
only its own Counters, and cannot tell gauges of the living from those of the dead. Where several processes share one port, a scrape
meets any of them; then each series has the label `process`, so that the figures of two are never taken for one.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from metering.money import NANO_PER_USD

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: from a commit on a quick disk to the longest wait for an answer."""
Labels = tuple[str, ...]
T = TypeVar("T")


class Histogram:
    """Seconds, counted between `BOUNDS`."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def see(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many are not above it), as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found


class Metrics:
    """Counters since the start. `process` names this process where several share a port, else it is empty.

    Keys: `answers` (route, status), `generations` (model, provider, outcome), `tokens` (unit), `attempts` (provider, error class).
    """

    def __init__(self, process: str = "") -> None:
        self.process = process
        self.answers: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.generations: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.tokens: defaultdict[str, int] = defaultdict(int)
        self.attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.first_bytes: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.holds = Histogram()
        self.settles = Histogram()
        self.charged_nano = 0
        self.shed = 0

    def text(self, reading: "Reading") -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Written(self, reading))
        return generate_latest(registry)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What others count or hold at the moment of the question. `ejections` by provider; `loop_lag_seconds` as in `Watch`."""

    live: int
    holds_open: int
    commit_queue: int
    loop_lag_seconds: float
    ejections: Mapping[str, int]
    retries_refused: int
    limiter_failures: int
    holds_recovered: int


class _Written(Collector):
    """One answer to GET /metrics."""

    def __init__(self, metrics: Metrics, reading: Reading) -> None:
        self._metrics = metrics
        self._reading = reading
        self._names = ["process"] if metrics.process else []
        self._values = [metrics.process] if metrics.process else []

    def collect(self) -> Iterator[Metric]:
        metrics, now = self._metrics, self._reading
        yield self._counters("requests", "Answers by route and status class.", ["route", "status"], _by_class(metrics.answers))
        yield self._counters(
            "generations",
            "Generations that ended; model and provider are the catalog's, outcome is completed, cancelled, failed or refused.",
            ["model", "provider", "outcome"],
            metrics.generations,
        )
        yield self._counters("tokens", "Tokens of charged answers; each counts in one unit.", ["unit"], _singly(metrics.tokens))
        yield self._counters("attempts", "Attempts at providers by class of error.", ["provider", "error"], metrics.attempts)
        yield self._counters("health_ejections", "Endpoints that were taken out for failing.", ["provider"], _singly(now.ejections))
        yield self._counter("charged_usd", "USD charged to accounts.", metrics.charged_nano / NANO_PER_USD)
        yield self._counter("shed_requests", "Requests refused because the process was too busy.", metrics.shed)
        yield self._counter("retries_refused", "Retries that every provider's budget forbade.", now.retries_refused)
        yield self._counter("limiter_failures", "Questions to the store of limits that failed; the requests passed.", now.limiter_failures)
        yield self._counter("holds_recovered", "Holds ended for processes that died.", now.holds_recovered)
        yield self._gauge("generations_live", "Generations that run.", now.live)
        yield self._gauge("holds_open", "Holds of generations that run.", now.holds_open)
        yield self._gauge("commit_queue_length", "Ledger jobs that wait for the next batch.", now.commit_queue)
        yield self._gauge("loop_lag_seconds", "By how much the event loop is late.", now.loop_lag_seconds)
        yield self._histograms("hold_seconds", "From the planned route to the durable hold.", [], {(): metrics.holds})
        yield self._histograms("settle_seconds", "From the end of the relay to the durable charge.", [], {(): metrics.settles})
        first = _singly(metrics.first_bytes)
        yield self._histograms("first_byte_seconds", "From the request to the first event of its answer.", ["provider"], first)

    def _counters(self, name: str, text: str, names: list[str], rows: Mapping[Any, int]) -> Metric:
        family = CounterMetricFamily(f"tollway_{name}", _of_this(text), labels=[*self._names, *names])
        for labels, count in rows.items():
            family.add_metric([*self._values, *labels], count)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"tollway_{name}", _of_this(text), labels=self._names)
        family.add_metric(self._values, value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"tollway_{name}", _of_this(text), labels=self._names)
        family.add_metric(self._values, value)
        return family

    def _histograms(self, name: str, text: str, names: list[str], rows: Mapping[Any, Histogram]) -> Metric:
        family = HistogramMetricFamily(f"tollway_{name}", _of_this(text), labels=[*self._names, *names])
        for labels, histogram in rows.items():
            family.add_metric([*self._values, *labels], histogram.buckets(), histogram.seconds)
        return family


def _singly(rows: Mapping[str, T]) -> dict[Labels, T]:
    return {(label,): row for label, row in rows.items()}


def _of_this(text: str) -> str:
    return f"{text} Of this process alone."


def _by_class(answers: Mapping[tuple[str, int], int]) -> Mapping[Labels, int]:
    """The two prefixes of one route count together."""
    found: defaultdict[Labels, int] = defaultdict(int)
    for (route, status), count in answers.items():
        found[route.removeprefix("/api"), f"{status // 100}xx"] += count
    return found
