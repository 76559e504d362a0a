"""SQLite, Postgres and a model in plain Python are given the same steps and must agree on every answer and every balance.

The short form is `tests/contract/test_ledger_machine.py`, the long one `python -m tests.prove.ledger`.
"""

import asyncio
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import asyncpg
import msgspec
from hypothesis import strategies as st
from sqlmodel import Session

from metering import recovery
from metering.batch import SETTLED, VOID, Closed, CloseJob, Held, Job, Outcome, Refused
from metering.commit import Commit
from metering.database import Database
from metering.errors import DatabaseUnavailable
from metering.generations import remember_prices
from metering.ledger import Ledger, open_account, open_limit, start_boot, start_period
from metering.price import Price
from metering.usage import Usage
from metering.verify import verify
from tests import books
from tests.prove.model import BUCKETS, DAY_MS, FUNDS, LIMITS, Model

UNIT = Price(prompt=0, completion=1000)
"""One token costs one nano-dollar."""
SOON, HOUR_MS = 1000, 3_600_000
LEAPS = (1, SOON, HOUR_MS, DAY_MS, 8 * DAY_MS, -1, -SOON, -DAY_MS, -3 * DAY_MS)
FENCED = "fenced"


class Step(NamedTuple):
    """`pick` says which hold is meant; what the numbers mean depends on the verb."""

    verb: str
    pick: int
    amount: int
    more: int
    again: bool


WEIGHTS = {"hold": 8, "extend": 4, "settle": 3, "close": 1, "void": 1, "void_later": 1, "checkpoint": 2, "move": 3, "clock": 3}
WEIGHTS |= {"period": 1, "fence": 2, "recover": 1}
VERBS = tuple(verb for verb, weight in WEIGHTS.items() for _ in range(weight))
PICKS, AMOUNTS = 12, 600
STEP = st.builds(
    Step,
    verb=st.sampled_from(VERBS),
    pick=st.integers(0, PICKS - 1),
    amount=st.integers(0, AMOUNTS),
    more=st.integers(0, PICKS - 1),
    again=st.booleans(),
)


def drawn(dice: random.Random, count: int, *, examples: int) -> list[list[Step]]:
    """Plans of `count` steps without Hypothesis, every step as likely as the weights say; the clock leaps for all of them at once."""
    plans: list[list[Step]] = [[] for _ in range(examples)]
    for _ in range(count):
        steps = [_drawn(dice) for _ in plans]
        for plan, step in zip(plans, steps, strict=True):
            if steps[0].verb == "clock":
                plan.append(steps[0])
            else:
                plan.append(step._replace(verb="hold") if step.verb == "clock" else step)
    return plans


def _drawn(dice: random.Random) -> Step:
    return Step(dice.choice(VERBS), dice.randrange(PICKS), dice.randrange(AMOUNTS + 1), dice.randrange(PICKS), dice.random() < 1 / 3)


class Clock:
    """What every part of the ledger takes for the time, in Unix milliseconds."""

    def __init__(self) -> None:
        self.now = books.START

    def __call__(self) -> int:
        return self.now


class Side:
    """One database. Jobs of examples that are played together share its batches, as requests of many clients do."""

    def __init__(self, database: Database, raw: "sqlite3.Connection | asyncpg.Connection[asyncpg.Record]", clock: Clock) -> None:
        self.database, self._raw, self.clock = database, raw, clock
        self._batches = Commit(database.commit)

    async def commit(self, jobs: list[Job]) -> list[Outcome]:
        return await asyncio.gather(*(self._batches.submit(job) for job in jobs))

    async def query(self, statement: str) -> Any:
        if isinstance(self._raw, sqlite3.Connection):
            return self._raw.execute(statement).fetchall()
        return await self._raw.fetch(statement)

    async def wrong(self) -> list[str]:
        """What `tollway ledger verify` finds; holds may be as old as they like here."""
        return [f"{check.id} {check.rows}" for check in await self.database.read(verify, now=0) if not check.ok]


class Example:
    """One account and its limits on one side, with the verbs of `Step`; answers are without the prefix that its ids have."""

    def __init__(self, side: Side, prefix: str) -> None:
        self.database, self.clock, self.prefix, self._side = side.database, side.clock, prefix, side
        self._boots: list[str] = []
        self._ledger = self._of("")
        self._numbers = itertools.count()

    def _of(self, boot_id: str) -> Ledger:
        return Ledger(cast(Database, self._side), boot_id)

    async def begin(self) -> None:
        await self.database.write(_open_books, self.prefix, self.clock.now)
        await self.boot()

    async def boot(self) -> None:
        """A new process takes over; the one before may live on."""
        self._boots.append(f"{self.prefix}boot_{len(self._boots)}")
        await self.database.write(start_boot, id=self._boots[-1], now=self.clock.now)
        self._ledger = self._of(self._boots[-1])

    async def hold(self, id: str, limits: tuple[str, ...], amount: int, boot: int) -> Held | Refused | str:
        ledger = self._ledger if boot + 1 == len(self._boots) else self._of(self._boots[boot])
        names = tuple(self.prefix + limit for limit in limits)
        try:
            return self._plain(await ledger.hold(self.prefix + id, account_id=f"{self.prefix}acc", limits=names, amount=amount))
        except DatabaseUnavailable:
            return FENCED

    async def extend(self, id: str, target: int) -> Held | Refused:
        return self._plain(await self._ledger.extend(self.prefix + id, target))

    async def settle(self, id: str, charge: int, held: int) -> Closed:
        return await self._ledger.settle(self.prefix + id, charge=charge, held=held, generation=self._row(id, charge))

    async def close(self, id: str, charge: int, booked: int) -> Closed:
        """As nobody does: past `Ledger.settle`, whatever is held."""
        row = {**self._row(id, charge), "charge": booked, "shortfall": charge - booked}
        return await self._ledger.recover(CloseJob(id=self.prefix + id, charge=charge, state=SETTLED, generation=row))

    async def void(self, id: str) -> Closed:
        return await self._ledger.void(self.prefix + id, generation=None)

    async def void_later(self, id: str) -> None:
        self._ledger.void_later(self.prefix + id)
        await self._ledger.flush()

    async def checkpoint(self, id: str, charge: int) -> None:
        row = {**self._row(id, charge), "outcome": "recovered", "charge": charge, "shortfall": 0}
        await self.database.write(recovery.checkpoint, {self.prefix + id: row})

    async def fence(self, boot: int) -> None:
        wanted = self._boots[boot]
        await self.database.write(recovery.fence, own="", now=self.clock.now, is_dead=lambda session, id, silent_ms: id == wanted)

    async def recover(self, boots: list[int]) -> dict[str, Closed]:
        jobs = await self.database.read(recovery.orphans, [self._boots[boot] for boot in boots])
        closed = await asyncio.gather(*(self._ledger.recover(job) for job in jobs))
        return {job.id.removeprefix(self.prefix): each for job, each in zip(jobs, closed, strict=True)}

    async def move(self, amount: int) -> bool:
        id = f"{self.prefix}dep_{next(self._numbers)}"
        try:
            await self.database.write(books.move, id=id, account_id=f"{self.prefix}acc", amount=amount, now=self.clock.now)
        except ValueError:
            return False
        return True

    async def period(self, limit: str) -> None:
        await self.database.write(start_period, id=self.prefix + limit, now=self.clock.now)

    def _row(self, id: str, charge: int) -> dict[str, Any]:
        return books.generation(self.prefix + id, f"{self.prefix}acc", usage=Usage(completion=charge), price=UNIT)

    def _plain(self, outcome: Held | Refused) -> Held | Refused:
        if isinstance(outcome, Refused):
            return msgspec.structs.replace(outcome, bucket=outcome.bucket.removeprefix(self.prefix))
        return outcome


def _open_books(session: Session, prefix: str, now: int) -> None:
    open_account(session, id=f"{prefix}acc", now=now)
    books.move(session, id=f"{prefix}dep", account_id=f"{prefix}acc", amount=FUNDS, now=now)
    for name, (amount, reset) in LIMITS.items():
        open_limit(session, id=prefix + name, amount=amount, reset=reset, now=now)


class Machine:
    """Plays examples on every side and on a model each; AssertionError names the first step on which they differ."""

    def __init__(self, sides: list[Side], clock: Clock) -> None:
        self.sides, self._clock = sides, clock
        self._examples = itertools.count()
        self.steps = 0

    async def play(self, *plans: list[Step]) -> None:
        """Examples at once, step by step; their clocks must leap together."""
        self._clock.now = books.START
        lives = [Life(Model(now=books.START), f"m{next(self._examples)}_", self.sides) for _ in plans]
        await asyncio.gather(*(example.begin() for life in lives for example in life.examples))
        for number, steps in enumerate(zip(*plans, strict=True)):
            await self._step(lives, steps, f"step {number}")
            again = [(life, step) for life, step in zip(lives, steps, strict=True) if step.again and step.verb != "clock"]
            await self._step([life for life, _ in again], tuple(step for _, step in again), f"step {number} again")
        for side in self.sides:  # nobody need look for these dead again
            await side.query("UPDATE boot SET fenced = 1 WHERE fenced = 0 AND id <> 'boot_1'")

    async def _step(self, lives: "list[Life]", steps: tuple[Step, ...], place: str) -> None:
        self.steps += len(steps)
        await asyncio.gather(*(life.step(step, self._clock, place) for life, step in zip(lives, steps, strict=True)))
        if lives:
            await asyncio.gather(*(self._compare(side, lives, steps, place) for side in self.sides))

    async def _compare(self, side: Side, lives: "list[Life]", steps: tuple[Step, ...], place: str) -> None:
        """(posted, held) of every account and limit."""
        named = ", ".join(f"'{life.prefix}{bucket}'" for life in lives for bucket in BUCKETS)
        rows = await side.query(f"SELECT id, posted, held FROM account WHERE id IN ({named})")
        found = {str(id): (posted, held) for id, posted, held in rows}
        for life, step in zip(lives, steps, strict=True):
            has = {bucket: found[life.prefix + bucket] for bucket in BUCKETS}
            expected = life.model.figures()
            assert has == expected, f"{place}: {type(side.database).__name__} has {has}, the model {expected}: {step}"


class Life:
    """One example on every side, and its model."""

    def __init__(self, model: Model, prefix: str, sides: list[Side]) -> None:
        self.model, self.prefix = model, prefix
        self.examples = [Example(side, prefix) for side in sides]

    async def step(self, step: Step, clock: Clock, place: str) -> None:
        expected, act = _meant(self.model, step)
        clock.now = self.model.now
        for example, answer in zip(self.examples, await asyncio.gather(*map(act, self.examples)), strict=True):
            name = type(example.database).__name__
            assert answer == expected, f"{place}: {name} says {answer}, the model {expected}: {step}"


Act = Callable[[Example], Awaitable[Any]]


def _meant(model: Model, step: Step) -> tuple[Any, Act]:
    """What the model answers to this step, and how to ask a side for it."""
    if step.verb in ("hold", "extend", "settle", "close", "void", "void_later", "checkpoint"):
        return _of_hold(model, step)
    if step.verb == "move":
        amount = step.amount - AMOUNTS // 4 or 1
        return model.move(amount), lambda example: example.move(amount)
    if step.verb == "period":
        limit = list(LIMITS)[step.pick % len(LIMITS)]
        model.start_period(limit)
        return None, lambda example: example.period(limit)
    if step.verb == "fence":
        if step.pick > 3:
            model.boot()
            return None, lambda example: example.boot()
        boot = step.pick % model.boots
        model.fence(boot)
        return None, lambda example: example.fence(boot)
    if step.verb == "recover":
        fenced = sorted(model.fenced)
        return model.recover(), lambda example: example.recover(fenced)
    model.now += LEAPS[step.pick % len(LEAPS)]
    return None, _nothing


async def _nothing(example: Example) -> None:
    return None


def _of_hold(model: Model, step: Step) -> tuple[Any, Act]:
    if step.verb == "hold":
        id = model.new() if step.pick else model.some(step.more)
        limits = tuple(itertools.compress(LIMITS, (step.more & 1, step.more & 2)))
        boot = model.boots - 1 if step.pick < 9 else step.more % model.boots
        amount = step.amount // 2
        return model.hold(id, limits, amount, boot) or FENCED, lambda example: example.hold(id, limits, amount, boot)
    id = model.some(step.more) if step.pick == 0 else model.opened(step.pick)
    if step.verb == "extend":
        return model.extend(id, step.amount), lambda example: example.extend(id, step.amount)
    if step.verb == "settle":
        held = model.held(id) if step.more % 4 else min(model.held(id), 50)  # an extension's answer may have been lost
        return model.settle(id, step.amount, held), lambda example: example.settle(id, step.amount, held)
    if step.verb == "close":
        expected = model.close(id, step.amount, SETTLED)
        return expected, lambda example: example.close(id, step.amount, expected.charge)
    if step.verb == "checkpoint":
        model.checkpoint(id, step.amount)
        return None, lambda example: example.checkpoint(id, step.amount)
    expected = model.close(id, 0, VOID)
    return (expected, lambda example: example.void(id)) if step.verb == "void" else (None, lambda example: example.void_later(id))


@asynccontextmanager
async def machine(*urls: str) -> AsyncIterator[Machine]:
    """Over migrated databases, with a clock of its own instead of the machine's."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        stack.enter_context(patch("metering.database.now_ms", clock))
        sides = [Side(await stack.enter_async_context(books.opened(url)), await _raw(url, stack), clock) for url in urls]
        for side in sides:
            await side.database.write(remember_prices, {UNIT.id: UNIT}, books.START)
        yield Machine(sides, clock)


async def _raw(url: str, stack: AsyncExitStack) -> "sqlite3.Connection | asyncpg.Connection[asyncpg.Record]":
    """For what is read after every step."""
    if url.startswith("sqlite:///"):
        return stack.enter_context(closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=10)))
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    return connection
