"""The tables of rights: who changed what, accounts that are not active any more, requests that need a person, and what was disclosed.

Times are Unix milliseconds.
"""

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


class RightsRequest(SQLModel, table=True):
    """What somebody asked of the operator under a privacy law, and by when it is due.

    `note` is what the one who asks wrote, and goes with their account; `outcome` is the operator's answer. `alerted_at`: when a warning
    was last logged.
    """

    __tablename__ = "rights_request"
    __table_args__ = (
        CheckConstraint("kind IN ('access', 'portability', 'correction', 'deletion', 'objection', 'other')", name="rights_request_kind"),
        CheckConstraint("law IN ('gdpr', 'ccpa')", name="rights_request_law"),
        Index("rights_request_due", "due_at", postgresql_where=text("closed_at IS NULL"), sqlite_where=text("closed_at IS NULL")),
        {"sqlite_strict": True, "info": {"retention": "register"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str | None = Field(default=None, sa_type=Text)
    kind: str = Field(sa_type=Text)
    law: str = Field(sa_type=Text)
    note: str = Field(default="", sa_type=Text)
    opened_at: int = Field(sa_type=BIG)
    due_at: int = Field(sa_type=BIG)
    alerted_at: int | None = Field(default=None, sa_type=BIG)
    closed_at: int | None = Field(default=None, sa_type=BIG)
    outcome: str | None = Field(default=None, sa_type=Text)


class Disclosure(SQLModel, table=True):
    """What was handed to an authority or to somebody else, on which basis: `categories` are those of `policy/retention.py`, with commas."""

    __tablename__ = "disclosure"
    __table_args__ = (Index("disclosure_account", "account_id"), {"sqlite_strict": True, "info": {"retention": "register"}})
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str | None = Field(default=None, sa_type=Text)
    recipient: str = Field(sa_type=Text)
    basis: str = Field(sa_type=Text)
    categories: str = Field(sa_type=Text)
    note: str = Field(default="", sa_type=Text)
    disclosed_at: int = Field(sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
