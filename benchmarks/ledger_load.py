"""Load for a ledger: requests that wait for their turn (closed loop) and requests that come when they come (open loop)."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Protocol

import msgspec

from metering.batch import Column

ANSWER_S = 0.5  # between a hold and its settle in the open loop: the provider's time
BACKLOG_S = 2.0  # an open loop this far behind measures only its own queue


class Bill(msgspec.Struct, frozen=True):
    """One generation: hold `amount`, then charge `charge`, nano-USD; `row` is its row in table `generation` without the charge."""

    id: str
    account_id: str
    limits: tuple[str, ...]
    amount: int
    charge: int
    row: dict[str, Column]


class Steps(Protocol):
    """What is measured. Each step returns when it is durable, and raises RuntimeError if it was refused or changed nothing."""

    async def hold(self, bill: Bill) -> None: ...
    async def settle(self, bill: Bill) -> None: ...
    async def aclose(self) -> None: ...


@dataclass(slots=True)
class Run:
    """Seconds of every hold and settle. CPU seconds: of this process, load generator included, and of the database's processes."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    database_cpu_s: float = 0.0
    overloaded: bool = False  # the rate that was asked for could not be kept
    holds: list[float] = field(default_factory=list)
    settles: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """`next_bill` makes a new generation at each call; `database_cpu` reads the CPU seconds that the database's processes used so far."""

    steps: Steps
    next_bill: Callable[[], Bill]
    database_cpu: Callable[[], float]

    async def closed_loop(self, waiting: int, seconds: float) -> Run:
        """Each of `waiting` begins its next generation when its last is settled. The clock stops when all have: nothing is left out."""
        run, before, start = self._begin()

        async def one() -> None:
            while perf_counter() < start + seconds:
                bill, asked = self.next_bill(), perf_counter()
                await self.steps.hold(bill)
                held = perf_counter()
                await self.steps.settle(bill)
                run.holds.append(held - asked)
                run.settles.append(perf_counter() - held)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(waiting):
                tasks.create_task(one())
        return self._end(run, before, start)

    async def open_loop(self, rate: int, seconds: float) -> Run:
        """Generations begin at random (Poisson) moments, the same in every run, whether or not earlier ones are through.

        A hold is timed from that moment and a settle from `ANSWER_S` after its hold: a stall counts for all who come during it.
        """
        run, before, start = self._begin()
        arrivals, due, begun = random.Random(rate), start, 0

        async def one(due: float) -> None:
            bill = self.next_bill()
            await self.steps.hold(bill)
            run.holds.append((held := perf_counter()) - due)
            await asyncio.sleep(max(0.0, held + ANSWER_S - perf_counter()))
            await self.steps.settle(bill)
            run.settles.append(perf_counter() - held - ANSWER_S)

        async with asyncio.TaskGroup() as tasks:
            while (due := due + arrivals.expovariate(rate)) < start + seconds and not run.overloaded:
                await asyncio.sleep(max(0.0, due - perf_counter()))
                tasks.create_task(one(due))
                begun += 1
                run.overloaded = begun - len(run.settles) > rate * (ANSWER_S + BACKLOG_S)
        return self._end(run, before, start)

    def _begin(self) -> tuple[Run, tuple[float, float], float]:
        return Run(), (process_time(), self.database_cpu()), perf_counter()

    def _end(self, run: Run, before: tuple[float, float], start: float) -> Run:
        run.seconds = perf_counter() - start
        run.cpu_s, run.database_cpu_s = process_time() - before[0], self.database_cpu() - before[1]
        return run
