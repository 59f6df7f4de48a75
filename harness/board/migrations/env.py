"""Alembic's way in: `board.store` hands it a connection that is in a transaction and holds the lock."""

from alembic import context

from harness.board.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
