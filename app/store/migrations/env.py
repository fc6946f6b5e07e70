"""What Alembic runs before the migrations of one group: on the connection it is given, in that one's transaction.

Alembic loads it by its path; nothing imports it.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import MetaData

from app.store.migrations import Group, version_table

group: Group = context.config.attributes["group"]
metadata: MetaData = context.config.attributes["metadata"]


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """PostgreSQL has both groups in one database, and perhaps tables of others."""
    return kind != "table" or name in metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=version_table(group),
    include_name=is_ours,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
