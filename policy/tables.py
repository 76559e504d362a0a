"""The tables of who may call: members (people) and their API keys. Times are Unix milliseconds.

Retention category in `info`, as in `metering/tables.py`: `profile` rows live as long as the account, `credential` rows until they are
revoked and the generations that name them are gone, `billing` rows as long as the books, `idempotency` rows for 24 hours.
"""

from sqlalchemy import CheckConstraint, Index, Integer, Text
from sqlmodel import Field, SQLModel

from metering.tables import BIG

ROLES = ("owner", "admin", "developer", "billing", "viewer")


class Member(SQLModel, table=True):
    """A person of an account, in one of `ROLES`. The one who opened it is its owner. `person_id`: who signs in as it."""

    __tablename__ = "member"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'developer', 'billing', 'viewer')", name="member_role"),
        Index("member_email", "email"),
        Index("member_person", "person_id"),
        {"sqlite_strict": True, "info": {"retention": "profile"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    email: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    person_id: str | None = Field(default=None, sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class Key(SQLModel, table=True):
    """An API key: its HMAC, never the key. `owner` keys may do everything, `inference` keys call models, `management` keys do the rest.

    `hash` is the key's plain SHA-256, under which clients know it: at 238 random bits nothing can be guessed from it. Keys that are
    older than the column have none and are known by their id. A key with `disabled_at` may be enabled again, a revoked one never.
    `data_policy` is JSON of what this key asks of providers beyond its account (`data_collection`, `zdr`, `region`). `pepper` names the
    pepper that `digest` is under, None where nobody has looked since the column came.
    """

    __tablename__ = "key"
    __table_args__ = (
        CheckConstraint("kind IN ('owner', 'inference', 'management')", name="key_kind"),
        Index("key_digest", "digest", unique=True),
        Index("key_hash", "hash", unique=True),
        Index("key_account", "account_id"),
        {"sqlite_strict": True, "info": {"retention": "credential"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    hash: str | None = Field(default=None, sa_type=Text)
    label: str = Field(sa_type=Text)
    limit_id: str | None = Field(default=None, sa_type=Text, foreign_key="account.id")
    member_id: str | None = Field(default=None, sa_type=Text)
    project_id: str | None = Field(default=None, sa_type=Text)
    requests_per_minute: int | None = Field(default=None, sa_type=Integer)
    tokens_per_minute: int | None = Field(default=None, sa_type=Integer)
    concurrency: int | None = Field(default=None, sa_type=Integer)
    expires_at: int | None = Field(default=None, sa_type=BIG)
    logging: str | None = Field(default=None, sa_type=Text)
    data_policy: str | None = Field(default=None, sa_type=Text)
    pepper: str | None = Field(default=None, sa_type=Text)
    disabled_at: int | None = Field(default=None, sa_type=BIG)
    revoked_at: int | None = Field(default=None, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
    updated_at: int | None = Field(default=None, sa_type=BIG)


class Project(SQLModel, table=True):
    """A name under which keys are grouped, so that they can share a budget."""

    __tablename__ = "project"
    __table_args__ = (
        Index("project_name", "account_id", "name", unique=True),
        {"sqlite_strict": True, "info": {"retention": "profile"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    name: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class Budget(SQLModel, table=True):
    """Whose spending a limit of the ledger bounds: a whole account's, a project's, a member's or a key's (`subject_id`)."""

    __tablename__ = "budget"
    __table_args__ = (
        CheckConstraint("scope IN ('account', 'project', 'member', 'key')", name="budget_scope"),
        Index("budget_subject", "subject_id"),
        {"sqlite_strict": True, "info": {"retention": "billing"}},
    )
    limit_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    scope: str = Field(sa_type=Text)
    subject_id: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class IdempotencyClaim(SQLModel, table=True):
    """An Idempotency-Key in use: only HMACs of it and of the body, under a secret of the account. Older than 24 hours it is free again."""

    __tablename__ = "idempotency_claim"
    __table_args__ = (
        Index("idempotency_claim_created", "created_at"),
        {"sqlite_strict": True, "info": {"retention": "idempotency"}},
    )
    account_id: str = Field(primary_key=True, sa_type=Text)
    key_mac: str = Field(primary_key=True, sa_type=Text)
    body_mac: str = Field(sa_type=Text)
    generation_id: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)


class AccountRules(SQLModel, table=True):
    """What the owner of an account has set for its routes: one JSON document (`policy/rules.py` reads it)."""

    __tablename__ = "account_rules"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "profile"}},)
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    rules: str = Field(sa_type=Text)
    updated_at: int = Field(sa_type=BIG)


class AccountLimits(SQLModel, table=True):
    """What all keys of an account may do together; None = no limit."""

    __tablename__ = "account_limits"
    __table_args__ = ({"sqlite_strict": True, "info": {"retention": "profile"}},)
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    requests_per_minute: int | None = Field(default=None, sa_type=Integer)
    tokens_per_minute: int | None = Field(default=None, sa_type=Integer)
    concurrency: int | None = Field(default=None, sa_type=Integer)
    updated_at: int = Field(sa_type=BIG)


class ProviderKey(SQLModel, table=True):
    """A customer's own key at a provider: `sealed` is its ciphertext, `label` what may be shown of it."""

    __tablename__ = "provider_key"
    __table_args__ = (
        Index("provider_key_account", "account_id"),
        {"sqlite_strict": True, "info": {"retention": "credential"}},
    )
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="account.id")
    provider: str = Field(sa_type=Text)
    label: str = Field(sa_type=Text)
    sealed: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    revoked_at: int | None = Field(default=None, sa_type=BIG)
