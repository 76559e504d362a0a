"""The tables of rights: who changed what, and accounts that are not active any more. Times are Unix milliseconds."""

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from metering.tables import BIG

_DUE = text("due_at IS NOT NULL")


class Audit(SQLModel, table=True):
    """One deed of a key (`actor` is its id) or of the operator. `change` is JSON without secrets and without anybody's own words.

    Rows are only added and, when their days are over, removed from the front; `hash` covers the row and `previous`, the hash before it.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_at", "at"),
        Index("audit_account", "account_id", "at"),
        {"sqlite_strict": True, "info": {"retention": "audit"}},
    )
    seq: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BIG)
    actor: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    account_id: str = Field(sa_type=Text)
    subject: str | None = Field(default=None, sa_type=Text)
    change: str | None = Field(default=None, sa_type=Text)
    previous: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text)


class AccountState(SQLModel, table=True):
    """An account that is suspended, closing (until `due_at`) or purged; one without a row is active. `actor` is a key's id or `operator`.

    The row outlives the account's profile: it says that nothing may be done with that number any more. `reason` is the operator's.
    """

    __tablename__ = "account_state"
    __table_args__ = (
        CheckConstraint("state IN ('suspended', 'closing', 'purged')", name="account_state_state"),
        Index("account_state_due", "due_at", postgresql_where=_DUE, sqlite_where=_DUE),
        {"sqlite_strict": True, "info": {"retention": "billing"}},
    )
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    state: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    since: int = Field(sa_type=BIG)
    due_at: int | None = Field(default=None, sa_type=BIG)
    reason: str | None = Field(default=None, sa_type=Text, sa_column_kwargs={"info": {"retention": "profile"}})
