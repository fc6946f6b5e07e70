"""What people may see of the settings: every one, as it was read, and no secret of any kind."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.control.health import health_view, settings_view
from app.control.views import own_figures, rollout_view
from app.errors import StoreUnavailable
from app.fleet.lease import Lease, holder_of
from app.settings import SECRETS, Settings, describe
from tests.control.world import World

HIDDEN = "hunter2-hunter2-hunter2"


def test_every_setting_is_there_and_says_whether_it_was_set() -> None:
    rows = settings_view(Settings(heartbeat_s=7))
    assert [row.variable for row in rows] == [row.variable for row in describe()]
    assert [row.variable for row in rows if not row.is_default] == ["CROSSFADE_HEARTBEAT_S"]
    assert {row.value for row in rows if row.variable == "CROSSFADE_HEARTBEAT_S"} == {"7"}


def test_no_secret_is_among_them() -> None:
    settings = msgspec.structs.replace(Settings(), **dict.fromkeys(SECRETS, HIDDEN))
    rows = settings_view(settings)
    assert not any(HIDDEN in row.value for row in rows)
    assert sum(row.value == "set, not shown" for row in rows) == len(SECRETS)


async def test_every_worker_is_shown_as_its_cell_says_it(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    world.cell.available["v3"] = False
    view = health_view(world.control.snapshot())
    assert [(row.cell, row.path, row.available, row.silent_s) for row in view.workers] == [
        ("a", "v2", True, 0.0),
        ("a", "v3", False, 0.0),
    ]
    assert view.leader == "a", "a cell that is alone needs no lease"
    assert (await world.control.repository.leader(), health_view(world.control.snapshot(), "b").leader) == ("", "b")
    await world.close()


async def test_rollout_and_health_agree_on_who_is_silent(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    snapshot = world.control.snapshot()
    snapshot.fleet.elsewhere({"b": 12.0, "c": 0.5})
    for name in ("b", "c"):
        snapshot.fleet.learn(name, own_figures(snapshot))
    said = {"a": False, "b": True, "c": False}
    assert {cell.name: cell.silent for cell in rollout_view(snapshot).cells} == said
    assert {row.cell: row.silent for row in health_view(snapshot).workers} == said
    await world.close()


async def test_who_leads_is_what_the_store_says(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    keeper = world.control.repository
    lease = Lease(world.store, holder_of("host/b"))
    await lease.keep()
    assert await keeper.leader() == "host/b"
    await lease.release()
    assert await keeper.leader() == ""
    world.store.fail(True)
    with pytest.raises(StoreUnavailable):
        await keeper.leader()
    world.store.fail(False)
    await world.close()
