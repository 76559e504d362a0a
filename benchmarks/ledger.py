"""`python -m benchmarks.ledger`: how many generations a second the ledger takes, beside one transaction per step, in the same run."""

import argparse
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.gateways import ROOT
from benchmarks.ledger_baseline import ForUpdate, Guarded, Single, pool
from benchmarks.ledger_books import Bills, BooksBroken, audit
from benchmarks.ledger_load import Bill, Load, Run, Steps
from benchmarks.ledger_places import PLACES, Place, fsync_seconds
from benchmarks.ledger_report import Line, Results, render
from gateway.services import collect_rarely
from metering.batch import Held
from metering.database import Database
from metering.ledger import Ledger
from tests import books
from tests.servers import MissingServerError

WAITING = 1_000
RATES = (100, 300, 1_000)
WARM_WAITING, WARM_S = 50, 0.5
Open = Callable[[str, Database], Awaitable[Steps]]


class Grouped:
    """The ledger as the gateway uses it."""

    def __init__(self, database: Database) -> None:
        self._ledger = Ledger(database, boot_id="boot_1")

    async def hold(self, bill: Bill) -> None:
        outcome = await self._ledger.hold(bill.id, account_id=bill.account_id, limits=bill.limits, amount=bill.amount)
        if outcome != Held(bill.amount):
            raise RuntimeError(f"a hold was refused: {outcome}")

    async def settle(self, bill: Bill) -> None:
        closed = await self._ledger.settle(bill.id, charge=bill.charge, held=bill.amount, generation=bill.row)
        if closed.charge != bill.charge or not closed.changed:
            raise RuntimeError(f"a settle did not charge: {closed}")

    async def aclose(self) -> None:
        await self._ledger.flush()


async def grouped(url: str, database: Database) -> Steps:
    return Grouped(database)


async def for_update(url: str, database: Database) -> Steps:
    return ForUpdate(await pool(url))


async def guarded(url: str, database: Database) -> Steps:
    return Guarded(await pool(url))


async def single(url: str, database: Database) -> Steps:
    return Single(url.removeprefix("sqlite:///"))


@dataclass(frozen=True)
class Part:
    """One line of the tables: who pays, with what, at which loads. `baseline`: what the ledger must beat."""

    name: str
    steps: Open
    accounts: int = 1
    limited: bool = False
    rates: tuple[int, ...] = ()
    baseline: bool = False


LEDGER = [
    Part("ledger, one account", grouped, rates=RATES),
    Part("ledger, one account and a key's limit", grouped, limited=True, rates=RATES),
    Part("ledger, 1,000 accounts", grouped, accounts=1_000, rates=(300,)),
]
BASELINES = {
    "sqlite": [Part("baseline: BEGIN IMMEDIATE per step", single, rates=(300,), baseline=True)],
    "postgres": [
        Part("baseline: SELECT FOR UPDATE per step", for_update, rates=(300,), baseline=True),
        Part("baseline: one guarded statement per step", guarded, rates=(300,), baseline=True),
    ],
}


def main() -> None:
    options = read_options()
    results = Results(command=command(options), waiting=WAITING, fsync_s=fsync_seconds())
    collect_rarely()  # as a server does
    for key in options.only.split(","):
        with PLACES[key]() as place:
            results.on[place.name] = place.on
            for part in [*LEDGER, *BASELINES[key]]:
                runs = {rate: measure(place, part, rate=rate, seconds=options.seconds) for rate in (0, *part.rates)}
                results.lines.append(Line(database=place.name, name=part.name, baseline=part.baseline, runs=runs))
    table = render(results)
    options.out.write_text(table)
    print(table)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each load (default: 10)")
    parser.add_argument("--only", default=",".join(PLACES), help=f"comma-separated: {','.join(PLACES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "ledger_results.md")
    options = parser.parse_args()
    if options.seconds < 1:
        parser.error("--seconds must be at least 1")
    if unknown := set(options.only.split(",")) - set(PLACES):
        parser.error(f"--only does not know {', '.join(sorted(unknown))}: choose among {', '.join(PLACES)}")
    return options


def command(options: argparse.Namespace) -> str:
    """How to get this table again, without this machine's paths."""
    return f"python -m benchmarks.ledger --seconds {options.seconds:g} --only {options.only}"


def measure(place: Place, part: Part, rate: int, seconds: float) -> Run:
    """One load on a database of its own: all waiting (rate 0) or `rate` generations a second. BooksBroken: the figures are void."""
    load = f"{place.name}, {part.name}, {f'{rate:,}/s' if rate else f'{WAITING:,} waiting'}"
    try:
        with place.fresh() as url:
            run, counted = uvloop.run(loaded(place, part, url, rate=rate, seconds=seconds))
    except (BooksBroken, ExceptionGroup) as error:
        reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        raise BooksBroken(f"{load}: {reason}") from error
    say(f"{load}: {len(run.settles) / run.seconds:,.0f}/s; verified: {counted}")
    return run


async def loaded(place: Place, part: Part, url: str, rate: int, seconds: float) -> tuple[Run, str]:
    async with books.opened(url) as database:
        bills = Bills(part.accounts, limited=part.limited)
        await database.write(bills.open)
        steps = await part.steps(url, database)
        try:
            load = Load(steps=steps, next_bill=bills.next_bill, database_cpu=place.cpu)
            await load.closed_loop(WARM_WAITING, WARM_S)
            run = await (load.open_loop(rate, seconds) if rate else load.closed_loop(WAITING, seconds))
        finally:
            await steps.aclose()
        return run, await audit(database, bills)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (BooksBroken, MissingServerError, ValueError) as error:
        raise SystemExit(str(error)) from None
