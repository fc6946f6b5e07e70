"""A rollback is in force whatever the disk does, and is called durable only where a crash would not end it."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from app.control.lockfile import LockFile
from app.control.views import rollout_view
from app.data_folder import take_folder
from app.errors import StoreUnavailable
from rollout.events import Actor, Rollback, SetPercentage, Start, Unlock
from rollout.views import LockView
from tests.control.world import World

ANN, BOB = Actor("ann", "manager"), Actor("bob", "oncall")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """At 50 %, in a folder that it owns."""
    folder = take_folder(tmp_path / "data", "127.0.0.1:9000")
    made = await World.make(folder.path, data_folder=folder)
    await made.control.execute(Start(actor=ANN, percentage=50, revision=0), "cli")
    yield made
    made.store.fail(False)
    made.lock_file.release()
    await made.close()
    folder.close()


async def roll_back(world: World) -> LockView:
    """Roll back; whatever the disk does, everybody is on v2 and that is verified."""
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "cli")
    assert world.cell.on("v3") == 0
    assert (await world.verified()).verified_at is not None
    return lock(world)


def lock(world: World) -> LockView:
    found = rollout_view(world.control.snapshot()).lock
    assert found is not None
    return found


def kept(world: World) -> tuple[bool, str]:
    return lock(world).durable, lock(world).durability


async def test_the_place_for_a_lock_is_taken_at_the_start(world: World) -> None:
    spare = world.lock_file.path.with_name("rollback.spare")
    data = spare.read_bytes()
    assert len(data) == 4096
    assert 0 not in data  # real bytes, for which a file system has to give real blocks
    await roll_back(world)
    assert not spare.exists()  # it is the lock now
    await world.control.loop.keep_lock()
    assert spare.exists()  # for the next
    spare.unlink()
    await world.control.loop.keep_lock()
    assert spare.exists()  # whoever deleted it


async def test_on_the_disk_and_in_the_store_is_said_so(world: World) -> None:
    assert (await roll_back(world)).durability == "on this host's disk and in the store"
    receipt = await world.control.receipt("1-0")
    assert receipt is not None
    assert receipt.rollback.durable


async def test_the_disk_alone_is_enough(world: World) -> None:
    world.store.fail(True)
    await roll_back(world)
    assert kept(world) == (True, "on this host's disk, not in the store yet")
    again = await World.make(world.lock_file.path.parent, store_down=True)
    assert again.cell.view.locked
    await again.abandon()


async def test_the_store_alone_is_enough(world: World) -> None:
    world.lock_file.fails = errno.ENOSPC
    await roll_back(world)
    assert kept(world) == (True, "in the store; its own file is not on disk: no space")


FAILURES = {
    errno.ENOSPC: "not on disk: no space",
    errno.EDQUOT: "not on disk: no space",
    errno.EROFS: "not on disk: the file system is read-only",
    errno.EIO: "not on disk: input/output error",
}


@pytest.mark.parametrize("failure", FAILURES, ids=errno.errorcode.get)
async def test_neither_is_not_durable_and_said_until_the_disk_works_again(world: World, failure: int) -> None:
    world.lock_file.fails = failure
    world.store.fail(True)
    await roll_back(world)
    assert kept(world) == (False, FAILURES[failure])
    view = rollout_view(world.control.snapshot()).last_rollback
    assert view is not None
    assert (view.verified_at is not None, view.durable, view.durability) == (True, False, FAILURES[failure])
    told = world.control.notifier.listen()
    await anext(told)
    world.lock_file.fails = 0
    await world.control.loop.keep_lock()
    assert kept(world) == (True, "on this host's disk, not in the store yet")
    assert LockFile(world.lock_file.path.parent).read() == world.control.record.lock
    await told.aclose()  # type: ignore[attr-defined]


async def test_neither_becomes_durable_when_the_store_has_it(world: World) -> None:
    world.lock_file.fails = errno.ENOSPC
    world.store.fail(True)
    await roll_back(world)
    assert not lock(world).durable
    receipt = world.control.verification.receipt
    assert receipt is not None
    world.store.fail(False)
    await world.control.loop.tick()
    assert kept(world) == (True, "in the store; its own file is not on disk: no space")
    saved = await world.control.receipt(receipt.rollback.id)
    assert saved is not None
    assert saved.rollback.durable


async def test_a_receipt_that_is_shown_says_that_the_rollback_would_not_last(world: World) -> None:
    await roll_back(world)
    world.lock_file.fails = errno.EIO
    world.lock_file.path.unlink()
    await world.control.loop.keep_lock()
    assert kept(world) == (True, "in the store; its own file is not on disk: input/output error")
    shutil.rmtree(world.lock_file.path.parent)
    await world.control.loop.keep_lock()
    folder = world.lock_file.path.parent
    assert kept(world) == (False, f"not on disk: the data folder {folder} is gone")


async def test_a_lock_that_somebody_deletes_is_written_again(world: World) -> None:
    await roll_back(world)
    world.lock_file.path.unlink()
    await world.control.loop.keep_lock()
    assert world.lock_file.read() == world.control.record.lock
    assert lock(world).durable


async def test_a_write_that_comes_back_after_the_rollback_was_lifted_is_undone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lock_file.hang()
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "cli")
    assert kept(world)[1].endswith("not on disk: the disk does not answer")
    await world.control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "cli")
    assert world.lock_file.read() is None
    world.lock_file.release()
    await world.host_lock.answered.wait()
    assert world.lock_file.read() is not None  # what was superseded is on the disk now
    await world.control.loop.keep_lock()
    assert world.lock_file.read() is None


async def test_a_lift_that_comes_back_after_the_next_rollback_leaves_a_lock(world: World) -> None:
    await roll_back(world)
    world.lock_file.hang()
    await world.control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "cli")
    world.store.fail(True)
    await world.control.execute(Rollback(actor=BOB, reason="again"), "cli")
    assert kept(world) == (False, "not on disk: the disk does not answer")
    world.lock_file.release()
    await world.host_lock.answered.wait()
    await world.control.loop.keep_lock()
    found = world.lock_file.read()
    assert found is not None
    assert found.reason == "again"
    assert lock(world).durable


async def test_while_the_disk_hangs_the_next_rollback_waits_for_nothing(world: World) -> None:
    world.lock_file.hang()
    await world.control.loop.keep_lock()  # its look at the disk is what hangs
    calls, threads = world.lock_file.calls, threading.active_count()
    await roll_back(world)
    assert world.lock_file.calls == calls
    assert threading.active_count() == threads  # nothing was handed to others to wait for the disk


# -- a data folder that is lost ---------------------------------------------------------------------------------------


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()


LOSSES: dict[Callable[[Path], None], str] = {gone: "is gone", replaced: "another folder lies in the place"}


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_lost_folder_is_not_ready_and_takes_nothing(world: World, lose: Callable[[Path], None]) -> None:
    folder = world.lock_file.path.parent
    lose(folder)
    with pytest.raises(StoreUnavailable, match=LOSSES[lose]):
        await world.control.execute(SetPercentage(actor=ANN, percentage=70, revision=1), "cli")
    assert world.control.record.percentage == 50
    with pytest.raises(StoreUnavailable, match=LOSSES[lose]):
        await world.control.pin(ANN, "u1", "v3", "beta", source="cli")
    assert LOSSES[lose] in world.control.not_ready
    assert not world.control.ready
    await roll_back(world)
    durable, words = kept(world)
    assert not durable
    assert words.startswith("not on disk: ")
    assert LOSSES[lose] in words
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_a_folder_that_is_lost_between_two_commands_is_noticed_by_itself(world: World) -> None:
    assert world.control.ready
    gone(world.lock_file.path.parent)
    await world.control.loop.keep_lock()
    assert "is gone" in world.control.not_ready
    assert "is gone" in world.control.folder_trouble()


async def test_a_folder_that_is_put_back_gets_the_lock(world: World) -> None:
    folder = world.lock_file.path.parent
    folder.rename(folder.with_name("elsewhere"))
    await roll_back(world)
    assert not lock(world).durable
    folder.with_name("elsewhere").rename(folder)
    await world.control.loop.keep_lock()
    assert lock(world).durable
    assert world.control.ready
    read = msgspec.json.decode((folder / "rollback.lock").read_bytes())
    assert read["reason"] == "errors"


async def test_a_disk_without_place_for_a_lock_is_said(tmp_path: Path) -> None:
    folder = take_folder(tmp_path, "127.0.0.1:9000")
    world = await World.make(tmp_path, data_folder=folder, failing=errno.ENOSPC)
    assert world.control.folder_trouble() == "no place is kept for the lock of a rollback: no space"
    world.lock_file.fails = 0
    await world.control.loop.keep_lock()
    assert world.control.folder_trouble() == ""
    await world.close()
    folder.close()
