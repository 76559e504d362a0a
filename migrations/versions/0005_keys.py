"""Keys as clients know them over HTTP: their SHA-256, disabled or not, when they changed; indexes that hold what each has used."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("key", sa.Column("hash", sa.Text(), nullable=True))
    op.add_column("key", sa.Column("disabled_at", BIG, nullable=True))
    op.add_column("key", sa.Column("updated_at", BIG, nullable=True))
    op.create_index("key_hash", "key", ["hash"], unique=True)
    own = sa.text("own_key_id IS NOT NULL")
    op.create_index("generation_own", "generation", ["key_id", "price_id", "created_at"], postgresql_where=own, sqlite_where=own)
    op.drop_index("generation_key", "generation")
    op.create_index("generation_key", "generation", ["key_id", "created_at", "charge"])
