"""What became of retention, who changed what (append-only, chained), and accounts that are suspended, closing or purged."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    op.create_table(
        "retention_mark",
        sa.Column("category", sa.Text(), nullable=False, primary_key=True),
        sa.Column("until", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "audit",
        sa.Column("seq", BIG, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("change", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        **STRICT,
    )
    op.create_index("audit_at", "audit", ["at"])
    op.create_index("audit_account", "audit", ["account_id", "at"])
    op.create_table(
        "account_state",
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("due_at", BIG, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('suspended', 'closing', 'purged')", name="account_state_state"),
        **STRICT,
    )
    op.create_index("account_state_due", "account_state", ["due_at"], sqlite_where=_DUE, postgresql_where=_DUE)
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END")
        return
    op.execute(
        """CREATE FUNCTION audit_fixed() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit rows are never changed'; END $$"""
    )
    op.execute("CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_fixed()")


_DUE = sa.text("due_at IS NOT NULL")
