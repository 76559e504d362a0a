"""The tables of who may call: members (people) and their API keys. Times are Unix milliseconds.

Retention category in `info`, as in `metering/tables.py`: `profile` rows live as long as the account, `credential` rows until they are
revoked and the generations that name them are gone.
"""

from sqlalchemy import CheckConstraint, Index, Integer, Text
from sqlmodel import Field, SQLModel

from metering.tables import BIG


class Member(SQLModel, table=True):
    """A person of an account. The one who opened it is its owner."""

    __tablename__ = "member"
    __table_args__ = (
        CheckConstraint("role IN ('owner')", name="member_role"),
        Index("member_email", "email"),
        {"sqlite_strict": True, "info": {"retention": "profile"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    email: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class Key(SQLModel, table=True):
    """An API key: its HMAC, never the key. `owner` keys may do everything, `inference` keys call models, `management` keys do the rest."""

    __tablename__ = "key"
    __table_args__ = (
        CheckConstraint("kind IN ('owner', 'inference', 'management')", name="key_kind"),
        Index("key_digest", "digest", unique=True),
        Index("key_account", "account_id"),
        {"sqlite_strict": True, "info": {"retention": "credential"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    label: str = Field(sa_type=Text)
    limit_id: str | None = Field(default=None, sa_type=Text, foreign_key="account.id")
    requests_per_minute: int | None = Field(default=None, sa_type=Integer)
    tokens_per_minute: int | None = Field(default=None, sa_type=Integer)
    expires_at: int | None = Field(default=None, sa_type=BIG)
    revoked_at: int | None = Field(default=None, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
