"""Day by day for 14 months, by a clock of its own, nothing is ever older than its category may be: every category that has days."""

import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import pytest
from sqlalchemy import insert, text
from sqlmodel import Session, SQLModel

from gateway.workers import forget, keep_within, prune
from metering.database import Database
from metering.generations import NOTHING_BUT_BILLING
from metering.rollup_tables import UsageDay, UsageHour
from metering.tables import Boot, Generation, Hold
from metering.usage import Usage
from policy import audit, retention
from policy.audit import Deed
from policy.people_tables import Link, Person, SignedIn, SignInFailure
from policy.privacy_tables import ContentKey, StoredContent
from policy.tables import IdempotencyClaim, Key, ProviderKey
from tests import books
from tests.tidy.tree import PACKAGES, python_files

DAY: Final = 86_400_000
DAYS: Final = 430
EVERY: Final = 9
"""Days between two sets of rows."""
BATCH: Final = 86
"""Days in one transaction."""
_BILLING: Final = " AND ".join(f"{name} IS NULL" if value is None else f"{name} = {value!r}" for name, value in NOTHING_BUT_BILLING.items())
OLDEST: Final = {
    "metadata": {
        "generation": f"SELECT MIN(created_at) FROM generation WHERE NOT ({_BILLING})",
        "hold": "SELECT MIN(created_at) FROM hold WHERE progress IS NOT NULL",
        "boot": "SELECT MIN(heartbeat_at) FROM boot WHERE id <> 'boot_1'",
    },
    "attribution": {
        "generation": "SELECT MIN(created_at) FROM generation WHERE origin IS NOT NULL OR title IS NOT NULL",
        "usage_hour": "SELECT MIN(hour) + 3600000 FROM usage_hour WHERE origin <> ''",
        "usage_day": "SELECT MIN(day) + 86400000 FROM usage_day WHERE origin <> ''",
    },
    "content": {
        "content": "SELECT MIN(created_at) FROM content",
        "content_key": "SELECT MIN(created_at) FROM content_key",
    },
    "idempotency": {"idempotency_claim": "SELECT MIN(created_at) FROM idempotency_claim"},
    "credential": {"key": "SELECT MIN(revoked_at) FROM key", "provider_key": "SELECT MIN(revoked_at) FROM provider_key"},
    "audit": {"audit": "SELECT MIN(at) FROM audit WHERE seq < (SELECT MAX(seq) FROM audit)"},
    "session": {
        "session": "SELECT MIN(created_at) FROM session",
        "link": "SELECT MIN(created_at) FROM link",
        "sign_in_failure": "SELECT MIN(first_at) FROM sign_in_failure",
    },
}
"""By category and table, the moment of the oldest row that is kept; of usage the end of its hour or day."""
DAYS_OF: Final = {category.name: category.days for category in retention.CATEGORIES if category.days is not None}
LONGER: Final = {"billing", "register"}
"""Ten years, and longer than this test."""


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10**9)
        await database.write(_person)
        yield database
        assert await database.read(lambda session: list(audit.broken(session))) == []


def _person(session: Session) -> None:
    session.add(Person(id="per", email="a@mail.example", verified_at=books.START, created_at=books.START, updated_at=books.START))


def _one_of_each(session: Session, n: int, now: int) -> None:
    """What one day may bring, each as long-lived as it can be: content for a year, a session for its whole month, a link for longer."""
    id = f"gen_{n}"
    kept = {"finish_reason": "stop", "origin": "https://app.example", "title": "App", "duration_ms": 9}
    row = {**books.generation(id, "acc", usage=Usage()), "created_at": now, **kept}
    hold = {"id": id, "account_id": "acc", "amount": 0, "state": 2, "boot_id": "boot_1", "created_at": now, "closed_at": now}
    session.connection().execute(insert(Hold), [{**hold, "progress": "{}"}])
    session.connection().execute(insert(Generation), [row])
    used = {"account_id": "acc", "model": "a/b", "provider": "p", "key_id": "k", "origin": "https://app.example", "requests": 1}
    for days, key in ((365, "y"), (30, "m")):
        named = {"account_id": "acc", "created_at": now}
        session.add(ContentKey(id=f"{n}{key}", wrapped=b"w", **named))
        sealed = {"key_id": "k", "content_key_id": f"{n}{key}", "version": 1, "expires_at": now + days * DAY, "size": 1, "sealed": b"s"}
        session.add(StoredContent(generation_id=f"{id}{key}", **named, **sealed))
    signed = {"person_id": "per", "agent": "a browser", "created_at": now, "seen_at": now, "confirmed_at": now}
    session.add_all(
        [
            UsageHour(hour=now - now % 3_600_000, **used),
            UsageDay(day=now - now % DAY, **used),
            IdempotencyClaim(account_id="acc", key_mac=f"k{n}", body_mac="b", generation_id=id, created_at=now),
            Key(id=f"key_{n}", account_id="acc", kind="inference", name="", digest=f"d{n}", label="", created_at=0, revoked_at=now),
            ProviderKey(id=f"pk_{n}", account_id="acc", provider="p", label="", sealed="s", created_at=0, revoked_at=now),
            SignedIn(digest=f"s{n}", expires_at=now + 30 * DAY, **signed),
            Link(digest=f"l{n}", id=f"l{n}", purpose="invite", email="b@mail.example", created_at=now, expires_at=now + 90 * DAY),
            SignInFailure(mac=f"m{n}", count=1, first_at=now, blocked_until=now),
        ]
    )
    session.add(Boot(id=id, started_at=now, heartbeat_at=now))
    session.flush()
    audit.record(session, Deed(actor="key_1", action="limits.change", account_id="acc"), now=now)


_ALL: Final = text(" UNION ALL ".join(
    f"SELECT '{category}' AS category, '{table}' AS named, ({oldest}) AS oldest" for category, tables in OLDEST.items()
    for table, oldest in tables.items()
))  # fmt: skip


def _oldest(session: Session) -> list[tuple[str, str, int | None]]:
    return [(category, name, at) for category, name, at in session.connection().execute(_ALL)]


class _Within:
    """The database for chores that all run in one transaction: months of days in a few seconds, each statement the real one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def write(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        done = work(self._session, *arguments, **more)
        self._session.flush()
        self._session.expunge_all()
        return done

    read = write


def _finished(chore: Coroutine[Any, Any, Any]) -> None:
    """Runs it to its end here and now: it waits for nothing but this transaction."""
    with contextlib.suppress(StopIteration):
        while True:
            chore.send(None)


def _live(session: Session, days: range) -> dict[tuple[str, str], int]:
    """The chores of each day; by category and table, how old the oldest row ever was after them."""
    database: Any = _Within(session)
    longest: dict[tuple[str, str], int] = {}
    for day in days:
        now = books.START + day * DAY
        if day % EVERY == 0:
            _one_of_each(session, day, now)
        for chore in (keep_within, forget, prune):
            _finished(chore(database, now=now))
        for category, name, at in _oldest(session):
            age = 0 if at is None else now - at
            assert age <= DAYS_OF[category] * DAY, (day, category, name)
            longest[category, name] = max(longest.get((category, name), 0), age)
    return longest


async def test_for_fourteen_months_nothing_is_older_than_its_category_may_be(database: Database) -> None:
    longest: dict[tuple[str, str], int] = {}
    for first in range(0, DAYS, BATCH):
        found = await database.write(_live, range(first, min(first + BATCH, DAYS)))
        longest = {key: max(age, longest.get(key, 0)) for key, age in found.items()}
    for (category, name), age in longest.items():
        assert age >= (DAYS_OF[category] - EVERY) * DAY, f"{name}: nothing was there that could have grown old"


def _tables() -> dict[str, set[str]]:
    """By category, the tables that have anything of it."""
    for package in PACKAGES:
        for path in python_files(package):
            if path.name.endswith("tables.py"):
                importlib.import_module(f"{package}.{path.stem}")
    found: dict[str, set[str]] = {}
    for table in SQLModel.metadata.tables.values():
        for column in table.columns:
            category: Any = column.info.get("retention") or table.info.get("retention")
            found.setdefault(category, set()).add(table.name)
    return found


def test_every_table_of_every_category_that_has_days_is_looked_at() -> None:
    assert set(DAYS_OF) - LONGER == set(OLDEST)
    assert {category: tables for category, tables in _tables().items() if category in OLDEST} == {
        category: set(tables) for category, tables in OLDEST.items()
    }
