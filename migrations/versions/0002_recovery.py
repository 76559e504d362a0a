"""What recovery needs: the last checkpoint of an open hold. On Postgres, entries cannot be truncated either."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hold", sa.Column("progress", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":  # row triggers do not see a TRUNCATE
        op.execute("CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION entry_append_only()")
