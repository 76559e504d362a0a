"""What an account lets be kept: its choice and the history of it, and prompts and answers under keys of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRICT = {"sqlite_strict": True}


def upgrade() -> None:
    op.create_table(
        "account_privacy",
        sa.Column("account_id", sa.Text(), sa.ForeignKey("account.id"), nullable=False, primary_key=True),
        sa.Column("version", BIG, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("updated_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "privacy_change",
        sa.Column("account_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("version", BIG, nullable=False, primary_key=True, autoincrement=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        **STRICT,
    )
    op.create_table(
        "content_key",
        sa.Column("account_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        **STRICT,
    )
    op.create_table(
        "content",
        sa.Column("generation_id", sa.Text(), nullable=False, primary_key=True),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("content_key_id", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("created_at", BIG, nullable=False),
        sa.Column("expires_at", BIG, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        **STRICT,
    )
    op.create_index("content_account", "content", ["account_id", "created_at", "generation_id"])
    op.create_index("content_expires", "content", ["expires_at"])
    op.add_column("key", sa.Column("logging", sa.Text(), nullable=True))
