"""Which endpoints work: what one attempt says about its endpoint, and the rules that take an endpoint out and let it back in.

Ids are endpoint ids, `endpoint_id#byok_id` for a customer's own key: an endpoint is ejected for one key without the others noticing.
The rules are those of Envoy's outlier detection (5 failures in a row; 30 s x n, at most 300 s), with a first ejection of 10 s, because
most faults of providers are over by then, and with one live request as the probe, because there is no health check that costs nothing.

    closed --5 FAILED in a row--> ejected (10 s) --> half-open --the probe answers--> closed
                                     ^                  |
                                     +--30 s x n, 300 s-+  the probe fails for the n-th time
    closed --5 KEY in a row--> ejected (300 s), `key_refused`: the operator must look at the key; then half-open as above

"In a row" means: with no answer in between. CAPACITY and REQUEST say nothing about health and free the probe's place for another; only
an endpoint that says nothing but CAPACITY, five times in a row, counts as in an outage for the next 10 s, so that it does not cost every
request one attempt.
"Never the last endpoint of a model" is not a rule of health: ranking tries ejected endpoints when nothing else is left, and the answer
of any request that began after the ejection ends it.
"""

import time
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, Protocol

import msgspec

from policy.stats import DEFAULT, Stats
from providers.errors import ProviderError, ProviderOverloaded, ProviderRefusedKey, RequestRefused

FAILURES_MAX: Final = 5
FIRST_MS: Final = 10_000
STEP_MS: Final = 30_000
LONGEST_MS: Final = 300_000
OUTAGE_MS: Final = 30_000
CROWDED_MAX: Final = 5
CROWDED_MS: Final = 10_000
PROBE_MS: Final = 60_000
"""A probe that is not over by then makes room for another: as long as the longest wait for a first byte, shorter than a long answer."""
SLACK_MS: Final = 50
"""By so much the times of one attempt may differ: they are measured at different lines of code and rounded."""


class Kind(Enum):
    """What an attempt says about its endpoint."""

    OK = auto()
    FAILED = auto()
    """No connection, 5xx, no answer in time, garbage, a broken stream."""
    CAPACITY = auto()
    """429 or overloaded: it works, there is only no room."""
    REQUEST = auto()
    """The client's doing: 400, 413, 422, or it left before the first byte. Counts as neither."""
    KEY = auto()
    """401, 402, 403: it refuses the key."""


class Sample(msgspec.Struct, frozen=True):
    """One attempt that has ended. Times in milliseconds: `at_ms` (its end) by the clock that the Health was given, the others from the
    dispatch: `first_byte_ms`, and `seconds_ms` to the end, without which the attempt counts as begun when it ended. `tokens`: completion.
    """

    id: str
    kind: Kind
    at_ms: int
    first_byte_ms: int | None = None
    tokens: int | None = None
    seconds_ms: int | None = None

    @property
    def begun_ms(self) -> int:
        return self.at_ms - (self.seconds_ms or 0)


class Health(Protocol):
    """`stats`, `started` and `ended` do no I/O and take microseconds. Each `started` has exactly one `ended`, whatever happened.

    `ejections` is how often this process took an endpoint out, by provider.
    """

    @property
    def ejections(self) -> Mapping[str, int]: ...

    def stats(self, id: str) -> Stats: ...

    def started(self, id: str) -> None:
        """An attempt begins. If the endpoint is half-open and its place is free, this attempt is the probe."""
        ...

    def ended(self, sample: Sample) -> None: ...

    async def sync(self) -> None:
        """Once a second, in the background: exchange with other processes. Never raises for a store that does not answer."""
        ...

    async def aclose(self) -> None: ...


class NoHealth:
    """TOLLWAY_HEALTH=off: every endpoint is always as good as one never seen."""

    @property
    def ejections(self) -> Mapping[str, int]:
        return {}

    def stats(self, id: str) -> Stats:
        return DEFAULT

    def started(self, id: str) -> None:
        pass

    def ended(self, sample: Sample) -> None:
        pass

    async def sync(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def may_try(stats: Stats) -> bool:
    """May a request go there although others could serve it? Look again right before `started`, with no await in between: then exactly
    one of any number of requests that planned with a half-open endpoint becomes its probe, and the others take their next endpoint."""
    return stats.probe or not stats.ejected


def kind_of(error: ProviderError | None) -> Kind:
    """None = an answer. A client that left is the caller's to know: REQUEST before the first byte, OK after it."""
    if error is None:
        return Kind.OK
    if isinstance(error, ProviderOverloaded):
        return Kind.CAPACITY
    if isinstance(error, ProviderRefusedKey):
        return Kind.KEY
    return Kind.REQUEST if isinstance(error, RequestRefused) else Kind.FAILED


def monotonic_ms() -> int:
    """The clock for a Health: milliseconds that never jump, whatever is done to the wall clock."""
    return time.monotonic_ns() // 1_000_000


# Rules


class Circuit(msgspec.Struct, frozen=True):
    """Where an endpoint stands. `failures` and `refusals` in a row; ejected at `since_ms` until `until_ms` (0 = closed), after `probes`
    failed probes; `refused`: ejected for its key."""

    failures: int = 0
    refusals: int = 0
    since_ms: int = 0
    until_ms: int = 0
    probes: int = 0
    refused: bool = False

    @property
    def ejected(self) -> bool:
        return self.until_ms > 0


CLOSED: Final = Circuit()


def after(circuit: Circuit, sample: Sample, draw: float) -> Circuit:
    """The circuit after one more attempt; the same object if nothing changed. `draw` is random in [0, 1), for the jitter."""
    kind = sample.kind
    if kind is Kind.OK:
        return CLOSED if circuit is not CLOSED and _begun_since(sample, circuit.since_ms) else circuit
    if kind is Kind.CAPACITY or kind is Kind.REQUEST:
        return circuit
    if circuit.ejected:
        return _probed(circuit, sample, draw) if _begun_since(sample, circuit.until_ms) else circuit
    failures, refusals = circuit.failures + (kind is Kind.FAILED), circuit.refusals + (kind is Kind.KEY)
    if refusals >= FAILURES_MAX:
        return _ejected(sample.at_ms, LONGEST_MS, draw, probes=0, refused=True)
    if failures >= FAILURES_MAX:
        return _ejected(sample.at_ms, FIRST_MS, draw, probes=0, refused=False)
    return Circuit(failures=failures, refusals=refusals)


def half_open(circuit: Circuit, now_ms: int) -> bool:
    return 0 < circuit.until_ms <= now_ms


def _probed(circuit: Circuit, sample: Sample, draw: float) -> Circuit:
    """A probe failed: of an endpoint ejected for its key, one more refusal is enough."""
    probes = circuit.probes + 1
    refused = circuit.refused and sample.kind is Kind.KEY
    return _ejected(sample.at_ms, LONGEST_MS if refused else min(STEP_MS * probes, LONGEST_MS), draw, probes=probes, refused=refused)


def _ejected(at_ms: int, duration_ms: int, draw: float, *, probes: int, refused: bool) -> Circuit:
    """The jitter takes up to a tenth off, so that processes and endpoints do not all probe at the same moment and the cap is a cap."""
    return Circuit(since_ms=at_ms, until_ms=at_ms + duration_ms - int(duration_ms * draw / 10), probes=probes, refused=refused)


def _begun_since(sample: Sample, moment_ms: int) -> bool:
    return sample.begun_ms >= moment_ms - SLACK_MS
