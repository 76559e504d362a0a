"""The tables of money. Amounts are nano-USD, times are Unix times in milliseconds, ids are text made in Python.

Every table declares in `info` for how long its rows may be kept (`retention`, a category of `policy/retention.py`): `billing` rows
are the books, `metadata` says when, where and how much but never what. A column of another category names its own beside it.
"""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

BIG: Any = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit integer on both databases; STRICT tables of SQLite know only INTEGER."""


def _options(retention: str) -> dict[str, Any]:
    return {"sqlite_strict": True, "info": {"retention": retention}}


def _as(retention: str) -> dict[str, Any]:
    """Of a column whose category is not its table's."""
    return {"info": {"retention": retention}}


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


class Account(SQLModel, table=True):
    """A balance. `prepaid`: posted - held + overdraft >= 0, always. `limit` (a key's budget): posted = -spent, overdraft = the limit."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("kind IN ('prepaid', 'limit')", name="account_kind"),
        CheckConstraint("held >= 0", name="account_held"),
        CheckConstraint("kind <> 'prepaid' OR posted - held + overdraft >= 0", name="account_never_below_zero"),
        CheckConstraint("reset IS NULL OR reset IN ('daily', 'weekly', 'monthly')", name="account_reset"),
        {**_options("billing"), "postgresql_with": {"fillfactor": "50"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    posted: int = Field(default=0, sa_type=BIG)
    held: int = Field(default=0, sa_type=BIG)
    overdraft: int = Field(default=0, sa_type=BIG)
    reset: str | None = Field(default=None, sa_type=Text)
    period_start: int | None = Field(default=None, sa_type=BIG)
    period_end: int | None = Field(default=None, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)


class Hold(SQLModel, table=True):
    """Money set aside for one generation, in its account and in every limit named in `limits` (ids joined by commas).

    `progress` is the generation's row as of its last checkpoint, JSON: what recovery charges if the process dies.
    """

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint("charge >= 0 AND charge <= amount", name="hold_charge"),
        CheckConstraint("state IN (0, 1, 2, 3)", name="hold_state"),
        Index("hold_open", "boot_id", postgresql_where=text("state = 0"), sqlite_where=text("state = 0")),
        {**_options("billing"), "sqlite_with_rowid": False},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    limits: str = Field(default="", sa_type=Text)
    amount: int = Field(sa_type=BIG)
    state: int = Field(default=0, sa_type=Integer)
    charge: int = Field(default=0, sa_type=BIG)
    boot_id: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    closed_at: int | None = Field(default=None, sa_type=BIG)
    progress: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("metadata"))


class Entry(SQLModel, table=True):
    """One leg of a transaction. Rows are only ever added (a trigger refuses anything else); the legs of a transaction sum to zero.

    Leg 0 is the customer's, leg 1 the house's; the house's accounts exist only here. `house:revenue`: charges. `house:cash`: money paid in,
    refunded or taken back. `house:promotion`: credit given away, less what of it expired or was taken back. `house:expired`: paid credit
    that expired unused, which is the house's and was never earned by a generation.
    """

    __tablename__ = "entry"
    __table_args__ = (
        Index("entry_account", "account_id", "at"),
        Index("entry_at", "at", postgresql_where=text("leg = 0"), sqlite_where=text("leg = 0")),
        Index("entry_other", "account_id", "at", **_where("leg = 0 AND kind <> 'charge'")),
        {**_options("billing"), "sqlite_with_rowid": False},
    )
    transaction_id: str = Field(primary_key=True, sa_type=Text)
    leg: int = Field(primary_key=True, sa_type=Integer)
    account_id: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BIG)
    kind: str = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    at: int = Field(sa_type=BIG)


class Credit(SQLModel, table=True):
    """Credit as it was given: `paid` (refundable or not) or `promotional`, with or without an expiry. `id` is its deposit's transaction.

    `remaining` is as of the last time that anybody looked (`metering.credits`): charges since then burn it in order, soonest expiry first.
    """

    __tablename__ = "credit"
    __table_args__ = (
        CheckConstraint("kind IN ('paid', 'promotional')", name="credit_kind"),
        CheckConstraint("remaining >= 0 AND remaining <= amount", name="credit_remaining"),
        CheckConstraint("refundable = 0 OR kind = 'paid'", name="credit_refundable"),
        Index("credit_account", "account_id"),
        Index("credit_expiring", "expires_at", **_where("remaining > 0 AND expires_at IS NOT NULL")),
        _options("billing"),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    kind: str = Field(sa_type=Text)
    refundable: int = Field(sa_type=Integer)
    amount: int = Field(sa_type=BIG)
    remaining: int = Field(sa_type=BIG)
    expires_at: int | None = Field(default=None, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)


class Seal(SQLModel, table=True):
    """The place of an entry (its customer's leg) in its account's chain: `hash` covers the entry and the hash before it."""

    __tablename__ = "seal"
    __table_args__ = (
        Index("seal_transaction", "transaction_id", unique=True),
        Index("seal_moment", "account_id", "sealed_at", "seq"),
        {**_options("billing"), "sqlite_with_rowid": False},
    )
    account_id: str = Field(primary_key=True, sa_type=Text)
    seq: int = Field(primary_key=True, sa_type=BIG, sa_column_kwargs={"autoincrement": False})
    transaction_id: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text)
    sealed_at: int = Field(sa_type=BIG)


class SignedCheckpoint(SQLModel, table=True):
    """The signed root over the heads of all chains at one moment of a UTC day: what outsiders can hold against us later.

    `beside_...` is the head of one more chain that is no account's, with a signature of its own; None where there was none.
    """

    __tablename__ = "signed_checkpoint"
    __table_args__ = (_options("billing"),)
    day: str = Field(primary_key=True, sa_type=Text)
    accounts: int = Field(sa_type=Integer)
    root: str = Field(sa_type=Text)
    public_key: str = Field(sa_type=Text)
    signature: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    beside_seq: int | None = Field(default=None, sa_type=BIG)
    beside_hash: str | None = Field(default=None, sa_type=Text)
    beside_signature: str | None = Field(default=None, sa_type=Text)


class Boot(SQLModel, table=True):
    """One start of a serving process; open holds of a boot that is gone are for recovery."""

    __tablename__ = "boot"
    __table_args__ = (_options("metadata"),)
    id: str = Field(primary_key=True, sa_type=Text)
    started_at: int = Field(sa_type=BIG)
    heartbeat_at: int = Field(sa_type=BIG)
    fenced: int = Field(default=0, sa_type=Integer)


class PriceVersion(SQLModel, table=True):
    """A price as it was when a generation was admitted: `rates` is the JSON of `metering.price.Price`. Never changed."""

    __tablename__ = "price_version"
    __table_args__ = (_options("billing"),)
    id: str = Field(primary_key=True, sa_type=Text)
    rates: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class Generation(SQLModel, table=True):
    """One answered (or failed) request: when, where, how much. `attempts` is JSON of providers, statuses, times and error classes.

    `own_key_id` is the customer's own key that paid the provider: then the charge is our fee alone. After 13 months what is not billing is
    overwritten (`metering/reduction.py`).
    """

    __tablename__ = "generation"
    __table_args__ = (
        Index("generation_account", "account_id", "created_at"),
        Index("generation_key", "key_id", "created_at", "charge"),
        Index("generation_free", "account_id", "created_at", **_where("charge = 0")),
        Index("generation_own", "key_id", "price_id", "created_at", **_where("own_key_id IS NOT NULL")),
        _options("billing"),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text)
    key_id: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    model: str = Field(sa_type=Text)
    provider: str | None = Field(default=None, sa_type=Text)
    endpoint: str | None = Field(default=None, sa_type=Text)
    price_id: str | None = Field(default=None, sa_type=Text)
    api_type: str = Field(sa_type=Text)
    streamed: int = Field(sa_type=Integer)
    outcome: str = Field(sa_type=Text)
    finish_reason: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("metadata"))
    native_finish_reason: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("metadata"))
    error_type: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("metadata"))
    upstream_id: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("metadata"))
    usage_source: str | None = Field(default=None, sa_type=Text)
    prompt: int = Field(default=0, sa_type=BIG)
    cached_prompt: int = Field(default=0, sa_type=BIG)
    cache_write: int = Field(default=0, sa_type=BIG)
    image: int = Field(default=0, sa_type=BIG)
    audio: int = Field(default=0, sa_type=BIG)
    completion: int = Field(default=0, sa_type=BIG)
    reasoning: int = Field(default=0, sa_type=BIG)
    audio_completion: int = Field(default=0, sa_type=BIG)
    held: int = Field(sa_type=BIG)
    total_pico: int = Field(default=0, sa_type=BIG)
    charge: int = Field(default=0, sa_type=BIG)
    remainder: int = Field(default=0, sa_type=BIG)
    shortfall: int = Field(default=0, sa_type=BIG)
    first_byte_ms: int | None = Field(default=None, sa_type=Integer, sa_column_kwargs=_as("metadata"))
    duration_ms: int = Field(sa_type=Integer, sa_column_kwargs=_as("metadata"))
    attempts: str = Field(default="[]", sa_type=Text, sa_column_kwargs=_as("metadata"))
    origin: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("attribution"))
    title: str | None = Field(default=None, sa_type=Text, sa_column_kwargs=_as("attribution"))
    own_key_id: str | None = Field(default=None, sa_type=Text)
