"""The tables of privacy: the account's choice and its history, the keys of its content, the content itself, and what was done.

Times are Unix milliseconds. Retention category in `info`, as in `policy/tables.py`; `content` rows carry their own end.
"""

from sqlalchemy import Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

from metering.tables import BIG


class AccountPrivacy(SQLModel, table=True):
    """The choice as it stands: JSON of `policy.privacy.Privacy`. Each change counts `version` up."""

    __tablename__ = "account_privacy"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "profile"}},)
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    version: int = Field(sa_type=BIG)
    document: str = Field(sa_type=Text)
    updated_at: int = Field(sa_type=BIG)


class PrivacyChange(SQLModel, table=True):
    """One change of the choice: who (a key's id, or `operator`), when, and what it was from then on. Rows are only ever added."""

    __tablename__ = "privacy_change"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "profile"}},)
    account_id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BIG)
    actor: str = Field(sa_type=Text)
    document: str = Field(sa_type=Text)


class ContentKey(SQLModel, table=True):
    """A data key of an account, wrapped by the installation's key: without it the account's content is noise. Deleting it shreds."""

    __tablename__ = "content_key"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "content"}},)
    account_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    wrapped: bytes = Field(sa_type=LargeBinary)
    created_at: int = Field(sa_type=BIG)


class StoredContent(SQLModel, table=True):
    """The prompt and the answer of one generation, sealed for this row alone; `version` is the choice that allowed it."""

    __tablename__ = "content"
    __table_args__ = (
        Index("content_account", "account_id", "created_at", "generation_id"),
        Index("content_expires", "expires_at"),
        {"sqlite_strict": True, "info": {"retention": "content"}},
    )
    generation_id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    content_key_id: str = Field(sa_type=Text)
    version: int = Field(sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
    expires_at: int = Field(sa_type=BIG)
    size: int = Field(sa_type=Integer)
    sealed: bytes = Field(sa_type=LargeBinary)


class RetentionMark(SQLModel, table=True):
    """How far a category has been enforced: everything before `until` (Unix ms) is done."""

    __tablename__ = "retention_mark"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "installation"}},)
    category: str = Field(primary_key=True, sa_type=Text)
    until: int = Field(sa_type=BIG)
