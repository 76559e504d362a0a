"""Routing rules and limits of accounts, concurrency of keys, and customers' own provider keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    op.create_table(
        "account_rules",
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "account_limits",
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("updated_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "provider_key",
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("revoked_at", BIG, nullable=True),
        **STRICT,
    )
    op.create_index("provider_key_account", "provider_key", ["account_id"])
    op.add_column("key", sa.Column("concurrency", sa.Integer(), nullable=True))
    op.add_column("generation", sa.Column("own_key_id", sa.Text(), nullable=True))
