"""Limits of accounts, on both databases: what is stored, who is on the free tier, and which scopes bound a key."""

import pytest

from metering import credits, ledger
from metering.database import Database
from metering.errors import UnknownAccount
from policy import account_limits
from policy.limits import Scope
from policy.tables import AccountLimits, Key
from tests import books

NOW = books.START


def _key(**limits: int) -> Key:
    return Key(id="key_1", account_id="acc", kind="inference", name="", digest="d", label="l", created_at=NOW, **limits)


async def _set(database: Database, account_id: str = "acc", **limits: int | None) -> None:
    given = {"requests_per_minute": None, "tokens_per_minute": None, "concurrency": None, **limits}
    await database.write(account_limits.set_limits, account_id, **given, now=NOW)


async def _of(database: Database, account_id: str) -> AccountLimits | None:
    return await database.read(account_limits.of, account_id)


async def test_limits_of_an_account_replace_each_other(database: Database) -> None:
    await books.fund(database, "acc", 5)
    assert await _of(database, "acc") is None
    await _set(database, concurrency=7)
    await _set(database, requests_per_minute=0)
    stored = await _of(database, "acc")
    assert stored is not None
    assert (stored.requests_per_minute, stored.tokens_per_minute, stored.concurrency) == (0, None, None)


async def test_limits_of_nobody_and_limits_below_zero_are_refused(database: Database) -> None:
    await books.fund(database, "acc", 5)
    with pytest.raises(UnknownAccount):
        await _set(database, "nobody", concurrency=1)
    for wrong in (-1, 2**31):
        with pytest.raises(ValueError, match="tokens_per_minute"):
            await _set(database, tokens_per_minute=wrong)
    assert await _of(database, "acc") is None


async def test_the_free_tier_ends_with_the_first_paid_credit(database: Database) -> None:
    await database.write(ledger.open_account, id="acc", now=NOW)
    assert await database.read(account_limits.free_tier, "acc")
    await database.write(credits.add, id="dep_1", account_id="acc", amount=5, reason="gift", kind="promotional", refundable=False, now=NOW)
    assert await database.read(account_limits.free_tier, "acc")
    await database.write(credits.add, id="dep_2", account_id="acc", amount=5, reason="paid", now=NOW)
    assert not await database.read(account_limits.free_tier, "acc")


def test_only_scopes_that_limit_anything_bound_a_key() -> None:
    free = Scope(account_id="", id="", whose="free_tier", requests_per_minute=20)
    account = AccountLimits(account_id="acc", concurrency=9, updated_at=NOW)
    assert account_limits.scopes(_key(), None) == ()
    assert account_limits.scopes(_key(), AccountLimits(account_id="acc", updated_at=NOW)) == ()
    bounds = account_limits.scopes(_key(concurrency=2, tokens_per_minute=5), account, free)
    assert bounds == (
        Scope(account_id="acc", id="key_1", whose="key", tokens_per_minute=5, concurrency=2),
        Scope(account_id="acc", id="acc", whose="account", concurrency=9),
        Scope(account_id="acc", id="acc", whose="free_tier", requests_per_minute=20),
    )
