"""Where Alembic enters: it hands over a connection that is already in a transaction.

The schema is changed through `trisignal db migrate` only, so there is no `alembic.ini`, no offline
mode, and no logging of Alembic's own to configure.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
