"""The figures of the pages as a table."""

import statistics
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec

from benchmarks import pages_seed
from benchmarks.report import hardware

BYTES_MAX: Final = 100_000
MS_MAX: Final = 150


class Measured(msgspec.Struct, frozen=True):
    """`ms` sorted; `status` of the last answer, `bytes` of its body as it was sent."""

    path: str
    status: int
    bytes: int
    ms: list[float]

    @property
    def within(self) -> bool:
        return self.bytes <= BYTES_MAX and statistics.median(self.ms) <= MS_MAX


class Run(msgspec.Struct):
    """Of one database; `caught_up` are the seconds the chore needed for all generations, from the server's start on."""

    name: str
    on: str
    seeded: float
    caught_up: float
    pages: list[Measured]


def render(runs: list[Run], *, command: str, count: int, load: float) -> str:
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, `{command}`: {hardware()}, load average {load:.1f} before; server, database and client share all "
        f"cores. {count:,} generations of one account in 30 days: {pages_seed.ABOUT}."
    )
    goals = f"Goals: every page at most {BYTES_MAX // 1000} KB, as sent without compression, and a median of at most {MS_MAX} ms."
    names = " | ".join(f"{each.name} ms, median / worst" for each in runs)
    lines = [f"| page | KB | {names} |", f"|---|---:{'|---:' * len(runs)}|"]
    for place, page in enumerate(runs[0].pages):
        cells = " | ".join(_cell(each.pages[place]) for each in runs)
        lines.append(f"| `{page.path}` | {max(each.pages[place].bytes for each in runs) / 1000:.1f} | {cells} |")
    made = [
        f"- {each.name} ({each.on}): seeded in {each.seeded:.0f} s, added up by the server's chore in {each.caught_up:.0f} s."
        for each in runs
    ]
    return "\n\n".join(["# Pages benchmark", about, goals, "\n".join(lines), "\n".join(made)]) + "\n"


def _cell(page: Measured) -> str:
    worst = "" if page.within else ", **over**"
    status = "" if page.status == HTTPStatus.OK else f" ({page.status})"
    return f"{statistics.median(page.ms):.0f} / {page.ms[-1]:.0f}{status}{worst}"
