"""Who is affected by a leak since a moment: by the deeds and the generations of one key, or by what the rows of one table are about."""

from typing import Final

import msgspec
import sqlalchemy
from sqlalchemy import text
from sqlmodel import Session, col

from policy.account_copy import TABLES
from policy.people_tables import Person
from policy.rights_tables import Audit
from policy.tables import Member

ACCOUNTS_MAX: Final = 100_000
_WHEN: Final = ("at", "updated_at", "created_at", "since", "opened_at")


class Affected(msgspec.Struct, frozen=True):
    """An account, and how many deeds and generations (of a key), or rows (of a table) are the reason."""

    account_id: str
    rows: int


def by_key(session: Session, key_id: str, *, since: int) -> list[Affected]:
    """The accounts in which the key did anything since the moment (Unix ms), by the audit log and the generations."""
    found = session.connection().execute(_BY_KEY, {"key_id": key_id, "since": since, "most": ACCOUNTS_MAX})
    return [Affected(account_id, rows) for account_id, rows in found]


def by_table(session: Session, name: str, *, since: int) -> list[Affected]:
    """The accounts of which table `name` had rows that were made or changed since the moment. ValueError names the tables.

    A person concerns every account that they are a member of; a row that is about no account concerns none.
    """
    if name not in TABLES:
        raise ValueError(f"--table must be one of {', '.join(sorted(TABLES))}")
    columns = sqlalchemy.inspect(TABLES[name]).local_table.c
    when = next(columns[moment] for moment in _WHEN if moment in columns)
    account = col(Member.account_id) if name == Person.__tablename__ else columns.account_id
    counted = sqlalchemy.select(account, sqlalchemy.func.count()).where(when >= since, account.is_not(None))
    if name == Person.__tablename__:
        counted = counted.where(col(Member.person_id) == columns.id)
    found = session.connection().execute(counted.group_by(account).order_by(account).limit(ACCOUNTS_MAX))
    return [Affected(account_id, rows) for account_id, rows in found]


_BY_KEY: Final = text(f"""SELECT account_id, COUNT(*) FROM (
    SELECT account_id FROM generation WHERE key_id = :key_id AND created_at >= :since
    UNION ALL SELECT account_id FROM {Audit.__tablename__} WHERE at >= :since AND (actor = :key_id OR subject = :key_id)) found
    GROUP BY account_id ORDER BY account_id LIMIT :most""")  # noqa: S608 - our own names
