"""SQLite, Postgres and a model in plain Python are given the same steps, or the same crowd, and must agree on what came of it."""

import asyncio
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.batch import Refused
from metering.database import Database
from metering.ledger import Ledger
from metering.tables import Account
from metering.usage import Usage
from tests import books, servers
from tests.prove.machine import STEP, UNIT, Machine, Step, drawn, machine

FUNDS = {"acc": 1000, "lim_a": 900, "lim_b": 500}


class Both:
    """The two databases, open for the whole module: each example has accounts of its own."""

    def __init__(self, runner: asyncio.Runner, machine: Machine) -> None:
        self.run, self.machine = runner.run, machine

    def wrong(self) -> list[str]:
        return [line for side in self.machine.sides for line in self.run(side.wrong())]


@pytest.fixture(scope="module")
def both(sqlite_template: Path, postgres_url: str, postgres_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    file = tmp_path_factory.mktemp("machine") / "tollway.db"
    shutil.copy(sqlite_template, file)
    with (
        servers.database(postgres_url, template=postgres_template) as url,
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
    ):
        opened = machine(f"sqlite:///{file}", url)
        try:
            yield Both(runner, runner.run(opened.__aenter__()))
        finally:
            runner.run(opened.__aexit__(None, None, None))


def test_both_databases_and_the_model_agree_on_every_answer_and_every_balance(both: Both) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(STEP, min_size=5, max_size=40))
    def agree(steps: list[Step]) -> None:
        both.run(both.machine.play(steps))

    agree()
    assert both.wrong() == []


def test_examples_that_share_batches_agree_too(both: Both) -> None:
    """The long form of this is `make prove-ledger`."""
    for seed in range(2):
        both.run(both.machine.play(*drawn(random.Random(seed), 40, examples=20)))
    assert both.wrong() == []


AMOUNTS = st.integers(0, 700)
LIMITS = ((), ("lim_a",), ("lim_b",), ("lim_a", "lim_b"))
SPENDS = st.lists(st.tuples(AMOUNTS, AMOUNTS, st.sampled_from(LIMITS), st.booleans()), min_size=1, max_size=40)
Spend = tuple[int, int, tuple[str, ...], bool]
_crowds = itertools.count()


async def _begin(database: Database, prefix: str) -> None:
    await books.fund(database, f"{prefix}acc", FUNDS["acc"])
    for name in ("lim_a", "lim_b"):
        await books.limit(database, prefix + name, FUNDS[name])


async def _balances(database: Database, prefix: str) -> dict[str, tuple[int, int]]:
    """(posted, room) of the account and the limits of one crowd."""
    rows = [await database.read(lambda session, id=prefix + bucket: session.get_one(Account, id)) for bucket in FUNDS]
    return {bucket: (row.posted, row.posted - row.held + row.overdraft) for bucket, row in zip(FUNDS, rows, strict=True)}


async def _crowd(database: Database, spends: list[Spend]) -> None:
    """All at once: who is admitted may differ between the databases, that no bucket gives more than it has may not."""
    prefix = f"c{next(_crowds)}_"
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
    spent = {bucket: sum(charge for charge, limits in charges if bucket in ("acc", *limits)) for bucket in FUNDS}
    assert all(spent[bucket] <= FUNDS[bucket] for bucket in FUNDS)
    left = {bucket: FUNDS[bucket] - spent[bucket] for bucket in FUNDS}
    assert await _balances(database, prefix) == {
        bucket: (left[bucket] if bucket == "acc" else -spent[bucket], left[bucket]) for bucket in FUNDS
    }


def test_a_crowd_never_spends_more_than_there_is_and_every_charge_is_booked(both: Both) -> None:
    @settings(max_examples=40, deadline=None)
    @given(SPENDS)
    def crowd(spends: list[Spend]) -> None:
        for side in both.machine.sides:
            both.run(_crowd(side.database, spends))

    crowd()
    assert both.wrong() == []


def test_sqlite_alone_agrees_with_the_model(sqlite_template: Path, tmp_path: Path) -> None:
    """Also where there is no Postgres; and it is quick."""

    async def agree() -> None:
        shutil.copy(sqlite_template, tmp_path / "tollway.db")
        async with machine(f"sqlite:///{tmp_path}/tollway.db") as playing:
            await playing.play(*drawn(random.Random(3), 40, examples=20))
            assert [line for side in playing.sides for line in await side.wrong()] == []

    asyncio.run(agree())
