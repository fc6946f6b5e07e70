"""Giving up a cell over the API: who may, when it is refused, and what the audit and a receipt say about it."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from app.store import tables
from app.store.port import StoredCell
from tests.api.service import Service

FAR = "c@far.example:8000"
ADDRESS = f"/api/cells/{FAR}"
WHY = {"reason": "its disk is gone"}


async def register(service: Service, silent_s: float) -> None:
    """A cell of another host that was heard so long ago."""
    store = service.world.store
    await store.save_cell(StoredCell(FAR, "far.example:8000", 0, "{}"))
    async with store.begin(store.sessions) as connection:
        await connection.execute(update(tables.cells).values(seen_at=tables.cells.c.seen_at - silent_s))


async def registered(service: Service) -> list[str]:
    return [cell.name for cell in await service.world.store.load_cells()]


async def test_a_silent_cell_is_given_up_and_the_audit_says_by_whom_and_why(service: Service) -> None:
    await register(service, 31)
    answer = await service.client.delete(ADDRESS, params=WHY, headers=service.as_("manager"))
    assert (answer.status_code, answer.json()["phase"]) == (200, "idle")
    assert await registered(service) == []
    entry = (await service.world.control.repository.events()).items[0]
    assert (entry.who, entry.what, entry.reason) == ("manager person", f"forget cell {FAR}", "its disk is gone")
    assert (entry.source, entry.revision) == ("api 127.0.0.1", 0)
    again = await service.client.delete(ADDRESS, params=WHY, headers=service.as_("manager"))
    assert (again.status_code, again.json()["detail"]) == (404, f"there is no cell {FAR!r}; there are a")


@pytest.mark.parametrize("silent_s", [0, 12, 25])
async def test_a_cell_that_still_reports_is_not_given_up(service: Service, silent_s: int) -> None:
    await register(service, silent_s)
    answer = await service.client.delete(ADDRESS, params=WHY, headers=service.as_("manager"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:crossfade:cell_still_there")
    words = rf"cell {FAR} was heard (\d+) s ago; it can be given up after 30 s of silence"
    told = re.fullmatch(words, answer.json()["detail"])
    assert told
    assert silent_s <= int(told[1]) < 30
    assert await registered(service) == [FAR]
    assert (await service.world.control.repository.events()).items == []


async def test_a_cell_of_this_host_is_not_given_up(service: Service) -> None:
    answer = await service.client.delete("/api/cells/a", params=WHY, headers=service.as_("manager"))
    assert answer.status_code == 409
    assert "is on this host and its process runs" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("role", "params", "status"),
    [("oncall", WHY, 403), ("viewer", WHY, 403), ("manager", {}, 422), ("manager", {"reason": " "}, 422),
     ("manager", {"reason": "x" * 1001}, 422)],
)  # fmt: skip
async def test_it_takes_a_manager_and_a_reason(
    service: Service, role: str, params: dict[str, str], status: int
) -> None:
    await register(service, 60)
    answer = await service.client.delete(ADDRESS, params=params, headers=service.as_(role))
    assert answer.status_code == status, answer.text
    assert await registered(service) == [FAR]


async def test_without_the_store_nothing_is_given_up(service: Service) -> None:
    service.world.store.fail(True)
    answer = await service.client.delete(ADDRESS, params=WHY, headers=service.as_("manager"))
    assert answer.status_code == 503
    service.world.store.fail(False)


async def test_a_receipt_names_only_what_was_given_up_while_the_rollback_waited(service: Service) -> None:
    world = service.world
    await service.start(50)
    await service.client.post("/api/rollout/rollback", headers=service.as_("manager"))
    world.cell.finish()
    done = await world.verified()
    await register(service, 60)
    world.now += 60
    await service.client.delete(ADDRESS, params=WHY, headers=service.as_("manager"))
    receipt = (await service.client.get(f"/api/rollbacks/{done.id}", headers=service.as_("viewer"))).json()
    assert receipt["given_up"] == []
