"""The figures of a crash proof, and its table."""

from dataclasses import dataclass, field

from metering.money import format_usd
from tests.prove.judge import Verdict
from tests.prove.scorecard import seconds

READY_SECONDS_MAX = 10.0
LATE_TOKENS_MAX = 200
"""A second between checkpoints, and a busy machine's slack, at the load's fastest stream (100 tokens a second)."""


@dataclass
class Score:
    """Sums over all rounds; seconds are the worst seen. `violations` end the proof with status 1."""

    database: str
    recovery_seconds_max: float
    kills: int = 0
    stops: int = 0
    postgres_kills: int = 0
    orphans: int = 0
    generations: int = 0
    complete: int = 0
    recovered_count: int = 0
    recovered_charged: int = 0
    charged: int = 0
    lost: int = 0
    overcharged: int = 0
    late: int = 0
    served: int = 0
    reconciled: int = 0
    borne: int = 0
    retries: int = 0
    ready_seconds: float = 0
    recovery_seconds: float = 0
    restored_seconds: float = 0
    fence_seconds: float = 0
    duration: float = 0
    violations: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.generations += verdict.generations
        self.complete += verdict.complete
        self.recovered_count += verdict.recovered
        self.recovered_charged += verdict.recovered_charged
        self.charged += verdict.charged
        self.lost += verdict.lost
        self.overcharged += verdict.overcharged
        self.served += verdict.served
        self.reconciled += verdict.reconciled
        self.borne += verdict.borne
        self.late = max(self.late, verdict.late)
        self.violations += verdict.violations
        if verdict.late > LATE_TOKENS_MAX:
            self.violations.append(f"a recovered charge was {verdict.late} tokens behind its client")

    def ready(self, elapsed: float) -> None:
        self.ready_seconds = max(self.ready_seconds, elapsed)
        if elapsed > READY_SECONDS_MAX:
            self.violations.append(f"ready only after {elapsed:.1f} s")

    def recovered(self, elapsed: float) -> None:
        self.recovery_seconds = max(self.recovery_seconds, elapsed)
        if elapsed > self.recovery_seconds_max:
            self.violations.append(f"orphans were resolved only after {elapsed:.1f} s")

    def restored(self, elapsed: float) -> None:
        """From the restart to the end of the last orphan; what it may take is in the two figures it is made of."""
        self.restored_seconds = max(self.restored_seconds, elapsed)

    def fenced(self, elapsed: float) -> None:
        self.fence_seconds = max(self.fence_seconds, elapsed)

    def line(self) -> str:
        return f"{self.database}: {self.kills} kills, {self.generations:,} generations, {len(self.violations)} violations"

    def figures(self) -> dict[str, str]:
        return {
            "Gateway kills (kill -9)": f"{self.kills}",
            "Postgres kills (kill -9)": f"{self.postgres_kills}",
            "Pauses beyond the lease (SIGSTOP)": f"{self.stops}",
            "Generations": f"{self.generations:,} ({self.complete:,} told their cost, {self.retries:,} asked again after a cut)",
            "Orphaned holds": f"{self.orphans:,}, {self.recovered_count:,} of those seen by a client recovered",
            "Charged": f"{format_usd(self.charged)} USD, {format_usd(self.recovered_charged)} USD of it by recovery",
            "Lost": f"{self.lost} nano-USD",
            "Charged beyond what was delivered": f"{self.overcharged} nano-USD",
            "Provider's own book": f"{self.served:,} requests; {self.reconciled:,} that it reported whole agree to the token",
            "Cut off by a blow": f"{self.borne:,} completion tokens that the provider bills and nobody was charged for",
            "Tokens a recovered charge was behind": f"at most {self.late}",
            "Ready after a kill": f"at most {self.ready_seconds:.1f} s",
            "Nothing held after ready": f"at most {self.recovery_seconds:.1f} s (allowed {self.recovery_seconds_max:.0f} s)",
            "Restart to nothing held": f"at most {self.restored_seconds:.1f} s",
            "Paused process recovered after": f"at most {self.fence_seconds:.1f} s",
            "Violations": f"{len(self.violations)}",
            "Duration": seconds(self.duration),
        }

    def table(self) -> str:
        rows = {"Database": self.database, **self.figures()}
        width = max(map(len, rows))
        return "\n".join(
            [*(f"{name:{width}}  {value}" for name, value in rows.items()), *(f"  {each}" for each in self.violations[:40]), ""]
        )
