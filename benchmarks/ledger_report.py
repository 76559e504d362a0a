"""The tables of the ledger's benchmark, its goals, and everything that a reader needs to judge or repeat them."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.ledger_load import ANSWER_S, BACKLOG_S, Run
from benchmarks.report import hardware, number

PER_SECOND_MIN = 2_000
HOLD_P99_MS_MAX, HOLD_RATE = 50, 300
TIMES_BASELINE_MIN = 10


@dataclass(frozen=True)
class Line:
    """One part on one database: `runs` by rate, 0 is the closed loop."""

    database: str
    name: str
    baseline: bool
    runs: dict[int, Run]

    @property
    def title(self) -> str:
        return f"{self.database}, {self.name}"

    @property
    def per_second(self) -> float:
        return len(self.runs[0].settles) / self.runs[0].seconds


@dataclass
class Results:
    """What one run found; only figures whose books were verified get here. `on`: what was on, by database."""

    command: str
    waiting: int
    fsync_s: list[float]
    on: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])


def render(results: Results) -> str:
    parts = ["# Ledger benchmark", machine(results), goals(results), closed_table(results), open_table(results), METHOD, was_on(results)]
    return "\n\n".join(parts) + "\n"


def machine(results: Results) -> str:
    fsync = f"{milliseconds(results.fsync_s, 0.5)} / {milliseconds(results.fsync_s, 0.99)}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `{results.command}`: {hardware()}, load average {results.load_before:.1f} before; load generator, "
        f"ledger and database share all cores. An fsync of 8 KB took {fsync} ms (p50 / p99) just before the run."
    )


def goals(results: Results) -> str:
    """Of the first line of each database, the ledger on one account, beside the fastest baseline of the same run."""
    rows = ["| goal, one hot account | " + " | ".join(results.on) + " |", "|---" + "|---:" * len(results.on) + "|"]
    titles = (
        f">= {PER_SECOND_MIN:,} hold + settle per second, {results.waiting:,} waiting",
        f"hold p99 <= {HOLD_P99_MS_MAX} ms at {HOLD_RATE}/s",
        f">= {TIMES_BASELINE_MIN} times the fastest baseline",
    )
    columns = [_goals_of([line for line in results.lines if line.database == name]) for name in results.on]
    rows += [f"| {title} | {' | '.join(cells)} |" for title, *cells in zip(titles, *columns, strict=True)]
    return "\n".join(rows)


def _goals_of(lines: list[Line]) -> tuple[str, str, str]:
    mine, best = lines[0], max(line.per_second for line in lines if line.baseline)
    p99 = quantile(mine.runs[HOLD_RATE].holds, 0.99) * 1e3
    times = mine.per_second / best
    return (
        _judged(number(mine.per_second, 0), mine.per_second >= PER_SECOND_MIN),
        _judged(f"{number(p99, 1)} ms", p99 <= HOLD_P99_MS_MAX and not mine.runs[HOLD_RATE].overloaded),
        _judged(f"{number(times, 1)} times", times >= TIMES_BASELINE_MIN),
    )


def _judged(figure: str, reached: bool) -> str:
    return f"{figure}, {'reached' if reached else '**missed**'}"


def closed_table(results: Results) -> str:
    titles = ("generations/s", "hold p50 / p99 ms", "settle p50 / p99 ms", "CPU us/generation", "database's own CPU us/generation")
    rows = [
        f"| {results.waiting:,} waiting | {' | '.join(titles)} |",
        "|---" + "|---:" * len(titles) + "|",
    ]
    for line in results.lines:
        run = line.runs[0]
        cpu, own = (number(seconds / len(run.settles) * 1e6, 0) if seconds else "-" for seconds in (run.cpu_s, run.database_cpu_s))
        rows.append(f"| {line.title} | {number(line.per_second, 0)} | {pair(run.holds)} | {pair(run.settles)} | {cpu} | {own} |")
    return "\n".join(rows)


def open_table(results: Results) -> str:
    rows = ["| open loop | offered/s | hold p50 / p99 / max ms | settle p50 / p99 ms | CPU us/generation |", "|---|---:|---:|---:|---:|"]
    for line in results.lines:
        for rate, run in line.runs.items():
            if rate:
                rows.append(f"| {line.title} | {rate:,} | {_latencies(run)} |")
    return "\n".join(rows)


def _latencies(run: Run) -> str:
    if run.overloaded:
        return f"not kept: {number(len(run.settles) / run.seconds, 0)}/s | - | -"
    cpu = number(run.cpu_s / len(run.settles) * 1e6, 0)
    return f"{pair(run.holds)} / {milliseconds(run.holds, 1)} | {pair(run.settles)} | {cpu}"


def pair(seconds: list[float]) -> str:
    return f"{milliseconds(seconds, 0.5)} / {milliseconds(seconds, 0.99)}"


def milliseconds(seconds: list[float], q: float) -> str:
    value = quantile(seconds, q) * 1e3
    return number(value, 1 if value >= 1 else 2)


def quantile(seconds: list[float], q: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


METHOD = f"""
A generation is a hold and a settle with all columns of its row, each durable before the next step begins; the hold, two entries and
the row are written by all alike. Every load has a freshly migrated database, and after it `tollway ledger verify` and the exact sums
must hold, for the baselines too; else there is no table. Waiting: each begins its next generation when its last is settled, and the
clock stops when all have. Open loop: Poisson arrivals; a hold is timed from the moment at which it was due and a settle from
{ANSWER_S} s after its hold, so that a stall counts for all who come during it; "not kept": it fell {BACKLOG_S:.0f} s behind. CPU: of the
process that runs ledger and load generator; at low rates much of it is waking up. The baselines know no limits, no periods, no
fencing and no lost answers.
""".strip()


def was_on(results: Results) -> str:
    return "\n".join(["What was on:", "", *(f"- **{name}**: {text}." for name, text in results.on.items())])
