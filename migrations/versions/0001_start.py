"""The first tables: accounts, holds, entries, generations, members and keys; entries can only be added."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}

APPEND_ONLY_SQLITE = """CREATE TRIGGER entry_no_{verb} BEFORE {verb} ON entry
    BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END"""
APPEND_ONLY_POSTGRES = """CREATE FUNCTION entry_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'entries are only ever added'; END $$"""


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("posted", BIG, nullable=False),
        sa.Column("held", BIG, nullable=False),
        sa.Column("overdraft", BIG, nullable=False),
        sa.Column("reset", sa.Text(), nullable=True),
        sa.Column("period_start", BIG, nullable=True),
        sa.Column("period_end", BIG, nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint("held >= 0", name="account_held"),
        sa.CheckConstraint("kind IN ('prepaid', 'limit')", name="account_kind"),
        sa.CheckConstraint("kind <> 'prepaid' OR posted - held + overdraft >= 0", name="account_never_below_zero"),
        sa.CheckConstraint("reset IS NULL OR reset IN ('daily', 'weekly', 'monthly')", name="account_reset"),
        **STRICT,
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "boot",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("started_at", BIG, nullable=False),
        sa.Column("heartbeat_at", BIG, nullable=False),
        sa.Column("fenced", sa.Integer(), nullable=False),
        **STRICT,
    )
    op.create_table(
        "entry",
        sa.Column("transaction_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("leg", sa.Integer(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("amount", BIG, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", BIG, nullable=False),
        **STRICT,
        sqlite_with_rowid=False,
    )
    op.create_index("entry_account", "entry", ["account_id", "at"])
    op.create_table(
        "generation",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("price_id", sa.Text(), nullable=True),
        sa.Column("api_type", sa.Text(), nullable=False),
        sa.Column("streamed", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("native_finish_reason", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.Column("usage_source", sa.Text(), nullable=True),
        sa.Column("prompt", BIG, nullable=False),
        sa.Column("cached_prompt", BIG, nullable=False),
        sa.Column("cache_write", BIG, nullable=False),
        sa.Column("image", BIG, nullable=False),
        sa.Column("audio", BIG, nullable=False),
        sa.Column("completion", BIG, nullable=False),
        sa.Column("reasoning", BIG, nullable=False),
        sa.Column("audio_completion", BIG, nullable=False),
        sa.Column("held", BIG, nullable=False),
        sa.Column("total_pico", BIG, nullable=False),
        sa.Column("charge", BIG, nullable=False),
        sa.Column("remainder", BIG, nullable=False),
        sa.Column("shortfall", BIG, nullable=False),
        sa.Column("first_byte_ms", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        **STRICT,
    )
    op.create_index("generation_account", "generation", ["account_id", "created_at"])
    op.create_index("generation_key", "generation", ["key_id", "created_at"])
    op.create_table(
        "price_version",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("rates", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("amount", BIG, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("charge", BIG, nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("closed_at", BIG, nullable=True),
        sa.CheckConstraint("charge >= 0 AND charge <= amount", name="hold_charge"),
        sa.CheckConstraint("state IN (0, 1, 2, 3)", name="hold_state"),
        **STRICT,
        sqlite_with_rowid=False,
    )
    op.create_index("hold_open", "hold", ["boot_id"], postgresql_where=sa.text("state = 0"), sqlite_where=sa.text("state = 0"))
    op.create_table(
        "key",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("limit_id", sa.Text(), sa.ForeignKey("account.id"), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("expires_at", BIG, nullable=True),
        sa.Column("revoked_at", BIG, nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint("kind IN ('owner', 'inference', 'management')", name="key_kind"),
        **STRICT,
    )
    op.create_index("key_digest", "key", ["digest"], unique=True)
    op.create_index("key_account", "key", ["account_id"])
    op.create_table(
        "member",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint("role IN ('owner')", name="member_role"),
        **STRICT,
    )
    op.create_index("member_email", "member", ["email"])
    _make_entries_append_only()


def _make_entries_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(APPEND_ONLY_SQLITE.format(verb=verb))
        return
    op.execute(APPEND_ONLY_POSTGRES)
    op.execute("CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION entry_append_only()")
