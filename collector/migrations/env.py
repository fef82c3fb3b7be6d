"""Alembic's entry: runs the versions on the connection that `migrate` hands over, inside its transaction."""

from alembic import context

from gputally.collector.database.schema_month import metadata  # which knows every table

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
