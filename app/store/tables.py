"""The tables, with types that both SQLite and PostgreSQL have. A change here needs a migration.

There are two groups, in two files on SQLite, because a file's change counter must mean "the control record changed":
`control` is what people decide, `sessions` what sessions and cells leave behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text

from app.store.migrations import Group

control = MetaData()
sessions = MetaData()

rollout = Table(
    "rollout",
    control,
    Column("name", String(200), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("record", Text, nullable=False),
)

audit = Table(
    "audit",
    control,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("source", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("figures", Text, nullable=False),
    # Otherwise SQLite reuses the id of a deleted last row; ids of the audit are never used twice.
    sqlite_autoincrement=True,
)

rollbacks = Table(
    "rollbacks",
    control,
    Column("id", String(64), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("receipt", Text, nullable=False),
)

pins = Table(
    "pins",
    control,
    Column("user_id", Text, primary_key=True),
    Column("path", String(2), nullable=False),
)

tokens = Table(
    "tokens",
    control,
    Column("digest", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

resumes = Table(
    "resumes",
    sessions,
    Column("digest", String(64), primary_key=True),
    Column("document", LargeBinary),
    Column("outcomes", LargeBinary, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("holder", String(200), nullable=False, server_default=""),
    # The cell from which the holder has claimed it, until that has given it up; NULL: nobody.
    Column("previous", String(200)),
    Index("resumes_expire", "expires_at"),
    Index("resumes_wanted", "previous"),
)

# Among the sessions, because it is written every few seconds and losing its end costs only the tail of a chart.
series = Table(
    "series",
    sessions,
    Column("cell", String(200), primary_key=True),
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

leases = Table(
    "leases",
    sessions,
    Column("name", String(200), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
)

cells = Table(
    "cells",
    sessions,
    Column("name", String(200), primary_key=True),
    Column("host", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("report", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
)

METADATA: Mapping[Group, MetaData] = {"control": control, "sessions": sessions}
"""The tables of each group as its migrations must leave them."""
