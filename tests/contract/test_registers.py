"""The registers by a clock of their own: requests with their due dates and warnings, disclosures that stay, a profile that is corrected."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlmodel import Session

from gateway.workers import remind
from metering.database import Database
from policy import account_states, audit, disclosures, members, profiles, rights_requests
from policy.account_states import WINDOW_DAYS, purge_due
from policy.errors import InvalidField
from policy.people_tables import Person
from policy.rights_requests import DAY_MS, OPEN_MAX, PAGE
from policy.rights_tables import RightsRequest
from policy.tables import Member
from tests import books

NOW = books.START
WORDS = "canary7wq2: please, all of it"


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        for account_id in ("acc", "other"):
            await books.fund(database, account_id, 0)
            owner = {"id": f"mem_{account_id}", "account_id": account_id, "email": f"{account_id}@mail.example", "role": "owner"}
            await database.write(members.add, **owner, now=NOW)
        yield database
        assert await database.read(lambda session: list(audit.broken(session))) == []


async def ask(database: Database, id: str, *, account_id: str | None = "acc", now: int = NOW, **more: Any) -> RightsRequest:
    given = {"kind": "access", "law": "gdpr", "note": WORDS, "by": "key_1", **more}
    return await database.write(rights_requests.open_request, id=id, account_id=account_id, now=now, **given)


async def answer(database: Database, id: str, now: int = NOW) -> RightsRequest:
    return await database.write(rights_requests.close_request, id, outcome="sent", by="operator", now=now)


async def disclose(database: Database, id: str, at: int = NOW, **more: Any) -> None:
    given = {"recipient": "a court", "basis": "order 7", "categories": ["metadata"], "account_id": "acc", "note": "", **more}
    await database.write(disclosures.add, id=id, disclosed_at=at, by="operator", now=NOW, **given)


async def test_a_request_is_due_as_its_law_has_it_and_the_earliest_due_stands_first(database: Database) -> None:
    assert (await ask(database, "b", law="ccpa")).due_at == NOW + 45 * DAY_MS
    assert (await ask(database, "c")).due_at == NOW + 30 * DAY_MS
    await ask(database, "a", account_id=None, now=NOW + 20 * DAY_MS)
    await ask(database, "d", account_id="other", now=NOW + DAY_MS)
    assert [row.id for row in await database.read(rights_requests.open_page)] == ["c", "d", "b", "a"]
    assert [row.id for row in await database.read(rights_requests.open_page, account_id="acc")] == ["c", "b"]
    await answer(database, "c", NOW + 5)
    await answer(database, "d", NOW + 6)
    assert [row.id for row in await database.read(rights_requests.open_page)] == ["b", "a"]
    assert [(row.id, row.outcome) for row in await database.read(rights_requests.last_closed)] == [("d", "sent"), ("c", "sent")]


async def test_the_pages_of_a_register_leave_out_nothing_and_repeat_nothing(database: Database) -> None:
    def many(session: Session) -> None:
        for i in range(PAGE + 5):
            row = {"kind": "other", "law": "gdpr", "opened_at": NOW, "due_at": NOW + i // 2}
            session.add(RightsRequest(id=f"req_{i:03}", **row))

    await database.write(many)
    first = await database.read(rights_requests.open_page)
    rest = await database.read(rights_requests.open_page, after=first[-1])
    assert [row.id for row in (*first, *rest)] == [f"req_{i:03}" for i in range(PAGE + 5)]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"kind": "revenge"}, "kind"),
        ({"law": "lex"}, "law"),
        ({"note": "n" * (rights_requests.WORDS_MAX + 1)}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"note": "a\ud800b"}, "note"),
    ],
)
async def test_what_a_request_cannot_be_is_refused_by_name(database: Database, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        await ask(database, "a", **wrong)
    assert refused.value.param == param
    assert await database.read(rights_requests.open_page) == []


async def test_of_thirty_at_once_an_account_opens_twenty_and_one_more_when_one_is_answered(database: Database) -> None:
    done = await asyncio.gather(*(ask(database, f"req_{i}") for i in range(OPEN_MAX + 10)), return_exceptions=True)
    assert len([each for each in done if isinstance(each, RightsRequest)]) == OPEN_MAX
    assert len(await database.read(rights_requests.open_page)) == OPEN_MAX
    await ask(database, "theirs", account_id="other")
    (first, *_) = [each.id for each in done if isinstance(each, RightsRequest)]
    await answer(database, first)
    await ask(database, "one_more")


async def test_a_request_is_answered_once(database: Database) -> None:
    await ask(database, "a")
    await answer(database, "a")
    for id in ("a", "none"):
        with pytest.raises(InvalidField, match="id: "):
            await answer(database, id)


async def test_the_log_warns_once_at_half_of_the_time_and_again_when_it_is_over_without_a_word(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(database, "slow")
    await ask(database, "answered")
    await ask(database, "calm", law="ccpa", now=NOW + DAY_MS)
    await answer(database, "answered")
    said: dict[int, list[str]] = {}
    for day in range(50):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="tollway.chores"):
            await remind(database, now=NOW + day * DAY_MS + 1)
            await remind(database, now=NOW + day * DAY_MS + 2)
        if caplog.messages:
            said[day] = caplog.messages
    assert [(day, message.split()[2], "overdue" in message) for day, (message,) in said.items()] == [
        (15, "slow", False),
        (24, "calm", False),
        (30, "slow", True),
        (46, "calm", True),
    ]
    assert "canary" not in str(said)


async def test_a_request_that_nobody_saw_for_long_is_only_called_overdue(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    await ask(database, "a")
    for later in (40, 41):
        await remind(database, now=NOW + later * DAY_MS)
    assert ["overdue" in message for message in caplog.messages] == [True]


async def test_disclosures_are_listed_in_order_and_stay_when_the_account_goes_but_what_its_owner_wrote_does_not(database: Database) -> None:
    await disclose(database, "late")
    await disclose(database, "early", NOW - 5, categories=["content", "profile"])
    await disclose(database, "of_nobody", NOW - 2, account_id=None)
    await ask(database, "asked")
    await ask(database, "theirs", account_id="other")
    assert [row.id for row in await database.read(disclosures.page)] == ["early", "of_nobody", "late"]
    await database.write(account_states.close, "acc", by="key_1", waive=False, reason=None, now=NOW)
    assert await purge_due(database, now=NOW + (WINDOW_DAYS + 1) * DAY_MS) == 1
    assert [(row.id, row.categories) for row in await database.read(disclosures.page, account_id="acc")] == [
        ("early", "content,profile"),
        ("late", "metadata"),
    ]
    notes = {row.id: row.note for row in await database.read(rights_requests.open_page)}
    assert notes == {"asked": "", "theirs": WORDS}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"categories": ["gossip"]}, "categories"),
        ({"categories": []}, "categories"),
        ({"categories": ["audit", "audit"]}, "categories"),
        ({"recipient": ""}, "recipient"),
        ({"basis": "b" * (disclosures.NAME_MAX + 1)}, "basis"),
        ({"note": "\0"}, "note"),
        ({"at": NOW + 1}, "at"),
    ],
)
async def test_what_a_disclosure_cannot_be_is_refused_by_name(database: Database, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        await disclose(database, "d", **wrong)
    assert refused.value.param == param
    assert await database.read(disclosures.page) == []


async def change(database: Database, **fields: Any) -> profiles.Profile:
    return await database.write(profiles.change, "acc", fields, by="key_1", now=NOW + 5)


async def test_a_profile_is_corrected_and_the_log_knows_the_fields_but_no_word(database: Database) -> None:
    assert await database.read(profiles.of, "acc") == profiles.Profile(email="acc@mail.example", name=None, account_name="", signs_in=False)
    changed = await change(database, email="right@mail.example", account_name="Right & Co")
    assert (changed.email, changed.account_name) == ("right@mail.example", "Right & Co")
    assert (await change(database, account_name="")).account_name == ""
    assert await database.read(profiles.of, "other") == profiles.Profile(
        email="other@mail.example", name=None, account_name="", signs_in=False
    )
    deeds = await database.read(audit.page, after=0, account_id="acc")
    assert [(deed.action, deed.change) for deed in deeds] == [
        ("profile.change", '{"fields":["account_name","email"]}'),
        ("profile.change", '{"fields":["account_name"]}'),
    ]


async def test_the_address_of_somebody_who_signs_in_is_not_changed_here_but_their_name_is(database: Database) -> None:
    def sign_in(session: Session) -> None:
        session.add(Person(id="per", email="acc@mail.example", created_at=NOW, updated_at=NOW))
        session.flush()
        member = session.get(Member, "mem_acc")
        assert member is not None
        member.person_id = "per"
        session.add(member)

    await database.write(sign_in)
    with pytest.raises(InvalidField, match="change it when signed in"):
        await change(database, email="thief@mail.example", name="Thief")
    assert await change(database, name="Ada") == profiles.Profile(email="acc@mail.example", name="Ada", account_name="", signs_in=True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "dev@mail.example"}, "email"),
        ({"email": "a\0@b"}, "email"),
        ({"name": "Ada"}, "name"),
        ({"account_name": "n" * 101}, "account_name"),
        ({"account_name": "a\nb"}, "account_name"),
        ({"account_name": None}, "account_name"),
        ({"role": "owner"}, "role"),
    ],
)
async def test_what_a_profile_cannot_be_is_refused_by_name_and_changes_nothing(
    database: Database, fields: dict[str, Any], param: str
) -> None:
    await database.write(members.add, id="mem_dev", account_id="acc", email="dev@mail.example", role="developer", now=NOW)
    with pytest.raises(InvalidField) as refused:
        await change(database, **{"account_name": "Good", **fields})
    assert refused.value.param == param
    assert (await database.read(profiles.of, "acc")).account_name == ""
