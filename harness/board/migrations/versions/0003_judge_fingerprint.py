"""What the judge alone holds of the data has a fingerprint of its own; of earlier competitions it is the only one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; null says that data_fingerprint is the judge's."""
    op.add_column("competitions", sa.Column("judge_fingerprint", sa.String(64)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("competitions", "judge_fingerprint")
