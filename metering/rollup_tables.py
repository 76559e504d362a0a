"""The tables of what was used per hour, added up once, so that a page over millions of generations reads a few hundred rows.

Amounts are nano-USD, times Unix milliseconds. They repeat the books and can be made anew from them.
"""

from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from metering.tables import BIG


def _options() -> dict[str, Any]:
    return {"sqlite_strict": True, "info": {"retention": "billing"}}


class _Counted(SQLModel):
    """What is added up; `first_bytes` counts the generations that `first_byte_ms` adds up."""

    requests: int = Field(default=0, sa_type=BIG)
    errors: int = Field(default=0, sa_type=BIG)
    charge: int = Field(default=0, sa_type=BIG)
    shortfall: int = Field(default=0, sa_type=BIG)
    prompt: int = Field(default=0, sa_type=BIG)
    cached_prompt: int = Field(default=0, sa_type=BIG)
    cache_write: int = Field(default=0, sa_type=BIG)
    image: int = Field(default=0, sa_type=BIG)
    audio: int = Field(default=0, sa_type=BIG)
    completion: int = Field(default=0, sa_type=BIG)
    reasoning: int = Field(default=0, sa_type=BIG)
    audio_completion: int = Field(default=0, sa_type=BIG)
    first_byte_ms: int = Field(default=0, sa_type=BIG)
    first_bytes: int = Field(default=0, sa_type=BIG)
    duration_ms: int = Field(default=0, sa_type=BIG)


class UsageHour(_Counted, table=True):
    """What one key used of one model at one provider for one app in one UTC hour (`hour` is its beginning); '' where there is none.

    A charge belongs to the hour of its ledger entry, a generation without one to the hour in which it began: the same as in the exports.
    """

    __tablename__ = "usage_hour"
    __table_args__ = ({**_options(), "sqlite_with_rowid": False},)
    account_id: str = Field(primary_key=True, sa_type=Text)
    hour: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    model: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(primary_key=True, sa_type=Text)
    origin: str = Field(primary_key=True, sa_type=Text, sa_column_kwargs={"info": {"retention": "attribution"}})


class UsageDay(_Counted, table=True):
    """The same for one UTC day (`day` is its beginning): a month of hours can be many thousand rows, of days it is some hundred."""

    __tablename__ = "usage_day"
    __table_args__ = ({**_options(), "sqlite_with_rowid": False},)
    account_id: str = Field(primary_key=True, sa_type=Text)
    day: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    model: str = Field(primary_key=True, sa_type=Text)
    provider: str = Field(primary_key=True, sa_type=Text)
    key_id: str = Field(primary_key=True, sa_type=Text)
    origin: str = Field(primary_key=True, sa_type=Text, sa_column_kwargs={"info": {"retention": "attribution"}})


class UsageMark(SQLModel, table=True):
    """How far an account is added up: its sealed entries up to number `seq`, its generations without a charge that began before `until`."""

    __tablename__ = "usage_mark"
    __table_args__ = (_options(),)
    account_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(default=0, sa_type=BIG)
    until: int = Field(default=0, sa_type=BIG)
