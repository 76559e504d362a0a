"""Budgets of accounts, projects, members and keys: a hold fits into every one of them or takes nothing from any."""

import secrets
from typing import Any

import pytest

from metering import ledger
from metering.batch import Held, Refused
from metering.database import Database
from metering.errors import UnknownAccount
from metering.ledger import Ledger
from metering.tables import Account
from policy import budgets, keys, members
from policy.budgets import NewBudget
from policy.caller import Caller, Callers
from tests import books

PEPPER = keys.derive("a-secret-for-tests-of-40-characters-long", "key-pepper")
NOW = books.START
SUBJECTS = {"account": "acc", "project": "prj_1", "member": "mem_1", "key": "key_1"}


@pytest.fixture
async def token(database: Database) -> str:
    """The key of a member, in a project."""
    await books.fund(database, "acc", 1000)
    await books.fund(database, "other", 1000)
    await database.write(budgets.add_project, id="prj_1", account_id="acc", name="search", now=NOW)
    await database.write(members.add, id="mem_1", account_id="acc", email="a@example.com", role="developer", now=NOW)
    return await _new_key(database, "key_1", project_id="prj_1", member_id="mem_1")


async def _new_key(database: Database, id: str, **fields: Any) -> str:
    made = keys.generate(secrets.randbelow)
    new = keys.NewKey(account_id="acc", kind="inference", name="", **fields)
    await database.write(keys.create, new, token=made, pepper=PEPPER, id=id, now=NOW)
    return made


async def _budget(database: Database, scope: str, amount: int, reset: str | None = None, **changed: str) -> str:
    fields = {"account_id": "acc", "subject_id": SUBJECTS.get(scope, "acc"), **changed}
    id = f"lim_{scope}_{reset}"
    await database.write(budgets.add, NewBudget(scope=scope, amount=amount, reset=reset, **fields), id=id, now=NOW)
    return id


async def _caller(database: Database, token: str) -> Caller:
    return await Callers(database, PEPPER).identify(token, NOW)


async def _hold(ledger: Ledger, caller: Caller, id: str, amount: int) -> Held | Refused:
    return await ledger.hold(id, account_id=caller.account_id, limits=caller.budgets, amount=amount)


@pytest.mark.parametrize("tightest", ["account", "project", "member", "key"])
async def test_the_tightest_of_all_budgets_refuses_and_nothing_is_held_anywhere(
    database: Database, ledger: Ledger, token: str, tightest: str
) -> None:
    for scope in budgets.SCOPES:
        await _budget(database, scope, 100 if scope == tightest else 500)
    caller = await _caller(database, token)
    assert sorted(caller.budget_scopes) == sorted(budgets.SCOPES)
    outcome = await _hold(ledger, caller, "gen_1", 101)
    assert outcome == Refused(f"lim_{tightest}_None", 100)
    assert dict(zip(caller.budgets, caller.budget_scopes, strict=True))[outcome.bucket] == tightest
    rows = [await database.read(lambda session, id=id: session.get_one(Account, id)) for id in ("acc", *caller.budgets)]
    assert [row.held for row in rows] == [0] * 5
    assert await _hold(ledger, caller, "gen_2", 100) == Held(100)
    assert await _hold(ledger, caller, "gen_3", 1) == Refused(f"lim_{tightest}_None", 0, 100)


async def test_a_project_s_budget_bounds_all_its_keys_together_and_no_other(database: Database, ledger: Ledger, token: str) -> None:
    second, outside = await _new_key(database, "key_2", project_id="prj_1"), await _new_key(database, "key_3")
    await _budget(database, "project", 100)
    inside = [await _caller(database, each) for each in (token, second)]
    assert await _hold(ledger, inside[0], "gen_1", 60) == Held(60)
    assert await _hold(ledger, inside[1], "gen_2", 60) == Refused("lim_project_None", 40, 60)
    assert await _hold(ledger, await _caller(database, outside), "gen_3", 60) == Held(60)


async def test_one_subject_may_have_a_budget_per_kind_of_period(database: Database, ledger: Ledger, token: str) -> None:
    for reset, amount in (("daily", 10), ("weekly", 20), ("monthly", 30), (None, 40)):
        await _budget(database, "member", amount, reset)
    caller = await _caller(database, token)
    assert await _hold(ledger, caller, "gen_1", 11) == Refused("lim_member_daily", 10)
    with pytest.raises(ValueError, match="has a daily budget already"):
        await _budget(database, "member", 5, "daily")


async def test_a_budget_that_is_removed_bounds_nothing_and_running_holds_still_end(database: Database, ledger: Ledger, token: str) -> None:
    id = await _budget(database, "key", 100)
    caller = await _caller(database, token)
    assert await _hold(ledger, caller, "gen_1", 100) == Held(100)
    assert not await database.write(budgets.remove, account_id="other", id=id)
    assert await database.write(budgets.remove, account_id="acc", id=id)
    assert (await _caller(database, token)).budgets == ()
    await ledger.void("gen_1", generation=None)
    assert (await database.read(lambda session: session.get_one(Account, id))).held == 0


@pytest.mark.parametrize(
    ("scope", "changed", "error"),
    [
        ("project", {"subject_id": "prj_2"}, ValueError),
        ("project", {"subject_id": "mem_1"}, ValueError),
        ("member", {"account_id": "other"}, ValueError),
        ("key", {"account_id": "other"}, ValueError),
        ("key", {"account_id": "nobody"}, UnknownAccount),
        ("account", {"subject_id": "other"}, UnknownAccount),
    ],
)
async def test_a_budget_for_what_the_account_does_not_own_is_refused(
    database: Database, token: str, scope: str, changed: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await _budget(database, scope, 5, **changed)


@pytest.mark.parametrize("field", ["project_id", "member_id"])
async def test_a_key_cannot_join_what_another_account_owns(database: Database, token: str, field: str) -> None:
    await database.write(budgets.add_project, id="prj_9", account_id="other", name="search", now=NOW)
    await database.write(members.add, id="mem_9", account_id="other", email="a@example.com", role="viewer", now=NOW)
    with pytest.raises(ValueError, match="the account has no"):
        await _new_key(database, "key_9", **{field: "prj_9" if field == "project_id" else "mem_9"})


async def test_what_is_left_of_a_budget_counts_a_new_period_that_nobody_has_started() -> None:
    limit = Account(id="lim", kind="limit", posted=-70, held=10, overdraft=100, reset="daily", period_start=0, period_end=50, created_at=0)
    assert (ledger.room(limit, 49), ledger.room(limit, 50)) == (20, 90)
