"""A process that dies between any two steps of a rollback, or of lifting one, leaves nothing that puts users on v3."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from app.store.port import StoredRecord, StoredRollback
from app.store.sql import sqlite_store
from rollout.events import Actor, Rollback, Start, Undo, Unlock
from rollout.views import AuditEntry
from tests.control.world import World

ANN = Actor("ann", "manager")


class Died(BaseException):
    """Nothing after this happened."""


def die(*_: object, **__: object) -> None:
    raise Died


async def die_later(*_: object, **__: object) -> None:
    raise Died


def at_lock_file(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.lock_file, "write", die)


def at_the_sweep(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.cell, "apply", die)


def at_the_store(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.store, "save_record", die_later)


def behind_the_store(world: World, patch: pytest.MonkeyPatch) -> None:
    save = world.store.save_record

    async def saved_then_died(record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        await save(record, expected, entry)
        raise Died

    patch.setattr(world.store, "save_record", saved_then_died)


def at_the_flag(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.flags, "apply", die_later)


def at_removing_the_lock(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.lock_file, "remove", die)


Step = Callable[[World, pytest.MonkeyPatch], None]


async def dying(world: World, step: Step, command: Rollback | Unlock) -> None:
    """Carry out the command up to a step, and lose the process there."""
    with pytest.MonkeyPatch.context() as patch:
        step(world, patch)
        with contextlib.suppress(Died):
            await world.control.execute(command, "api")
        await world.abandon()


@pytest.mark.parametrize("step", [at_the_sweep, at_the_store, behind_the_store, at_the_flag])
async def test_a_rollback_that_reached_the_disk_is_in_force_after_a_restart(tmp_path: Path, step: Step) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await dying(world, step, Rollback(actor=ANN, reason="errors"))
    again = await World.make(tmp_path)
    assert again.cell.applied[0][0].locked
    assert again.control.record.phase == "rolled_back"
    assert await again.stored() == again.control.record
    assert again.lock_file.read() == again.control.record.lock
    assert again.cell.on("v3") == 0
    assert (await again.verified()).reason == "errors"
    await again.close()


async def test_a_rollback_that_did_not_reach_the_disk_was_never_answered(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await dying(world, at_lock_file, Rollback(actor=ANN))
    again = await World.make(tmp_path)
    assert again.control.record.phase == "progressing"
    await again.close()


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (at_the_store, "rolled_back"),
        (behind_the_store, "idle"),
        (at_removing_the_lock, "idle"),
        (at_the_flag, "idle"),
    ],
)
async def test_an_unlock_is_done_or_not_done_after_a_restart(tmp_path: Path, step: Step, phase: str) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await world.control.execute(Rollback(actor=ANN), "api")
    await world.verified()
    await dying(world, step, Unlock(actor=ANN, reason="fixed", revision=2, flag_percentage=None))
    again = await World.make(tmp_path)
    assert again.control.record.phase == phase
    assert again.cell.view.locked == (phase == "rolled_back")
    assert (again.lock_file.read() is not None) == (phase == "rolled_back")
    assert again.cell.on("v3") == 0
    await again.close()


async def test_a_receipt_outlives_a_restart_without_the_store(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await world.control.execute(Rollback(actor=ANN, reason="errors"), "api")
    before = await world.verified()
    await world.close()
    again = await World.make(tmp_path, store_down=True)
    assert again.control.record.phase == "rolled_back"
    await again.verified()
    again.store.fail(False)
    await again.control.loop.tick()
    assert again.control.snapshot().rollback == before
    kept = await again.control.receipt(before.id)
    assert kept is not None
    assert kept.rollback == before
    await again.close()


async def test_a_rollback_before_the_record_was_read_is_in_force_whatever_it_says(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await world.control.execute(Rollback(actor=ANN), "api")
    await world.control.execute(Undo(actor=ANN, revision=2), "api")  # from now on another generation counts
    await world.close()
    blind = await World.make(tmp_path, store_down=True)
    await blind.control.execute(Rollback(actor=ANN, reason="blind"), "api")
    await blind.abandon()
    again = await World.make(tmp_path)
    assert (again.control.record.phase, again.control.record.reason) == ("rolled_back", "blind")
    assert again.lock_file.read() == again.control.record.lock
    await again.close()


async def test_a_rollback_over_an_undo_that_is_being_saved_is_in_force_after_a_crash(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await world.control.execute(Rollback(actor=ANN), "api")
    world.store.pause()
    pending = asyncio.create_task(world.control.execute(Undo(actor=ANN, revision=2), "api"))
    await world.store.waiting()
    back = asyncio.create_task(world.control.execute(Rollback(actor=ANN, reason="no"), "api"))
    await world.until(lambda: world.cell.log.count("rollback") == 2)
    world.store.last_save()
    await pending
    await back
    assert (await world.stored()).phase == "progressing"
    await world.abandon()
    again = await World.make(tmp_path)
    assert again.control.record.phase == "rolled_back"
    await again.close()


async def test_a_receipt_that_another_version_wrote_is_none_and_stops_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.control.execute(Start(actor=ANN, percentage=50, revision=0), "api")
    await world.control.execute(Rollback(actor=ANN, reason="errors"), "api")
    done = await world.verified()
    await world.close()
    store = sqlite_store(tmp_path)
    await store.open()
    await store.save_rollback(StoredRollback(done.id, done.at, '{"of": "another version"}'))
    await store.close()
    again = await World.make(tmp_path)
    assert again.control.record.phase == "rolled_back"
    assert await again.control.repository.receipt("1-unknown") is None
    shown = await again.control.receipt(done.id)
    assert shown is None or shown.rollback.id == done.id, "observed again, and not what cannot be read"
    await again.close()
