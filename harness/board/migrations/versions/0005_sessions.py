"""Sessions in which the time of judged entries is taken again; boards of before have none, and stand as they stood."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FIGURES = ("ratio", "ratio_low", "ratio_high", "latency_ms", "latency_low_ms", "latency_high_ms")


def upgrade() -> None:
    """Add the table, and the column that says which session counts."""
    verdict = sa.ForeignKey("verdicts.id", name="fk_sessions_verdict_id")
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("verdict_id", sa.Integer, verdict, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("begun", sa.Double, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_s", sa.Double),
        sa.Column("lease_until", sa.Double),
        sa.Column("warned", sa.Boolean, nullable=False),
        sa.Column("timed", sa.Integer),
        sa.Column("pooled", sa.JSON),
        *(sa.Column(name, sa.Double) for name in FIGURES),
        *(sa.Column(name, sa.JSON) for name in ("checks", "samples", "machine")),
        sa.Column("created", sa.String(32)),
        sa.Column("seconds", sa.Double),
    )
    op.create_index("ix_sessions_verdict_id", "sessions", ["verdict_id"])
    op.create_index("ix_sessions_lease", "sessions", ["state", "lease_until"])
    op.add_column("entries", sa.Column("session_id", sa.Integer))


def downgrade() -> None:
    """Refuse: ranks would be those of single measurements again."""
    raise NotImplementedError("an older harness reads the backup that was made before the upgrade")
