"""People who sign in, the registers of requests and disclosures, what a key asks of providers, and usage added up per hour."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}
REQUIRED = "required"
COUNTED = (
    *("requests", "errors", "charge", "shortfall"),
    *("prompt", "cached_prompt", "cache_write", "image", "audio", "completion", "reasoning", "audio_completion"),
    *("first_byte_ms", "first_bytes", "duration_ms"),
)


def upgrade() -> None:
    op.add_column("key", _text("data_policy", None))
    op.add_column("key", _text("pepper", None))
    op.add_column("signed_checkpoint", _big("beside_seq", None))
    op.add_column("signed_checkpoint", _text("beside_hash", None))
    op.add_column("signed_checkpoint", _text("beside_signature", None))
    op.add_column("member", _text("person_id", None))
    op.create_index("member_person", "member", ["person_id"])
    _people()
    _sessions()
    _registers()
    _usage()


def _people() -> None:
    op.create_table(
        "person",
        _id(),
        _text("email"),
        _text("name", ""),
        _text("password", None),
        _big("verified_at", None),
        _text("totp", None),
        _big("totp_since", None),
        _big("totp_step", 0),
        _text("time_zone", "UTC"),
        _text("theme", "system"),
        sa.Column("operator", sa.Integer(), nullable=False, server_default="0"),
        _big("blocked_at", None),
        _big("created_at"),
        _big("updated_at"),
        sa.CheckConstraint("theme IN ('system', 'light', 'dark')", name="person_theme"),
        **STRICT,
    )
    op.create_index("person_email", "person", ["email"], unique=True)
    op.create_table(
        "passkey",
        _id(),
        _person(),
        _text("name"),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        _big("sign_count", 0),
        _big("created_at"),
        _big("used_at", None),
        **STRICT,
    )
    op.create_index("passkey_person", "passkey", ["person_id"])
    op.create_table("identity", _id("issuer"), _id("subject"), _person(), _big("created_at"), **STRICT)
    op.create_index("identity_person", "identity", ["person_id"])
    op.create_table(
        "mail_consent", _id(), _person(), sa.Column("given", sa.Integer(), nullable=False), _text("source"), _big("at"), **STRICT
    )
    op.create_index("mail_consent_person", "mail_consent", ["person_id", "at"])
    account = sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True)
    op.create_table("account_profile", account, _text("name"), _big("updated_at"), **STRICT)


def _sessions() -> None:
    op.create_table(
        "session",
        _id("digest"),
        _person(),
        _text("account_id", None),
        _text("agent"),
        _big("created_at"),
        _big("seen_at"),
        _big("confirmed_at"),
        _big("expires_at"),
        **STRICT,
    )
    op.create_index("session_person", "session", ["person_id"])
    op.create_index("session_expires", "session", ["expires_at"])
    op.create_table(
        "link",
        _id("digest"),
        _text("id"),
        _text("purpose"),
        _text("email"),
        _text("person_id", None),
        _text("account_id", None),
        _text("role", None),
        _text("invited_by", None),
        _big("created_at"),
        _big("expires_at"),
        _big("used_at", None),
        sa.CheckConstraint("purpose IN ('verify', 'reset', 'invite', 'email', 'sign_in')", name="link_purpose"),
        **STRICT,
    )
    op.create_index("link_account", "link", ["account_id"])
    op.create_index("link_email", "link", ["email"])
    op.create_index("link_person", "link", ["person_id"])
    op.create_index("link_expires", "link", ["expires_at"])
    op.create_table(
        "sign_in_failure",
        _id("mac"),
        sa.Column("count", sa.Integer(), nullable=False),
        _big("first_at"),
        _big("blocked_until"),
        **STRICT,
    )


def _registers() -> None:
    op.create_table(
        "rights_request",
        _id(),
        _text("account_id", None),
        _text("kind"),
        _text("law"),
        _text("note", ""),
        _big("opened_at"),
        _big("due_at"),
        _big("alerted_at", None),
        _big("closed_at", None),
        _text("outcome", None),
        sa.CheckConstraint("kind IN ('access', 'portability', 'correction', 'deletion', 'objection', 'other')", name="rights_request_kind"),
        sa.CheckConstraint("law IN ('gdpr', 'ccpa')", name="rights_request_law"),
        **STRICT,
    )
    still = sa.text("closed_at IS NULL")
    op.create_index("rights_request_due", "rights_request", ["due_at"], sqlite_where=still, postgresql_where=still)
    op.create_table(
        "disclosure",
        _id(),
        _text("account_id", None),
        _text("recipient"),
        _text("basis"),
        _text("categories"),
        _text("note", ""),
        _big("disclosed_at"),
        _big("created_at"),
        **STRICT,
    )
    op.create_index("disclosure_account", "disclosure", ["account_id"])


def _usage() -> None:
    for table, begins in (("usage_hour", "hour"), ("usage_day", "day")):
        op.create_table(
            table,
            _id("account_id"),
            sa.Column(begins, BIG, nullable=False, primary_key=True, autoincrement=False),
            *(_id(name) for name in ("model", "provider", "key_id", "origin")),
            *(_big(name, 0) for name in COUNTED),
            sqlite_with_rowid=False,
            **STRICT,
        )
    op.create_table("usage_mark", _id("account_id"), _big("seq", 0), _big("until", 0), **STRICT)
    op.create_index(
        "generation_free", "generation", ["account_id", "created_at"],
        sqlite_where=sa.text("charge = 0"), postgresql_where=sa.text("charge = 0"),
    )  # fmt: skip
    other = sa.text("leg = 0 AND kind <> 'charge'")
    op.create_index("entry_other", "entry", ["account_id", "at"], sqlite_where=other, postgresql_where=other)


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, primary_key=True)


def _person() -> sa.Column[str]:
    return sa.Column("person_id", sa.Text(), sa.ForeignKey("person.id"), nullable=False)


def _text(name: str, default: str | None = REQUIRED) -> sa.Column[str]:
    """Required; with a default, or None for a column that may be empty, it is not."""
    if default == REQUIRED:
        return sa.Column(name, sa.Text(), nullable=False)
    return sa.Column(name, sa.Text(), nullable=default is None, server_default=default)


def _big(name: str, default: int | None = -1) -> sa.Column[int]:
    """As `_text`."""
    if default == -1:
        return sa.Column(name, BIG, nullable=False)
    return sa.Column(name, BIG, nullable=default is None, server_default=None if default is None else str(default))
