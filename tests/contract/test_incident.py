"""A drill: a leak that concerns exactly 37 of 50 accounts is found to concern exactly those, by key and by table."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert
from sqlmodel import Session

from metering.database import Database
from metering.tables import Generation, Hold
from metering.usage import Usage
from policy import account_limits, audit, incident
from policy.account_copy import TABLES
from policy.audit import Deed
from policy.people_tables import Person
from policy.rights_tables import RightsRequest
from policy.tables import Member
from tests import books

LEAKED = [f"acc_{i:02}" for i in range(37)]
SINCE = books.START + 1000


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        for i in range(50):
            await books.fund(database, f"acc_{i:02}", 0)
            after = i < 37
            at = SINCE if after else SINCE - 1
            await database.write(_use, f"acc_{i:02}", at)
        yield database


def _use(session: Session, account_id: str, at: int) -> None:
    account_limits.set_limits(session, account_id, requests_per_minute=1, tokens_per_minute=None, concurrency=None, now=at)
    hold = {"id": f"gen_{account_id}", "account_id": account_id, "amount": 0, "state": 2, "boot_id": "boot_1", "created_at": at}
    row = {**books.generation(f"gen_{account_id}", account_id, usage=Usage()), "created_at": at, "key_id": f"key_{account_id}"}
    session.connection().execute(insert(Hold), [{**hold, "closed_at": at}])
    session.connection().execute(insert(Generation), [row])


@pytest.mark.parametrize("table", ["account_limits", "generation"])
async def test_a_table_that_leaked_concerns_exactly_the_accounts_that_wrote_to_it_since(database: Database, table: str) -> None:
    found = await database.read(incident.by_table, table, since=SINCE)
    assert [affected.account_id for affected in found] == LEAKED
    assert {affected.rows for affected in found} == {1}


async def test_a_key_that_leaked_concerns_what_it_used_and_what_it_changed(database: Database) -> None:
    deed = Deed(actor="key_acc_03", action="limits.change", account_id="acc_03")
    await database.write(audit.record, deed, now=SINCE)
    assert await database.read(incident.by_key, "key_acc_03", since=SINCE) == [incident.Affected("acc_03", 2)]
    assert await database.read(incident.by_key, "key_acc_40", since=SINCE) == []


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_every_table_of_an_account_can_be_asked_about(database: Database, table: str) -> None:
    await database.read(incident.by_table, table, since=SINCE)


async def test_a_person_concerns_every_account_of_theirs_and_a_row_about_no_account_concerns_none(database: Database) -> None:
    def people(session: Session) -> None:
        session.add(Person(id="per", email="a@mail.example", created_at=SINCE, updated_at=SINCE))
        for account_id in ("acc_05", "acc_41"):
            session.add(Member(id=f"mem_{account_id}", account_id=account_id, email="a", role="owner", person_id="per", created_at=0))
        request = {"kind": "other", "law": "gdpr", "opened_at": SINCE, "due_at": SINCE}
        session.add_all([RightsRequest(id="a", account_id="acc_07", **request), RightsRequest(id="b", **request)])

    await database.write(people)
    assert [each.account_id for each in await database.read(incident.by_table, "person", since=SINCE)] == ["acc_05", "acc_41"]
    assert [each.account_id for each in await database.read(incident.by_table, "rights_request", since=SINCE)] == ["acc_07"]


async def test_a_table_that_is_not_there_is_refused_with_those_that_are(database: Database) -> None:
    with pytest.raises(ValueError, match="account_limits"):
        await database.read(incident.by_table, "secrets; DROP TABLE key", since=0)
