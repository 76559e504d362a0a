"""Who is calling: remembered for at most a second, and never taken for somebody else."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from metering import credits, ledger
from metering.database import Sqlite, Work
from metering.periods import period
from metering.tables import Account
from policy import keys
from policy.caller import CACHED_MAX, FRESH_MS, Callers
from policy.errors import Unauthenticated

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1_760_000_000_000
PEPPER = keys.derive("a-secret-for-tests-of-40-characters-long", "key-pepper")


class Counting(Sqlite):
    """A database that knows how often it was read and written."""

    reads = 0
    writes = 0

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.writes += 1
        return await super().write(work, *args, **kwargs)

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.reads += 1
        return await super().read(work, *args, **kwargs)


@pytest.fixture
async def database(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Counting]:
    (tmp_path / "tollway.db").write_bytes(sqlite_template.read_bytes())
    opened = Counting(str(tmp_path / "tollway.db"))
    await opened.write(lambda session: ledger.open_account(session, id="acc_1", now=NOW))
    yield opened
    await opened.aclose()


@pytest.fixture
def callers(database: Counting) -> Callers:
    return Callers(database, PEPPER)


async def new_key(database: Counting, id: str = "key_1", **fields: object) -> str:
    token = keys.generate(secrets.randbelow)
    new = keys.NewKey(account_id="acc_1", kind="inference", name="", **fields)  # type: ignore[arg-type]
    await database.write(keys.create, new, token=token, pepper=PEPPER, id=id, now=NOW)
    return token


async def test_a_caller_is_remembered_for_less_than_a_second(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    for later in (0, 1, 500, FRESH_MS - 1):
        assert (await callers.identify(token, NOW + later)).key_id == "key_1"
    assert database.reads == 1
    await callers.identify(token, NOW + FRESH_MS)
    assert database.reads == 2


async def test_a_revoked_key_is_dead_within_a_second(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    await callers.identify(token, NOW)
    await database.write(keys.revoke, key_id="key_1", now=NOW)
    with pytest.raises(Unauthenticated, match="revoked"):
        await callers.identify(token, NOW + FRESH_MS)


@pytest.mark.parametrize("back_ms", [1, 1000, 3_600_000])
async def test_a_clock_that_is_set_back_keeps_no_key_alive(database: Counting, callers: Callers, back_ms: int) -> None:
    token = await new_key(database)
    await callers.identify(token, NOW)
    await database.write(keys.revoke, key_id="key_1", now=NOW)
    with pytest.raises(Unauthenticated, match="revoked"):
        await callers.identify(token, NOW - back_ms)


async def test_an_expiry_is_kept_to_the_millisecond_also_for_a_remembered_key(database: Counting, callers: Callers) -> None:
    token = await new_key(database, expires_at=NOW + 10)
    assert await callers.identify(token, NOW + 9)
    with pytest.raises(Unauthenticated, match="expired"):
        await callers.identify(token, NOW + 10)
    assert database.reads == 1


async def test_an_unknown_key_costs_one_look_a_second_and_a_malformed_one_none(database: Counting, callers: Callers) -> None:
    unknown = keys.generate(secrets.randbelow)
    for guess in [unknown] * 50 + [None, "", "x", unknown[:-1], unknown + "x", "é" * 55, "x" * 100_000]:
        with pytest.raises(Unauthenticated):
            await callers.identify(guess, NOW)
    assert database.reads == 1


async def test_with_older_peppers_an_unknown_key_still_costs_one_look_a_second_and_nothing_is_written(database: Counting) -> None:
    callers = Callers(database, PEPPER, older=(b"a" * 32, b"b" * 32, b"c" * 32))
    unknown, written = keys.generate(secrets.randbelow), database.writes
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await callers.identify(unknown, NOW)
    assert (database.reads, database.writes) == (1, written)


async def test_a_key_of_an_older_pepper_is_written_once_and_then_as_cheap_as_any(database: Counting) -> None:
    token = await new_key(database)
    callers = Callers(database, b"n" * 32, older=(PEPPER,))
    written = database.writes
    for later in (0, 1, FRESH_MS, 5 * FRESH_MS):
        assert (await callers.identify(token, NOW + later)).key_id == "key_1"
    assert (database.reads, database.writes - written) == (3, 1)


async def test_a_key_made_a_moment_ago_works_within_a_second_of_being_refused(database: Counting, callers: Callers) -> None:
    token = keys.generate(secrets.randbelow)
    with pytest.raises(Unauthenticated):
        await callers.identify(token, NOW)
    new = keys.NewKey(account_id="acc_1", kind="owner", name="")
    await database.write(keys.create, new, token=token, pepper=PEPPER, id="key_1", now=NOW)
    assert (await callers.identify(token, NOW + FRESH_MS)).kind == "owner"


async def test_no_two_tokens_share_an_identity(database: Counting, callers: Callers) -> None:
    """Tokens that are alike in their first 49 characters, in all but one, or asked for at the same time."""
    tokens = {f"key_{number}": await new_key(database, f"key_{number}") for number in range(20)}
    asked = [*tokens.items()] * 5
    random.Random(1).shuffle(asked)
    found = await asyncio.gather(*(callers.identify(token, NOW) for _, token in asked))
    assert [caller.key_id for caller in found] == [key_id for key_id, _ in asked]
    for token in tokens.values():
        for guess in _alike(token):
            with pytest.raises(Unauthenticated):
                await callers.identify(guess, NOW)


def _alike(token: str) -> list[str]:
    """Well-formed keys that share a prefix with `token`."""
    stem = token[: random.Random(token).randrange(10, 49)]
    fill: Callable[[int], int] = random.Random(token).randrange
    other = keys.generate(fill)
    return [stem + other[len(stem) : 49] + keys._checksum(stem + other[len(stem) : 49])]


async def test_many_at_once_share_one_look(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    found = await asyncio.gather(*(callers.identify(token, NOW) for _ in range(100)))
    assert len({id(caller) for caller in found}) == 1
    assert database.reads == 1


async def test_a_waiter_that_is_cancelled_does_not_take_the_others_along(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    first, second = (asyncio.create_task(callers.identify(token, NOW)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).key_id == "key_1"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await callers.identify(token, NOW)).key_id == "key_1"


async def test_what_is_remembered_is_bounded_and_holds_no_keys(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    await callers.identify(token, NOW)
    assert token not in repr(callers._cache)
    assert CACHED_MAX <= 100_000


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
async def test_a_budget_whose_period_is_over_starts_anew_when_its_key_calls(database: Counting, callers: Callers, reset: str) -> None:
    token = await new_key(database, limit=1000, reset=reset)
    before = await callers.identify(token, NOW)
    _, first_end = period(reset, NOW)
    await database.write(lambda session: session.get_one(Account, "lim_1").sqlmodel_update({"posted": -1000}))
    after = await callers.identify(token, first_end)
    limit = await database.read(lambda session: session.get_one(Account, "lim_1"))
    assert (limit.posted, limit.period_start, limit.period_end) == (0, *period(reset, first_end))
    assert after.budgets == before.budgets == ("lim_1",)
    assert after.budget_scopes == ("key",)


async def test_credit_that_has_expired_admits_no_request_though_its_key_is_remembered(database: Counting, callers: Callers) -> None:
    token = await new_key(database)
    gift = {"account_id": "acc_1", "amount": 500, "kind": "promotional", "refundable": False, "expires_at": NOW + 10, "reason": "gift"}
    await database.write(credits.add, id="dep_1", now=NOW, **gift)
    assert (await callers.identify(token, NOW)).credit_expires_at == NOW + 10
    assert (await callers.identify(token, NOW + 9)).credit_expires_at == NOW + 10
    assert (await database.read(ledger.balance, "acc_1")).available == 500
    assert (await callers.identify(token, NOW + 10)).credit_expires_at is None
    assert (await database.read(ledger.balance, "acc_1")).available == 0
