"""A purge that is cut off after any of its steps, and done again, ends as one that ran through."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from metering.database import Database
from metering.tables import Generation, Hold
from metering.usage import Usage
from metering.verify import verify
from policy import account_states, audit, rights_requests
from policy.account_states import WINDOW_DAYS, purge_due
from tests import books
from tests.contract.test_closing import _furnish as furnish

NOW = books.START
LATER = NOW + (WINDOW_DAYS + 1) * 86_400_000
MORE = 7
STEPS = 6
"""Contents, three pages of generations, the day of its usage, and the rest."""
MOMENTS = {"at", "since", "due_at", "seq", "hash", "previous", "updated_at"}


class CutOffError(Exception):
    """The process ends here."""


class Cut:
    """The database, for a process that ends right after its write number `after`."""

    def __init__(self, database: Database, after: int) -> None:
        self._database = database
        self._left = after

    async def read(self, *arguments: Any, **more: Any) -> Any:
        return await self._database.read(*arguments, **more)

    async def write(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if self._left == 0:
            raise CutOffError
        self._left -= 1
        return await self._database.write(work, *arguments, **more)


@pytest.fixture
async def database(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr("metering.reduction.PAGE", 3)
    async with books.opened(migrated_database_url) as database:
        for account_id, now in (("acc", NOW), ("other", NOW + 1)):
            await books.fund(database, account_id, 10**9)
            await database.write(furnish, account_id)
            await database.write(_more, account_id)
            await database.write(account_states.close, account_id, by="key_1", waive=False, reason=None, now=now)
        yield database
        assert [check for check in await database.read(verify, now=LATER) if not check.ok] == []
        assert await database.read(lambda session: list(audit.broken(session))) == []


def _more(session: Session, account_id: str) -> None:
    asked = {"kind": "deletion", "law": "gdpr", "note": "canary", "by": "key_1", "now": NOW}
    rights_requests.open_request(session, id=f"req_{account_id}", account_id=account_id, **asked)
    for i in range(MORE):
        id = f"gen_{account_id}_{i}"
        hold = {"id": id, "account_id": account_id, "amount": 0, "state": 2, "boot_id": "boot_1", "created_at": NOW, "closed_at": NOW}
        row = {**books.generation(id, account_id, usage=Usage()), "origin": "https://app.example", "title": "App"}
        session.connection().execute(insert(Hold), [{**hold, "progress": "{}"}])
        session.connection().execute(insert(Generation), [row])


def left(session: Session, account_id: str) -> dict[str, list[str]]:
    """By table, all that there is of an account, without the moments and under one name for every account."""
    found = {}
    for name, table in SQLModel.metadata.tables.items():
        if "account_id" in table.columns:
            rows = session.connection().execute(sqlalchemy.select(table).where(table.c.account_id == account_id)).mappings()
            found[name] = sorted(_shown(row, account_id) for row in rows if name != "audit")
    return {name: rows for name, rows in found.items() if rows}


def _shown(row: Mapping[str, Any], account_id: str) -> str:
    return str({name: str(value).replace(account_id, "X") for name, value in row.items() if name not in MOMENTS})


def deeds(session: Session, account_id: str) -> list[str]:
    return [deed.action for deed in audit.page(session, after=0, account_id=account_id) if deed.action.startswith("account.")]


@pytest.mark.parametrize("after", range(STEPS + 1))
async def test_a_purge_that_was_cut_off_and_done_again_ends_as_one_that_was_not(database: Database, after: int) -> None:
    whole = await database.read(left, "acc")
    assert {"content", "key", "member", "content_key"} <= whole.keys()
    with pytest.raises(CutOffError):
        await purge_due(Cut(database, after), now=LATER)  # type: ignore[arg-type]
    halfway = await database.read(left, "acc")
    assert ("content_key" in halfway) is (after == 0), "the keys of its content go first"
    assert ("member" in halfway) is (after < STEPS)
    assert await purge_due(database, now=LATER) == (2 if after < STEPS else 1)
    assert await purge_due(database, now=LATER) == 0
    ended = await database.read(left, "acc")
    assert ended == await database.read(left, "other")
    assert not {"content", "content_key", "key", "member"} & ended.keys()
    assert "canary" not in str(ended)
    assert await database.read(deeds, "acc") == await database.read(deeds, "other") == ["account.close", "account.purge"]
