"""What recovery needs: the last checkpoint of an open hold, and a lock by which it is known that a boot is alive."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hold", sa.Column("progress", sa.Text(), nullable=True))
