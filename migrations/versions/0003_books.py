"""Credits, budgets of members and projects, idempotency claims, and the sealed chain of entries with its signed checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}
ROLES = "role IN ('owner', 'admin', 'developer', 'billing', 'viewer')"
CUSTOMERS_LEG = sa.text("leg = 0")
EXPIRING = sa.text("remaining > 0 AND expires_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "credit",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("refundable", sa.Integer(), nullable=False),
        sa.Column("amount", BIG, nullable=False),
        sa.Column("remaining", BIG, nullable=False),
        sa.Column("expires_at", BIG, nullable=True),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint("kind IN ('paid', 'promotional')", name="credit_kind"),
        sa.CheckConstraint("remaining >= 0 AND remaining <= amount", name="credit_remaining"),
        sa.CheckConstraint("refundable = 0 OR kind = 'paid'", name="credit_refundable"),
        **STRICT,
    )
    op.create_index("credit_account", "credit", ["account_id"])
    op.create_index("credit_expiring", "credit", ["expires_at"], postgresql_where=EXPIRING, sqlite_where=EXPIRING)
    op.execute(
        """INSERT INTO credit (id, account_id, kind, refundable, amount, remaining, created_at)
        SELECT 'opening_' || id, id, 'paid', 1, posted, posted, created_at FROM account WHERE kind = 'prepaid'
        AND (posted > 0 OR (posted = 0 AND EXISTS (SELECT 1 FROM entry WHERE entry.account_id = account.id)))"""
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_index("project_name", "project", ["account_id", "name"], unique=True)
    op.create_table(
        "budget",
        sa.Column("limit_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint("scope IN ('account', 'project', 'member', 'key')", name="budget_scope"),
        **STRICT,
    )
    op.create_index("budget_subject", "budget", ["subject_id"])
    op.create_table(
        "idempotency_claim",
        sa.Column("account_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("key_mac", sa.Text(), nullable=False, primary_key=True),
        sa.Column("body_mac", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_index("idempotency_claim_created", "idempotency_claim", ["created_at"])
    op.create_table(
        "seal",
        sa.Column("account_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("seq", BIG, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("sealed_at", BIG, nullable=False),
        **STRICT,
        sqlite_with_rowid=False,
    )
    op.create_index("seal_transaction", "seal", ["transaction_id"], unique=True)
    op.create_index("seal_moment", "seal", ["account_id", "sealed_at", "seq"])
    op.create_index("entry_at", "entry", ["at"], postgresql_where=CUSTOMERS_LEG, sqlite_where=CUSTOMERS_LEG)
    op.create_table(
        "signed_checkpoint",
        sa.Column("day", sa.Text(), nullable=False, primary_key=True),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        **STRICT,
    )
    for name in ("member_id", "project_id"):
        op.add_column("key", sa.Column(name, sa.Text(), nullable=True))
    _widen_roles()


def _widen_roles() -> None:
    """SQLite cannot change a CHECK: there the table is made anew."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("member_role", "member")
        op.create_check_constraint("member_role", "member", ROLES)
        return
    op.create_table(
        "member_new",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.CheckConstraint(ROLES, name="member_role"),
        **STRICT,
    )
    op.execute("INSERT INTO member_new SELECT id, account_id, email, role, created_at FROM member")
    op.drop_table("member")
    op.rename_table("member_new", "member")
    op.create_index("member_email", "member", ["email"])
