"""The figures of a crash proof, and its table."""

from dataclasses import dataclass, field

from metering.money import format_usd
from tests.prove.judge import Verdict

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
    ready_seconds: float = 0
    recovery_seconds: float = 0
    fence_seconds: float = 0
    violations: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.generations += verdict.generations
        self.complete += verdict.complete
        self.recovered_count += verdict.recovered
        self.recovered_charged += verdict.recovered_charged
        self.charged += verdict.charged
        self.lost += verdict.lost
        self.overcharged += verdict.overcharged
        self.late = max(self.late, verdict.late)
        self.violations += verdict.violations
        if verdict.late > LATE_TOKENS_MAX:
            self.violations.append(f"a recovered charge was {verdict.late} tokens behind its client")

    def ready(self, seconds: float) -> None:
        self.ready_seconds = max(self.ready_seconds, seconds)
        if seconds > READY_SECONDS_MAX:
            self.violations.append(f"ready only after {seconds:.1f} s")

    def recovered(self, seconds: float) -> None:
        self.recovery_seconds = max(self.recovery_seconds, seconds)
        if seconds > self.recovery_seconds_max:
            self.violations.append(f"orphans were resolved only after {seconds:.1f} s")

    def fenced(self, seconds: float) -> None:
        self.fence_seconds = max(self.fence_seconds, seconds)

    def line(self) -> str:
        return f"{self.database}: {self.kills} kills, {self.generations:,} generations, {len(self.violations)} violations"

    def table(self) -> str:
        rows = {
            "database": self.database,
            "gateway kills": f"{self.kills}",
            "postgres kills": f"{self.postgres_kills}",
            "SIGSTOP fences": f"{self.stops}",
            "generations": f"{self.generations:,} ({self.complete:,} told their cost)",
            "orphaned holds": f"{self.orphans:,}, {self.recovered_count:,} of those seen by a client recovered",
            "charged": f"{format_usd(self.charged)} USD, {format_usd(self.recovered_charged)} USD of it by recovery",
            "lost": f"{self.lost} nano-USD",
            "charged beyond what was delivered": f"{self.overcharged} nano-USD",
            "tokens a recovered charge was behind": f"at most {self.late}",
            "ready after a kill": f"at most {self.ready_seconds:.1f} s",
            "orphans resolved after ready": f"at most {self.recovery_seconds:.1f} s",
            "paused process recovered after": f"at most {self.fence_seconds:.1f} s",
            "violations": f"{len(self.violations)}",
        }
        width = max(map(len, rows))
        return "\n".join(
            [*(f"{name:{width}}  {value}" for name, value in rows.items()), *(f"  {each}" for each in self.violations[:40]), ""]
        )
