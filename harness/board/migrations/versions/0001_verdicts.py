"""Entries and the verdicts on them: the schema of harness 0.1, made there without Alembic."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "entries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("competition", sa.String(16), nullable=False, index=True),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("data_name", sa.String(255), nullable=False),
        sa.Column("data_fingerprint", sa.String(64), nullable=False, index=True),
        sa.Column("name", sa.String(64), nullable=False, index=True),
        sa.Column("team", sa.String(255)),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("entry_id", sa.Integer, sa.ForeignKey("entries.id"), nullable=False, index=True),
        sa.Column("formula", sa.String(64), nullable=False),
        sa.Column("points", sa.Double),
        *(
            sa.Column(name, sa.Double, nullable=False)
            for name in ("f1", "ratio", "ratio_low", "ratio_high", "latency_ms", "latency_low_ms", "latency_high_ms")
        ),
        sa.Column("macs", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("agreement", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("samples", sa.JSON, nullable=False),
        sa.Column("machine", sa.JSON, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("verdicts")
    op.drop_table("entries")
