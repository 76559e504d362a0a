"""SQLite, Postgres and a model of forty lines are given the same operations and must agree on every answer and every balance."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.batch import OPEN, SETTLED, VOID, Closed, CloseJob, ExtendJob, Held, HoldJob, Job, Outcome, Refused
from metering.database import Database
from metering.generations import remember_prices
from metering.ledger import Ledger, deposit
from metering.money import now_ms
from metering.price import Price
from metering.tables import Account
from metering.usage import Usage
from metering.verify import verify
from tests import books, servers

FUNDS = 1000
BUCKETS = ("acc", "lim_a", "lim_b")
LIMITS = ((), ("lim_a",), ("lim_b",), ("lim_a", "lim_b"))
UNIT = Price(prompt=0, completion=1000)
"""One token costs one nano-dollar."""
Run = Callable[[Any], Any]


@dataclass
class ModelHold:
    amount: int
    buckets: tuple[str, ...]
    state: int = OPEN
    charge: int = 0


@dataclass
class Model:
    """One account and two limits, in plain Python. `room` is what each can still give, `posted` what was charged or deposited."""

    room: dict[str, int]
    posted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    holds: dict[str, ModelHold] = field(default_factory=dict)

    def do(self, job: Job) -> Outcome:
        hold = self.holds.get(job.id)
        if isinstance(job, HoldJob):
            return self._hold(job, hold)
        if isinstance(job, CloseJob):
            return self._close(job, hold)
        if hold is None or hold.state != OPEN:
            return Refused("", 0)
        return self._extend(job, hold)

    def deposit(self, amount: int) -> bool:
        if self.room["acc"] + amount < 0:
            return False
        self.room["acc"] += amount
        self.posted["acc"] += amount
        return True

    def _hold(self, job: HoldJob, hold: ModelHold | None) -> Outcome:
        if hold is not None and hold.state == OPEN:
            return Held(hold.amount)
        buckets = ("acc", *job.limits)
        if hold is not None or self._least(buckets).available < job.amount:
            return self._least(buckets)
        self.holds[job.id] = ModelHold(job.amount, buckets)
        self._give(buckets, -job.amount)
        return Held(job.amount)

    def _extend(self, job: ExtendJob, hold: ModelHold) -> Outcome:
        least, missing = self._least(hold.buckets), job.target - hold.amount
        if missing <= 0:
            return Held(hold.amount)
        if least.available < missing and not job.partly:
            return least
        amount = min(missing, max(0, least.available))
        hold.amount += amount
        self._give(hold.buckets, -amount)
        return Held(hold.amount)

    def _close(self, job: CloseJob, hold: ModelHold | None) -> Outcome:
        if hold is None:
            return Closed(0, job.state, False)
        if hold.state != OPEN:
            return Closed(hold.charge, hold.state, False)
        hold.state, hold.charge = job.state, min(job.charge, hold.amount)
        self._give(hold.buckets, hold.amount - hold.charge)
        for bucket in hold.buckets:
            self.posted[bucket] -= hold.charge
        return Closed(hold.charge, job.state, True)

    def _least(self, buckets: tuple[str, ...]) -> Refused:
        room, bucket = min((self.room[bucket], bucket) for bucket in buckets)
        held = sum(hold.amount for hold in self.holds.values() if hold.state == OPEN and bucket in hold.buckets)
        return Refused(bucket, room, held)

    def _give(self, buckets: tuple[str, ...], amount: int) -> None:
        for bucket in buckets:
            self.room[bucket] += amount


IDS = st.integers(0, 2).map(str)
AMOUNTS = st.integers(0, 700)
JOBS = st.one_of(
    st.builds(HoldJob, id=IDS, account_id=st.just("acc"), limits=st.sampled_from(LIMITS), amount=AMOUNTS, boot_id=st.just("boot_1")),
    st.builds(ExtendJob, id=IDS, target=AMOUNTS, partly=st.booleans()),
    st.builds(CloseJob, id=IDS, charge=AMOUNTS, state=st.just(SETTLED)),
    st.builds(CloseJob, id=IDS, charge=st.just(0), state=st.just(VOID)),
)
OPERATIONS = st.lists(st.one_of(JOBS, st.integers(-600, 600).filter(bool)), min_size=5, max_size=40)


@pytest.fixture(scope="module")
def both(sqlite_template: Path, postgres_url: str, postgres_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """How to run a coroutine, and the two databases, open for the whole module: each example has accounts of its own."""
    file = tmp_path_factory.mktemp("machine") / "tollway.db"
    shutil.copy(sqlite_template, file)
    with (
        servers.database(postgres_url, template=postgres_template) as url,
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
        _all_open(runner.run, f"sqlite:///{file}", url) as databases,
    ):
        yield runner.run, databases


@contextmanager
def _all_open(run: Run, *urls: str) -> Iterator[list[Database]]:
    stack = AsyncExitStack()
    try:
        databases = [run(stack.enter_async_context(books.opened(url))) for url in urls]
        for database in databases:
            run(database.write(remember_prices, {UNIT.id: UNIT}, books.START))
        yield databases
    finally:
        run(stack.aclose())


_examples = itertools.count()


async def _begin(database: Database, prefix: str) -> None:
    await books.fund(database, f"{prefix}acc", FUNDS)
    await books.limit(database, f"{prefix}lim_a", 900)
    await books.limit(database, f"{prefix}lim_b", 500)


def _named(job: Job, prefix: str, charge: int) -> Job:
    """The job with ids of its own example, and the row of a generation that will be charged `charge`."""
    if isinstance(job, HoldJob):
        limits = tuple(prefix + limit for limit in job.limits)
        return HoldJob(id=prefix + job.id, account_id=f"{prefix}acc", limits=limits, amount=job.amount, boot_id=job.boot_id)
    if isinstance(job, ExtendJob):
        return ExtendJob(id=prefix + job.id, target=job.target, partly=job.partly)
    row = None
    if job.state == SETTLED:
        usage = Usage(completion=job.charge)
        row = {
            **books.generation(prefix + job.id, f"{prefix}acc", usage=usage, price=UNIT),
            "charge": charge,
            "shortfall": job.charge - charge,
        }
    return CloseJob(id=prefix + job.id, charge=job.charge, state=job.state, generation=row)


async def _do(database: Database, operation: Job | int, prefix: str, number: int, expected: Outcome | bool) -> Outcome | bool:
    if isinstance(operation, int):
        return await _move(database, operation, prefix, number)
    charge = expected.charge if isinstance(expected, Closed) else 0
    (outcome,) = await database.commit([_named(operation, prefix, charge)])
    if isinstance(outcome, Refused):
        return Refused(outcome.bucket.removeprefix(prefix), outcome.available, outcome.held)
    return outcome


async def _move(database: Database, amount: int, prefix: str, number: int) -> bool:
    fields = {"id": f"{prefix}dep_{number}", "account_id": f"{prefix}acc", "amount": amount, "kind": "deposit", "reason": "test"}
    try:
        await database.write(deposit, **fields, now=books.START)
    except ValueError:
        return False
    return True


async def _balances(database: Database, prefix: str) -> dict[str, tuple[int, int]]:
    """(posted, room) of the account and the limits of one example."""
    rows = [await database.read(lambda session, id=prefix + bucket: session.get_one(Account, id)) for bucket in BUCKETS]
    return {bucket: (row.posted, row.posted - row.held + row.overdraft) for bucket, row in zip(BUCKETS, rows, strict=True)}


async def _wrong(database: Database) -> list[str]:
    return [f"{check.id} {check.rows}" for check in await database.read(verify, now=now_ms()) if not check.ok]


async def _agree(databases: list[Database], operations: list[Job | int]) -> None:
    prefix = f"m{next(_examples)}_"
    model = Model(room={"acc": FUNDS, "lim_a": 900, "lim_b": 500})
    model.posted["acc"] = FUNDS
    for database in databases:
        await _begin(database, prefix)
    for number, operation in enumerate(operations):
        expected = model.deposit(operation) if isinstance(operation, int) else model.do(operation)
        for database in databases:
            assert await _do(database, operation, prefix, number, expected) == expected, (type(database).__name__, operation)
    balances = {bucket: (model.posted[bucket], model.room[bucket]) for bucket in BUCKETS}
    for database in databases:
        assert await _balances(database, prefix) == balances


def test_both_databases_and_the_model_agree_on_every_answer(both: tuple[Run, list[Database]]) -> None:
    run, databases = both

    @settings(max_examples=80, deadline=None)
    @given(OPERATIONS)
    def agree(operations: list[Job | int]) -> None:
        run(_agree(databases, operations))

    agree()
    for database in databases:
        assert run(_wrong(database)) == []


SPENDS = st.lists(st.tuples(AMOUNTS, AMOUNTS, st.sampled_from(LIMITS), st.booleans()), min_size=1, max_size=40)
Spend = tuple[int, int, tuple[str, ...], bool]


async def _crowd(database: Database, spends: list[Spend]) -> None:
    """All at once: who is admitted may differ between the databases, that no bucket gives more than it has may not."""
    prefix = f"c{next(_examples)}_"
    await _begin(database, prefix)
    ledgers = [Ledger(database, "boot_1") for _ in range(2)]

    async def spend(number: int, amount: int, charge: int, limits: tuple[str, ...], settled: bool) -> tuple[int, tuple[str, ...]]:
        ledger, id = ledgers[number % 2], f"{prefix}{number}"
        names = tuple(prefix + limit for limit in limits)
        if isinstance(await ledger.hold(id, account_id=f"{prefix}acc", limits=names, amount=amount), Refused):
            return 0, limits
        if not settled:
            return (await ledger.void(id, generation=None)).charge, limits
        row = books.generation(id, f"{prefix}acc", usage=Usage(completion=charge), price=UNIT)
        return (await ledger.settle(id, charge=charge, held=amount, generation=row)).charge, limits

    charges = await asyncio.gather(*(spend(number, *each) for number, each in enumerate(spends)))
    spent = {bucket: sum(charge for charge, limits in charges if bucket in ("acc", *limits)) for bucket in BUCKETS}
    funds = {"acc": FUNDS, "lim_a": 900, "lim_b": 500}
    assert all(spent[bucket] <= funds[bucket] for bucket in BUCKETS)
    expected = {bucket: (FUNDS - spent[bucket] if bucket == "acc" else -spent[bucket], funds[bucket] - spent[bucket]) for bucket in BUCKETS}
    assert await _balances(database, prefix) == expected


def test_a_crowd_never_spends_more_than_there_is_and_every_charge_is_booked(both: tuple[Run, list[Database]]) -> None:
    run, databases = both

    @settings(max_examples=40, deadline=None)
    @given(SPENDS)
    def crowd(spends: list[Spend]) -> None:
        for database in databases:
            run(_crowd(database, spends))

    crowd()
    for database in databases:
        assert run(_wrong(database)) == []
