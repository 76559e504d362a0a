"""The owners of every account are told once which third parties will receive data."""

import datetime

import pytest

from gateway.announcing import Told, announce
from gateway.subprocessors import Change, File
from metering.database import Database
from policy import account_states, members
from policy.letters import Letter
from tests import books

TODAY = datetime.date(2026, 11, 23)
COMING = Change(date=datetime.date(2027, 1, 1), announced=TODAY, text="Acme Cloud answers requests.")
OVER = Change(date=TODAY, announced=datetime.date(2026, 10, 1), text="An old change.")


def listed(*changes: Change, version: int = 7) -> File:
    return File(version=version, date=TODAY, kind=(), change=changes)


class Post:
    """Whom it was sent to; mail to `refused` is not taken."""

    def __init__(self) -> None:
        self.sent: list[Letter] = []
        self.refused: str | None = "full@example.com"

    async def send(self, letter: Letter) -> None:
        if letter.to == self.refused:
            raise ConnectionError
        self.sent.append(letter)


async def furnish(database: Database) -> None:
    people = {
        "acc_1": ["ann@example.com"],
        "acc_2": ["ann@example.com", "bob@example.com"],
        "acc_3": ["full@example.com"],
        "acc_4": ["gone@example.com"],
    }
    for account_id, emails in people.items():
        await books.fund(database, account_id, 0)
        for number, email in enumerate(emails):
            row = {"id": f"{account_id}_{number}", "account_id": account_id, "email": email, "role": "owner"}
            await database.write(members.add, now=books.START, **row)
    await database.write(members.add, id="viewer", account_id="acc_1", email="viewer@example.com", role="viewer", now=books.START)
    await database.write(account_states.close, "acc_4", by="operator", waive=True, reason=None, now=books.START)
    await account_states.purge_due(database, now=books.START + account_states.WAIVED_MS)


async def test_every_living_owner_is_told_once_of_what_is_to_come(database: Database) -> None:
    await furnish(database)
    post = Post()
    told = await announce(database, listed(OVER, COMING), post.send, today=TODAY, now=books.START)
    assert told == Told(sent=2, failed=1)
    assert sorted(letter.to for letter in post.sent) == ["ann@example.com", "bob@example.com"]
    assert {letter.words["changes"] for letter in post.sent} == {"From 2027-01-01: Acme Cloud answers requests."}


async def test_a_version_is_announced_again_until_every_mail_went_out_and_then_no_more(database: Database) -> None:
    await furnish(database)
    post = Post()
    assert (await announce(database, listed(COMING), post.send, today=TODAY, now=books.START)).failed == 1
    post.refused = None
    assert await announce(database, listed(COMING), post.send, today=TODAY, now=books.START) == Told(sent=3, failed=0)
    assert "full@example.com" in [letter.to for letter in post.sent]
    with pytest.raises(ValueError, match="announced already"):
        await announce(database, listed(COMING), post.send, today=TODAY, now=books.START)
    assert len(post.sent) == 5
    assert (await announce(database, listed(COMING, version=8), post.send, today=TODAY, now=books.START)).sent == 3


async def test_without_a_change_to_come_nobody_is_mailed(database: Database) -> None:
    post = Post()
    with pytest.raises(ValueError, match="no change is to come"):
        await announce(database, listed(OVER), post.send, today=TODAY, now=books.START)
    assert post.sent == []
