"""How does alembic reach the database? Over the connection, and in the transaction, that it is given."""

from alembic import context

from infra.migrations import TABLE

context.configure(connection=context.config.attributes["connection"], version_table=TABLE)
context.run_migrations()
