"""What several cells need of a shared store: leases by the store's clock, and a register of the cells."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from app.store import tables
from app.store.dialects import database_now, insert_new, replace
from app.store.ended import EndedRows
from app.store.port import StoredCell


class FleetStore(EndedRows):
    """Implements the leases and the register of `port.Store`."""

    # -- leases ---------------------------------------------------------------------------------------------------

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        table, now = tables.leases, database_now()
        free = (table.c.holder == holder) | (table.c.expires_at <= now)
        take = update(table).where(table.c.name == name, free).values(holder=holder, expires_at=now + ttl_s)
        async with self.begin(self.fleet) as connection:
            if (await connection.execute(take)).rowcount == 1:
                return True
            # A lease that does not exist yet is inserted as expired and then taken like any other.
            await insert_new(connection, table, {"name": name, "holder": "", "expires_at": 0.0})
            return (await connection.execute(take)).rowcount == 1

    async def release_lease(self, name: str, holder: str) -> None:
        table = tables.leases
        async with self.begin(self.fleet) as connection:
            await connection.execute(delete(table).where(table.c.name == name, table.c.holder == holder))

    async def load_lease(self, name: str) -> str | None:
        table = tables.leases
        query = select(table.c.holder).where(table.c.name == name, table.c.expires_at > database_now())
        async with self.begin(self.fleet) as connection:
            holder: str | None = await connection.scalar(query)
        return holder

    # -- cells ----------------------------------------------------------------------------------------------------

    async def save_cell(self, cell: StoredCell) -> None:
        row = {"name": cell.name, "host": cell.host, "revision": cell.revision, "report": cell.report}
        async with self.begin(self.fleet) as connection:
            now = await connection.scalar(select(database_now()))
            await replace(connection, tables.cells, [{**row, "seen_at": now}])

    async def load_cells(self) -> Sequence[StoredCell]:
        table = tables.cells
        silent = (database_now() - table.c.seen_at).label("silent_s")
        query = select(table.c.name, table.c.host, table.c.revision, table.c.report, silent).order_by(table.c.name)
        async with self.begin(self.fleet) as connection:
            rows = (await connection.execute(query)).all()
        return [StoredCell(row.name, row.host, row.revision, row.report, max(0.0, row.silent_s)) for row in rows]

    async def remove_cell(self, name: str) -> None:
        async with self.begin(self.fleet) as connection:
            await connection.execute(delete(tables.cells).where(tables.cells.c.name == name))
