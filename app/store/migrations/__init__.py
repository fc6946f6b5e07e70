"""The history of the tables: brings a database of any age to what `tables` declares, when a cell first uses it.

Both groups of tables have a history and a version of their own, because SQLite keeps them in two files.

To change `tables`, add a file in `control/` or `sessions/` and set its revision in `HEADS`; a released file is never
edited. Cells of two releases share a database while a fleet is being upgraded, so a release only adds, and the release
after it removes. A test compares the files, `HEADS` and `tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from app.errors import StoreUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

Group = Literal["control", "sessions"]

HEADS: Mapping[Group, str] = {"control": "0003", "sessions": "0003"}
_LOCK = 0x63_66_64  # key of an advisory lock of PostgreSQL; every database has keys of its own


def upgrade(connection: Connection, group: Group, metadata: MetaData) -> None:
    """Bring the tables to what `metadata` declares, in this transaction; of several processes one works, others wait.

    Raises `StoreUnavailable` when a newer release made the tables.
    """
    if current(connection, group) == HEADS[group]:
        return
    lock(connection)
    version = current(connection, group)
    if version == HEADS[group]:
        return
    from alembic import command  # only when there is something to do: the import takes a tenth of a second
    from alembic.script import ScriptDirectory

    alembic = config(connection, group, metadata)
    known = {script.revision for script in ScriptDirectory.from_config(alembic).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"a newer release made the store: its {group} tables are at {version}, this release knows {HEADS[group]}"
        )
    command.upgrade(alembic, "head")


def current(connection: Connection, group: Group) -> str | None:
    """The revision of a group of tables; None: there are no tables yet."""
    if not inspect(connection).has_table(version_table(group)):
        return None
    table = Table(version_table(group), MetaData(), Column("version_num", String))
    return connection.scalar(select(table.c.version_num))


def version_table(group: Group) -> str:
    """Name of the table that holds the revision of a group."""
    return f"{group}_version"


def config(connection: Connection, group: Group, metadata: MetaData) -> Config:
    """Alembic's configuration for this connection and group."""
    from alembic.config import Config

    alembic = Config(attributes={"connection": connection, "group": group, "metadata": metadata})
    # By package, because a path may contain characters that have a meaning here.
    folder = __name__.replace(".migrations", ":migrations")
    alembic.set_main_option("script_location", folder)
    alembic.set_main_option("path_separator", "newline")
    alembic.set_main_option("version_locations", f"{folder}:{group}")
    return alembic


def lock(connection: Connection) -> None:
    """Keep other processes out until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        # The driver begins a transaction only at the first INSERT, so tables would be created outside of one.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
