"""The history of the tables: brings a database of any age to what `tables` says, when a cell first uses it.

Both groups of tables have a history and a version of their own, because SQLite keeps them in two files.

A change of `tables` is a new file in `control/` or `sessions/` and its revision in `HEADS`; a released file is never
edited. Cells of two releases share a database while a fleet is being upgraded, so a release adds, and only the one
after it removes. A test holds the files, `HEADS` and `tables` together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from app.errors import StoreUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

Group = Literal["control", "sessions"]

HEADS: Mapping[Group, str] = {"control": "0003", "sessions": "0002"}
_LOCK = 0x63_66_64  # of PostgreSQL's advisory locks, which are a database's own


def upgrade(connection: Connection, group: Group, metadata: MetaData) -> None:
    """Bring the tables to what `metadata` says, in this transaction; of several processes one does it, the others wait.

    Raises `StoreUnavailable` when a newer release made the tables.
    """
    if current(connection, group) == HEADS[group]:
        return
    _lock(connection)
    version = current(connection, group)
    if version == HEADS[group]:
        return
    from alembic import command  # imported by the first start only: it takes a tenth of a second
    from alembic.script import ScriptDirectory

    found = config(connection, group, metadata)
    known = {script.revision for script in ScriptDirectory.from_config(found).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailable(
            f"the store was made by a newer release: {group} is at {version}, known is {HEADS[group]}"
        )
    command.upgrade(found, "head")


def current(connection: Connection, group: Group) -> str | None:
    """The revision of a group of tables; None: there are none."""
    if not inspect(connection).has_table(version_table(group)):
        return None
    table = Table(version_table(group), MetaData(), Column("version_num", String))
    return connection.scalar(select(table.c.version_num))


def version_table(group: Group) -> str:
    """Where the revision of a group is kept."""
    return f"{group}_version"


def config(connection: Connection, group: Group, metadata: MetaData) -> Config:
    """What Alembic's commands need to work on this connection."""
    from alembic.config import Config

    made = Config(attributes={"connection": connection, "group": group, "metadata": metadata})
    # By package, because a path may have signs in it that mean something here.
    folder = __name__.replace(".migrations", ":migrations")
    made.set_main_option("script_location", folder)
    made.set_main_option("path_separator", "newline")
    made.set_main_option("version_locations", f"{folder}:{group}")
    return made


def _lock(connection: Connection) -> None:
    """Until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        # The driver begins a transaction at the first INSERT only, so tables would be made outside of any.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
