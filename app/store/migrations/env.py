"""Runs the migrations of one group on the connection that Alembic is given, in that connection's transaction.

Alembic loads this file by its path; nothing imports it.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import MetaData

from app.store.migrations import Group, version_table

group: Group = context.config.attributes["group"]
metadata: MetaData = context.config.attributes["metadata"]


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether an object belongs to this group: on PostgreSQL the other group's and foreign tables are there too."""
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
