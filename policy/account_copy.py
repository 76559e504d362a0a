"""What an account may take with it: the rows of every table that is about it, without secrets, in pages."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import sqlalchemy
from sqlmodel import Session, SQLModel, col

from metering.money import format_usd
from metering.tables import Credit, Generation
from policy.account_states import PERSONAL
from policy.people_tables import Person
from policy.rights_tables import AccountState, Audit, Disclosure, RightsRequest
from policy.tables import Budget, IdempotencyClaim, Member

PAGE: Final = 500
SECRET: Final = {"key.digest", "key.pepper", "provider_key.sealed", "link.digest", "session.digest", "person.password", "person.totp"}
_JSON: Final = {
    *("account_rules.rules", "account_privacy.document", "key.data_policy"),
    *("privacy_change.document", "audit.change", "generation.attempts"),
}
_NANO: Final = {"credit.amount", "credit.remaining", "generation.held", "generation.charge", "generation.shortfall"}
_TAKEN: Final[tuple[type[SQLModel], ...]] = (*PERSONAL, Budget, Credit, AccountState, Person, Audit, RightsRequest, Disclosure, Generation)
# Of idempotency claims there is nothing but HMACs, for a day.
TABLES: Final = {str(table.__tablename__): table for table in _TAKEN if table is not IdempotencyClaim}


def page(
    session: Session, name: str, account_id: str, *, after: tuple[Any, ...] | None
) -> tuple[list[dict[str, Any]], tuple[Any, ...] | None]:
    """The next rows of table `name` in the order of its key, and behind which key to go on, None at the end.

    Amounts are decimal USD, times Unix milliseconds, what is stored as JSON is JSON.
    """
    columns = sqlalchemy.inspect(TABLES[name]).local_table
    key = list(columns.primary_key.columns)
    wanted = sqlalchemy.select(columns).where(_belongs(columns, account_id))
    if after is not None:
        wanted = wanted.where(sqlalchemy.tuple_(*key) > after)
    rows = session.connection().execute(wanted.order_by(*key).limit(PAGE)).mappings().all()
    last = tuple(rows[-1][column.name] for column in key) if len(rows) == PAGE else None
    return [dict(_shown(name, row.items())) for row in rows], last


def _belongs(table: sqlalchemy.Table, account_id: str) -> sqlalchemy.ColumnElement[bool]:
    """A person belongs to every account that they are a member of."""
    if table.name == Person.__tablename__:
        return table.c.id.in_(sqlalchemy.select(col(Member.person_id)).where(col(Member.account_id) == account_id))
    return table.c.account_id == account_id


def _shown(table: str, items: Iterable[tuple[Any, Any]]) -> Iterable[tuple[str, Any]]:
    for column, value in items:
        name = f"{table}.{column}"
        if name in SECRET:
            continue
        if value is not None and name in _JSON:
            value = msgspec.json.decode(value)
        elif value is not None and name in _NANO:
            value = format_usd(value)
        yield str(column), value
