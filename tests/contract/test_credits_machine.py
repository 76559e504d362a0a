"""Credits on both databases, burned when somebody looks, against a model that burns at every charge: they agree on every remainder."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, update

from metering import credits, ledger
from metering.batch import Held
from metering.credits import CENT
from metering.database import Database
from metering.generations import remember_prices
from metering.ledger import Ledger
from metering.price import Price
from metering.tables import Hold
from metering.usage import Usage
from metering.verify import verify
from tests import books, servers

UNIT = Price(prompt=0, completion=1000)
PAID, FINAL, GIFT = ("paid", True), ("paid", False), ("promotional", False)


@dataclass
class ModelCredit:
    id: str
    paid: bool
    refundable: bool
    expires_at: int | None
    remaining: int

    def order(self) -> tuple[Any, ...]:
        return (self.expires_at is None, self.expires_at or 0, self.paid, self.refundable)


@dataclass
class Model:
    """One account. `credits` burn in place, at every charge; `holds` are (amount, when it was made)."""

    credits: list[ModelCredit] = field(default_factory=list)
    holds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def posted(self) -> int:
        return sum(credit.remaining for credit in self.credits)

    def free(self) -> int:
        return self.posted() - sum(amount for amount, _ in self.holds.values())

    def burn(self, amount: int, *, only: Callable[[ModelCredit], bool] = lambda _: True) -> None:
        for credit in sorted(filter(only, self.credits), key=ModelCredit.order):
            taken = min(amount, credit.remaining)
            credit.remaining, amount = credit.remaining - taken, amount - taken

    def expire(self, now: int) -> int:
        """The moments of expiry one after the other; what a hold from before keeps of one credit it does not keep of the next."""
        before, kept = self.posted(), 0
        for credit in sorted(self.credits, key=ModelCredit.order):
            if credit.expires_at is not None and credit.expires_at <= now:
                earlier = sum(amount for amount, made in self.holds.values() if made < credit.expires_at)
                keeps = min(credit.remaining, max(0, earlier - kept))
                kept += keeps
                credit.remaining -= max(0, min(credit.remaining - keeps, self.free()))
        return before - self.posted()

    def refund(self, amount: int | None, now: int) -> int | None:
        def fits(credit: ModelCredit) -> bool:
            return credit.refundable and (credit.expires_at is None or credit.expires_at > now)

        most = max(0, min(sum(credit.remaining for credit in self.credits if fits(credit)), self.free())) // CENT * CENT
        if amount is not None and amount > most:
            return None
        self.burn(most if amount is None else amount, only=fits)
        return most if amount is None else amount


class Step(NamedTuple):
    """What is done, to how many cents (and a little), with which of the open holds or until which hour."""

    verb: str
    cents: int
    pick: int


WEIGHTS = {"add": 5, "charge": 5, "hold": 3, "settle": 2, "void": 1, "expire": 2, "refund": 1, "take_back": 1, "clock": 3}
VERBS = tuple(verb for verb, weight in WEIGHTS.items() for _ in range(weight))
STEPS = st.lists(st.builds(Step, st.sampled_from(VERBS), st.integers(1, 9), st.integers(0, 11)), min_size=30, max_size=60)
HOUR = 3_600_000
LITTLE = 7


class Books:
    """One account of one database, driven as the model is."""

    def __init__(self, database: Database, account_id: str) -> None:
        self._database, self._account = database, account_id
        self._ledger = Ledger(database, "boot_1")

    async def add(self, id: str, amount: int, kind: tuple[str, bool], expires_at: int | None, now: int) -> None:
        def work(session: Session) -> bool:
            return credits.add(session, id=id, account_id=self._account, amount=amount, kind=kind[0], refundable=kind[1],
                               expires_at=expires_at, reason="test", now=now)  # fmt: skip

        assert await self._database.write(work)

    async def hold(self, id: str, amount: int, now: int) -> bool:
        if not isinstance(await self._ledger.hold(id, account_id=self._account, limits=(), amount=amount), Held):
            return False
        await self._database.write(_made, id, now)
        return True

    async def settle(self, id: str, charge: int, held: int) -> None:
        row = books.generation(id, self._account, usage=Usage(completion=charge), price=UNIT)
        assert (await self._ledger.settle(id, charge=charge, held=held, generation=row)).charge == charge

    async def void(self, id: str) -> None:
        await self._ledger.void(id, generation=None)

    async def expire(self, now: int) -> int:
        return await self._database.write(credits.expire, account_id=self._account, now=now)

    async def refund(self, id: str, amount: int | None, now: int) -> int | None:
        written = {"id": id, "account_id": self._account, "reason": "test"}
        try:
            return await self._database.write(lambda session: credits.refund(session, **written, amount=amount, now=now))
        except ValueError:
            return None

    async def take_back(self, id: str, amount: int, now: int) -> bool:
        written = {"id": id, "account_id": self._account, "reason": "test"}
        try:
            await self._database.write(lambda session: credits.take_back(session, **written, amount=amount, now=now))
        except ValueError:
            return False
        return True

    async def remaining(self) -> dict[str, int]:
        listed = await self._database.read(credits.listed, self._account)
        return {credit.id: credit.remaining for credit in listed}

    async def free(self) -> int:
        return (await self._database.read(ledger.balance, self._account)).available


def _made(session: Session, id: str, now: int) -> None:
    session.connection().execute(update(Hold).where(col(Hold.id) == id).values(created_at=now))


async def _step(step: Step, name: str, model: Model, book: Books, now: int) -> None:
    amount = step.cents * CENT + (step.pick % 2) * LITTLE
    open_holds = sorted(model.holds)
    picked = open_holds[step.pick % len(open_holds)] if open_holds else None
    match step.verb:
        case "add":
            kind = (PAID, FINAL, GIFT)[step.pick % 3]
            expires_at = now + step.pick * HOUR if step.pick % 4 else None
            model.credits.append(ModelCredit(name, kind[0] == "paid", kind[1], expires_at, 3 * amount))
            await book.add(name, 3 * amount, kind, expires_at, now)
        case "charge" if amount <= model.free():
            model.burn(amount)
            assert await book.hold(name, amount, now)
            await book.settle(name, amount, amount)
        case "hold":
            fits = amount <= model.free()
            model.holds |= {name: (amount, now)} if fits else {}
            assert await book.hold(name, amount, now) is fits
        case "settle" if picked:
            held, _ = model.holds.pop(picked)
            model.burn(held * step.cents // 9)
            await book.settle(picked, held * step.cents // 9, held)
        case "void" if picked:
            model.holds.pop(picked)
            await book.void(picked)
        case "expire":
            assert await book.expire(now) == model.expire(now)
        case "refund":
            model.expire(now)
            wanted = step.cents * CENT if step.pick else None
            expected = model.refund(wanted, now)
            assert await book.refund(name, wanted, now) == expected
            if expected is None:
                await book.expire(now)  # a refusal rolls everything back
        case "take_back":
            model.expire(now)
            fits = amount <= model.free()
            model.burn(amount if fits else 0)
            assert await book.take_back(name, amount, now) is fits
            if not fits:
                await book.expire(now)


async def _agree(databases: list[Database], prefix: str, steps: list[Step]) -> None:
    for number, database in enumerate(databases):
        account_id, model, now = f"{prefix}acc", Model(), books.START
        await books.fund(database, account_id, 0)
        book = Books(database, account_id)
        for place, step in enumerate(steps):
            now += step.cents * HOUR // 2 if step.verb == "clock" else 1
            await _step(step, f"{prefix}{place:02}", model, book, now)
            assert await book.remaining() == {credit.id: credit.remaining for credit in model.credits}, (number, place, step)
            assert await book.free() == model.free()


@pytest.fixture(scope="module")
def both(sqlite_template: Path, postgres_url: str, postgres_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """How to run a coroutine, and the two databases; each example has an account of its own."""
    file = tmp_path_factory.mktemp("credits") / "tollway.db"
    shutil.copy(sqlite_template, file)
    with ExitStack() as stack:
        url = stack.enter_context(servers.database(postgres_url, template=postgres_template))
        run = stack.enter_context(asyncio.Runner(loop_factory=asyncio.new_event_loop)).run
        databases = []
        for each in (f"sqlite:///{file}", url):
            opened = books.opened(each)
            databases.append(run(opened.__aenter__()))
            stack.callback(lambda opened=opened: run(opened.__aexit__(None, None, None)))
            run(databases[-1].write(remember_prices, {UNIT.id: UNIT}, books.START))
        yield run, databases


_examples = itertools.count()


def test_burning_late_and_burning_at_once_leave_the_same_credit(both: tuple[Any, list[Database]]) -> None:
    run, databases = both

    @settings(max_examples=20, deadline=None)
    @given(STEPS)
    def agree(steps: list[Step]) -> None:
        run(_agree(databases, f"c{next(_examples)}_", steps))

    agree()
    for database in databases:
        checks = run(database.read(verify, now=books.START))
        assert [check for check in checks if not check.ok] == []
