"""What Alembic runs for every command: the steps, on the connection and in the transaction that the runner
opened.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()


_run(context.config.attributes["connection"])
