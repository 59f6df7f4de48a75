"""What the organiser tells the teams: a description with a data link, and announcements; boards of before have none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the two tables."""
    of_description = sa.ForeignKey("competitions.id", name="fk_descriptions_competition_id")
    op.create_table(
        "descriptions",
        sa.Column("competition_id", sa.Integer, of_description, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("data_url", sa.Text, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
    )
    of_announcement = sa.ForeignKey("competitions.id", name="fk_announcements_competition_id")
    op.create_table(
        "announcements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("competition_id", sa.Integer, of_announcement, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_index("ix_announcements_competition_id", "announcements", ["competition_id"])


def downgrade() -> None:
    """Refuse: what the teams were told would be gone."""
    raise NotImplementedError("an older harness reads the backup that was made before the upgrade")
