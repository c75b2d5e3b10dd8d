"""Alembic's entry point: it migrates over the connection that `storage.migrate` hands it."""

from alembic import context

from orchestrator.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
