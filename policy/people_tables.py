"""The tables of people who sign in: who they are, how they prove it, where they are signed in, and which mails they want.

A person is found by address; as a member of an account (`policy/tables.py`) they have a role there. Times are Unix milliseconds. Secrets
are only here as hashes or sealed. Retention category in `info`, as in `policy/tables.py`; `session` rows end within 30 days.
"""

from typing import Any

from sqlalchemy import CheckConstraint, Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

from metering.tables import BIG


def _options(retention: str) -> dict[str, Any]:
    return {"sqlite_strict": True, "info": {"retention": retention}}


class Person(SQLModel, table=True):
    """Somebody who signs in. `email` is in lower case; `password` an Argon2id hash, None for those who come by single sign-on.

    `totp` is the sealed secret of the one-time passwords, in force since `totp_since`; of a step at most `totp_step` nothing is
    accepted again. A person who is `blocked_at` cannot sign in. `operator` people run this installation.
    """

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("theme IN ('system', 'light', 'dark')", name="person_theme"),
        Index("person_email", "email", unique=True),
        _options("profile"),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    email: str = Field(sa_type=Text)
    name: str = Field(default="", sa_type=Text)
    password: str | None = Field(default=None, sa_type=Text)
    verified_at: int | None = Field(default=None, sa_type=BIG)
    totp: str | None = Field(default=None, sa_type=Text)
    totp_since: int | None = Field(default=None, sa_type=BIG)
    totp_step: int = Field(default=0, sa_type=BIG)
    time_zone: str = Field(default="UTC", sa_type=Text)
    theme: str = Field(default="system", sa_type=Text)
    operator: int = Field(default=0, sa_type=Integer)
    blocked_at: int | None = Field(default=None, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
    updated_at: int = Field(sa_type=BIG)


class Passkey(SQLModel, table=True):
    """A WebAuthn credential: `id` as the browser names it (base64url), the public key in COSE form."""

    __tablename__ = "passkey"
    __table_args__ = (Index("passkey_person", "person_id"), _options("profile"))
    id: str = Field(primary_key=True, sa_type=Text)
    person_id: str = Field(sa_type=Text, foreign_key="person.id")
    name: str = Field(sa_type=Text)
    public_key: bytes = Field(sa_type=LargeBinary)
    sign_count: int = Field(default=0, sa_type=BIG)
    created_at: int = Field(sa_type=BIG)
    used_at: int | None = Field(default=None, sa_type=BIG)


class Identity(SQLModel, table=True):
    """Who a person is at an issuer of single sign-on: bound by issuer and subject, never by address alone."""

    __tablename__ = "identity"
    __table_args__ = (Index("identity_person", "person_id"), _options("profile"))
    issuer: str = Field(primary_key=True, sa_type=Text)
    subject: str = Field(primary_key=True, sa_type=Text)
    person_id: str = Field(sa_type=Text, foreign_key="person.id")
    created_at: int = Field(sa_type=BIG)


class SignedIn(SQLModel, table=True):
    """A session: `digest` is the SHA-256 of the cookie's token. `account_id` is the account that is looked at.

    `confirmed_at`: when the person last proved who they are; `agent` is a browser and a system in our words, never the header.
    """

    __tablename__ = "session"
    __table_args__ = (Index("session_person", "person_id"), Index("session_expires", "expires_at"), _options("session"))
    digest: str = Field(primary_key=True, sa_type=Text)
    person_id: str = Field(sa_type=Text, foreign_key="person.id")
    account_id: str | None = Field(default=None, sa_type=Text)
    agent: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    seen_at: int = Field(sa_type=BIG)
    confirmed_at: int = Field(sa_type=BIG)
    expires_at: int = Field(sa_type=BIG)


class Link(SQLModel, table=True):
    """A link that was mailed or printed, good once and until `expires_at`: `digest` is the SHA-256 of its token.

    `account_id` and `role` are those of an invitation, `invited_by` the person who sent it.
    """

    __tablename__ = "link"
    __table_args__ = (
        CheckConstraint("purpose IN ('verify', 'reset', 'invite', 'email', 'sign_in')", name="link_purpose"),
        Index("link_account", "account_id"),
        Index("link_email", "email"),
        Index("link_person", "person_id"),
        Index("link_expires", "expires_at"),
        _options("session"),
    )
    digest: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    email: str = Field(sa_type=Text)
    person_id: str | None = Field(default=None, sa_type=Text)
    account_id: str | None = Field(default=None, sa_type=Text)
    role: str | None = Field(default=None, sa_type=Text)
    invited_by: str | None = Field(default=None, sa_type=Text)
    created_at: int = Field(sa_type=BIG)
    expires_at: int = Field(sa_type=BIG)
    used_at: int | None = Field(default=None, sa_type=BIG)


class SignInFailure(SQLModel, table=True):
    """How often signing in failed lately: `mac` is an HMAC of an address or of a network address, which cannot be read back."""

    __tablename__ = "sign_in_failure"
    __table_args__ = (_options("session"),)
    mac: str = Field(primary_key=True, sa_type=Text)
    count: int = Field(sa_type=Integer)
    first_at: int = Field(sa_type=BIG)
    blocked_until: int = Field(sa_type=BIG)


class MailConsent(SQLModel, table=True):
    """A yes or a no to mails that nobody needs: when, and where it was said. The newest row of a person counts; rows are only added."""

    __tablename__ = "mail_consent"
    __table_args__ = (Index("mail_consent_person", "person_id", "at"), _options("profile"))
    id: str = Field(primary_key=True, sa_type=Text)
    person_id: str = Field(sa_type=Text, foreign_key="person.id")
    given: int = Field(sa_type=Integer)
    source: str = Field(sa_type=Text)
    at: int = Field(sa_type=BIG)


class AccountProfile(SQLModel, table=True):
    """What an account is called by its people."""

    __tablename__ = "account_profile"
    __table_args__ = (_options("profile"),)
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="account.id")
    name: str = Field(sa_type=Text)
    updated_at: int = Field(sa_type=BIG)
