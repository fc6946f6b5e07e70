"""The control loop on a real store, flag engine and lock file: commands, time, restarts, two operators at once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.control import controller
from app.control.views import own_census, rollout_view, user_view
from app.errors import StoreUnavailable
from rollout.errors import NotAllowed, StaleRevision, TooManyPins
from rollout.events import Actor, ApplyPlan, Pause, Promote, Rollback, SetPercentage, Start, Undo, Unlock
from rollout.plan import Plan, Stage
from rollout.views import VerdictView
from tests.control.world import NoGuard, World

ANN = Actor("ann", "manager")
BOB = Actor("bob", "oncall")
EVE = Actor("eve", "manager")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path)
    yield made
    await made.close()


async def start(world: World, percentage: int = 50) -> None:
    await world.control.execute(Start(actor=ANN, percentage=percentage, revision=0, reason="go"), "cli")


async def test_a_command_moves_record_flag_and_sessions(world: World) -> None:
    await start(world)
    expected = {user for user in world.users if world.bucket_of(user) <= 50}
    assert {session.user_id for session in world.cell.members if session.path == "v3"} == expected
    assert world.flags.percentage() == 50
    view = rollout_view(world.control.snapshot())
    assert (view.phase, view.percentage, view.revision, view.changed_by) == ("progressing", 50, 1, "ann")
    assert (view.cells[0].sessions, view.cells[0].has_lock) == (100, False)
    entry = (await world.control.repository.events()).items[0]
    assert (entry.who, entry.role, entry.source, entry.reason, entry.revision) == ("ann", "manager", "cli", "go", 1)
    assert (entry.before["percentage"], entry.after["percentage"]) == (0, 50)
    assert set(entry.figures) == {"v2", "v3"}


async def test_of_two_operators_one_wins_and_the_other_hears_who(world: World) -> None:
    await start(world, 10)
    commands = [
        SetPercentage(actor=Actor(f"op{number}", "manager"), percentage=20 + number, revision=1) for number in range(6)
    ]
    results = await asyncio.gather(
        *(world.control.execute(command, "api") for command in commands), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, StaleRevision)]
    assert len(refused) == 5
    winner = results.index(None)
    assert world.control.record.percentage == 20 + winner
    assert all(refusal.who == f"op{winner}" and refusal.actual == 2 for refusal in refused)
    assert f"op{winner} did set {20 + winner} %" in str(refused[0])
    assert [item.who for item in (await world.control.repository.events()).items] == [f"op{winner}", "ann"]


async def test_of_two_cells_one_wins_and_the_other_follows(world: World, tmp_path: Path) -> None:
    await start(world, 10)
    other = await World.make(tmp_path, "b")
    assert other.control.record.percentage == 10
    results = await asyncio.gather(
        world.control.execute(SetPercentage(actor=ANN, percentage=20, revision=1), "api"),
        other.control.execute(SetPercentage(actor=EVE, percentage=30, revision=1), "api"),
        return_exceptions=True,
    )
    lost = [result for result in results if isinstance(result, StaleRevision)]
    assert len(lost) == 1
    await world.control.loop.tick()
    await other.control.loop.tick()
    assert world.control.record == other.control.record
    assert world.cell.view.flag == other.cell.view.flag
    await other.close()


async def test_a_rollback_moves_everyone_and_is_verified_by_observation(world: World) -> None:
    await start(world)
    busy = next(session for session in world.cell.members if session.path == "v3")
    busy.busy = True
    on_v3 = world.cell.on("v3")
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "page")
    view = rollout_view(world.control.snapshot())
    assert (view.phase, view.percentage) == ("rolled_back", 0)
    assert view.lock is not None
    assert view.last_rollback is not None
    assert view.last_rollback.verified_at is None
    assert view.last_rollback.sessions_to_move == on_v3
    world.cell.finish()
    done = await world.verified()
    assert (done.sessions_moved, done.closed, done.cells) == (on_v3, 0, ["a"])
    assert done.existing_moved_ms is not None
    assert done.new_stopped_ms is not None
    assert 0 < done.new_stopped_ms <= done.existing_moved_ms
    assert world.cell.connect("new").path == "v2"
    kept = await world.control.repository.receipt(done.id)
    assert kept is not None
    assert kept.rollback == done
    assert kept.from_percentage == 50


async def test_a_rollback_is_idempotent(world: World) -> None:
    await start(world)
    await asyncio.gather(*(world.control.execute(Rollback(actor=BOB), "api") for _ in range(4)))
    first = world.control.record
    receipt = await world.verified()
    await world.control.execute(Rollback(actor=ANN), "api")
    assert world.control.record == first
    assert await world.verified() == receipt
    whats = [item.what for item in (await world.control.repository.events()).items]
    assert whats.count("rollback") == 1
    assert whats.count("rollback (already in force)") == 4


async def test_a_rollback_in_the_middle_of_a_sweep_is_swept_again_and_verified(world: World) -> None:
    await start(world)
    for session in world.cell.members:
        session.busy = session.path == "v3"
    await world.control.execute(Rollback(actor=BOB), "api")
    world.cell.apply(world.cell.view, rollback=True)  # as when a worker comes back
    world.cell.finish()
    assert (await world.verified()).verified_at is not None


async def test_a_rollback_wins_over_a_command_that_is_being_saved(world: World) -> None:
    await start(world, 10)
    world.store.pause()
    pending = asyncio.create_task(world.control.execute(SetPercentage(actor=ANN, percentage=90, revision=1), "api"))
    await world.store.waiting()
    back = asyncio.create_task(world.control.execute(Rollback(actor=BOB, reason="stop"), "page"))
    await world.until(lambda: world.cell.view.locked)
    assert world.cell.on("v3") == 0
    world.store.go_on()
    await pending  # saved, so it is not refused; the rollback lies on top of it
    assert (world.control.record.phase, world.control.record.revision) == ("rolled_back", 3)
    await back
    assert (world.control.record.phase, world.control.record.percentage) == ("rolled_back", 0)
    assert await world.stored() == world.control.record
    rollback, change = (await world.control.repository.events()).items[:2]
    assert [(entry.what, entry.revision) for entry in (change, rollback)] == [("set 90 %", 2), ("rollback", 3)]
    assert rollback.before == change.after
    assert world.cell.on("v3") == 0
    receipt = await world.verified()
    assert receipt.id == world.control.record.last_rollback.id  # type: ignore[union-attr]


async def test_a_rollback_wins_over_an_undo_that_is_being_saved(world: World) -> None:
    await start(world, 10)
    await world.control.execute(Rollback(actor=BOB), "api")
    world.store.pause()
    pending = asyncio.create_task(world.control.execute(Undo(actor=ANN, revision=2), "api"))
    await world.store.waiting()
    back = asyncio.create_task(world.control.execute(Rollback(actor=BOB, reason="no"), "api"))
    await world.until(lambda: world.cell.log.count("rollback") == 2)
    world.store.go_on()
    await pending
    await back
    assert world.control.record.phase == "rolled_back"
    assert [entry.revision for entry in (await world.control.repository.events()).items] == [4, 3, 2, 1]
    assert await world.stored() == world.control.record
    assert world.lock_file.read() == world.control.record.lock
    assert world.cell.view.locked


async def test_a_rollback_works_while_the_store_is_down_and_reaches_it_later(world: World) -> None:
    await start(world)
    world.store.fail(True)
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await world.control.execute(Rollback(actor=BOB, reason="errors!"), "page")
    assert world.cell.on("v3") == 0
    assert world.lock_file.read() == world.control.record.lock
    assert (await world.verified()).verified_at is not None
    with pytest.raises(StoreUnavailable):
        await world.control.execute(Unlock(actor=ANN, reason="x", revision=2, flag_percentage=0), "api")
    view = rollout_view(world.control.snapshot())
    assert view.allowed["rollback"] == ""
    assert "store" in view.allowed["plan"]
    world.store.fail(False)
    await world.control.loop.tick()
    assert await world.stored() == world.control.record
    assert [item.reason for item in (await world.control.repository.events()).items[:2]] == ["errors!", "errors"]
    receipt = await world.control.repository.receipt()
    assert receipt is not None
    assert receipt.rollback.verified_at is not None


@pytest.mark.parametrize("command", [SetPercentage(actor=ANN, percentage=20, revision=1), Pause(actor=ANN, revision=1)])
async def test_everything_else_needs_the_store(world: World, command: SetPercentage | Pause) -> None:
    await start(world, 10)
    before = world.control.record
    world.store.fail(True)
    with pytest.raises(StoreUnavailable):
        await world.control.execute(command, "api")
    assert world.control.record == before
    assert world.flags.percentage() == 10


async def test_a_lock_lifted_elsewhere_while_this_cell_was_cut_off_is_superseded(world: World, tmp_path: Path) -> None:
    await start(world)
    other = await World.make(tmp_path / "elsewhere", "b", database=tmp_path)
    world.store.fail(True)
    await world.control.execute(Rollback(actor=BOB, reason="cut off"), "page")
    await other.control.execute(Rollback(actor=ANN), "api")
    await other.control.execute(Unlock(actor=ANN, reason="fixed", revision=2, flag_percentage=None), "api")
    world.now += 60  # a rollback of just now would win over an unlock that came in between
    world.store.fail(False)
    await world.control.loop.tick()
    assert world.control.record == other.control.record
    assert world.control.record.phase == "idle"
    assert world.lock_file.read() is None
    assert not world.cell.view.locked
    assert "superseded" in (await world.control.repository.events()).items[0].what
    await other.close()


async def test_a_restart_gives_the_same_record(world: World, tmp_path: Path) -> None:
    await start(world, 30)
    await world.control.pin(ANN, "u1", "v3", "beta", source="api")
    before = world.control.record
    await world.close()
    again = await World.make(tmp_path)
    assert again.control.record == before
    assert again.flags.percentage() == 30
    assert again.cell.view.pins == {"u1": "v3"}
    assert again.control.ready
    await again.close()


@pytest.mark.parametrize("store_down", [False, True])
async def test_a_restart_under_a_lock_serves_v2_and_verifies(world: World, tmp_path: Path, store_down: bool) -> None:
    await start(world)
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await world.verified()
    before = world.control.record
    await world.close()
    again = await World.make(tmp_path, store_down=store_down)
    assert again.cell.applied[0][0].locked
    assert again.control.ready != store_down
    again.store.fail(False)
    await again.control.loop.tick()
    assert again.control.record == before
    assert rollout_view(again.control.snapshot()).last_rollback is not None
    await again.close()


async def test_a_lock_file_the_store_knows_nothing_of_is_in_force(world: World, tmp_path: Path) -> None:
    await start(world)
    world.store.fail(True)
    await world.control.execute(Rollback(actor=BOB, reason="errors"), "page")
    await world.close()
    again = await World.make(tmp_path)
    assert (again.control.record.phase, again.control.record.changed_by) == ("rolled_back", "bob")
    assert await again.stored() == again.control.record
    assert (await again.verified()).reason == "errors"
    await again.close()


@pytest.mark.parametrize("content", [b"", b"{half"])
async def test_a_lock_file_that_cannot_be_read_is_in_force(world: World, tmp_path: Path, content: bytes) -> None:
    await start(world)
    await world.close()
    (tmp_path / "rollback.lock").write_bytes(content)
    again = await World.make(tmp_path)
    assert again.control.record.phase == "rolled_back"
    assert again.lock_file.read() == again.control.record.lock
    await again.close()


async def test_the_order_of_a_rollback_is_disk_cell_store(world: World) -> None:
    await start(world)
    world.log.clear()
    await world.control.execute(Rollback(actor=BOB), "api")
    assert [step for step in world.log if step != "receipt"][:3] == ["lock on disk", "rollback", "record saved"]


async def test_a_disk_that_fails_does_not_stop_a_rollback(world: World) -> None:
    await start(world)
    world.lock_file.fails = errno.ENOSPC
    await world.control.execute(Rollback(actor=BOB), "api")
    assert world.cell.on("v3") == 0
    assert world.lock_file.read() is None
    world.lock_file.fails = 0
    await world.control.loop.keep_lock()
    assert world.lock_file.read() == world.control.record.lock


async def test_undo_and_unlock_lift_the_lock(world: World) -> None:
    await start(world)
    on_v3 = world.cell.on("v3")
    await world.control.execute(Rollback(actor=BOB), "api")
    await world.control.execute(Undo(actor=BOB, revision=2), "api")
    assert world.control.record.phase == "progressing"
    assert world.cell.on("v3") == on_v3
    assert world.lock_file.read() is None
    await world.control.execute(Rollback(actor=BOB), "api")
    await world.verified()
    await world.control.execute(Unlock(actor=ANN, reason="fixed", revision=4, flag_percentage=None), "api")
    assert (world.control.record.phase, world.flags.percentage()) == ("idle", 0)
    assert world.lock_file.read() is None


async def test_under_a_lock_every_sweep_is_a_rollbacks(world: World) -> None:
    await start(world)
    await world.control.execute(Rollback(actor=BOB), "api")
    await world.control.pin(ANN, "u7", "v3", "", source="api")
    view, rollback = world.cell.applied[-1]
    assert (view.locked, rollback, world.cell.on("v3")) == (True, True, 0)


async def test_a_rollback_while_the_disk_lifts_the_last_lock_leaves_its_own(world: World) -> None:
    await start(world)
    await world.control.execute(Rollback(actor=BOB), "api")
    await world.verified()
    world.lock_file.hold_removal()
    world.store.last_save()  # the undo; the rollback then stands on its own, and nothing is repaired behind it
    lifting = asyncio.create_task(world.control.execute(Undo(actor=ANN, revision=2), "api"))
    await asyncio.to_thread(world.lock_file.removing.wait)
    back = asyncio.create_task(world.control.execute(Rollback(actor=BOB, reason="again"), "api"))
    await asyncio.sleep(0)  # the rollback waits for nothing before it asks for its turn
    assert world.host_lock.turn.locked()
    world.lock_file.let_go.set()
    await asyncio.gather(lifting, back)
    assert world.control.record.phase == "rolled_back"
    assert world.lock_file.read() is not None
    assert world.cell.on("v3") == 0


async def test_time_advances_the_plan(world: World) -> None:
    plan = Plan("p", (Stage(10, 60, (), "automatic"), Stage(40, 60, (), "automatic")))
    await world.control.execute(ApplyPlan(actor=ANN, plan=plan, revision=0), "cli")
    await world.control.execute(Start(actor=ANN, revision=1), "cli")
    view = rollout_view(world.control.snapshot())
    assert (view.next_percentage, view.next_at) == (40, world.now + 60)
    await world.elapse(60)
    assert world.flags.percentage() == 10
    await world.elapse(1)
    assert world.flags.percentage() == 40
    assert (await world.control.repository.events()).items[0].source == "schedule"
    assert await world.stored() == world.control.record
    assert [notice.about for notice in world.notices] == ["started", "advanced"]


@pytest.mark.parametrize("jump_s", [-3_600, 86_400])
async def test_a_jump_of_the_wall_clock_neither_holds_a_stage_nor_advances_it(world: World, jump_s: float) -> None:
    plan = Plan("p", (Stage(10, 8, (), "automatic"), Stage(40, 60, (), "automatic")))
    await world.control.execute(ApplyPlan(actor=ANN, plan=plan, revision=0), "cli")
    await world.elapse(1)
    await world.control.execute(Start(actor=ANN, revision=1), "cli")
    world.now += jump_s
    await world.elapse(7)
    view = rollout_view(world.control.snapshot())
    assert (view.percentage, view.next_at) == (10, world.now + 1)
    assert view.stage_started_at == world.now - 7
    await world.elapse(1)
    assert world.control.record.percentage == 40


@pytest.mark.parametrize("jump_s", [-3_600, 86_400])
async def test_a_jump_of_the_wall_clock_does_not_change_for_how_long_one_may_undo(world: World, jump_s: float) -> None:
    await world.elapse(1)
    await start(world)
    await world.control.execute(Rollback(actor=BOB), "page")
    world.now += jump_s
    await world.elapse(5)
    view = rollout_view(world.control.snapshot())
    assert (view.undo_until, view.allowed["undo"]) == (world.now + 595, "")
    await world.control.execute(Undo(actor=BOB, revision=2), "page")
    assert world.control.record.percentage == 50


async def test_a_plan_that_waits_for_a_person_says_so_once_and_keeps_its_revision(world: World) -> None:
    plan = Plan("p", (Stage(10, 60, ()), Stage(40, 60, ())))
    await world.control.execute(ApplyPlan(actor=ANN, plan=plan, revision=0), "cli")
    await world.control.execute(Start(actor=ANN, revision=1), "cli")
    await world.elapse(63)
    assert [notice.about for notice in world.notices] == ["started", "person"]
    await world.control.execute(Promote(actor=ANN, revision=2), "cli")
    assert world.control.record.percentage == 40


async def test_harm_rolls_back(tmp_path: Path) -> None:
    class Harmed(NoGuard):
        def verdicts(self) -> list[VerdictView]:
            return [
                VerdictView(guardrail="errors", verdict="fail", words="harm", evidence=120.0, limit=100.0, detail="")
            ]

    world = await World.make(tmp_path, guard=Harmed())
    await start(world)
    await world.control.loop.tick()
    assert (world.control.record.phase, world.control.record.changed_by) == ("rolled_back", "evidence")
    assert world.cell.on("v3") == 0
    assert world.lock_file.read() == world.control.record.lock
    assert (await world.control.repository.events()).items[0].source == "evidence"
    await world.close()


async def test_pins_move_open_sessions_and_are_audited(world: World) -> None:
    await world.control.pin(ANN, "u7", "v3", "beta tester", source="api")
    assert [session.user_id for session in world.cell.members if session.path == "v3"] == ["u7"]
    seen = user_view(world.control.snapshot(), "u7")
    assert (seen.path, seen.reason, seen.pin, len(seen.sessions)) == ("v3", "pinned", "v3", 1)
    await world.control.pin(ANN, "u7", None, "", source="api")
    assert world.cell.on("v3") == 0
    assert [item.what for item in (await world.control.repository.events()).items] == ["unpin u7", "pin u7 to v3"]
    with pytest.raises(NotAllowed):
        await world.control.pin(BOB, "u7", "v3", "", source="api")


async def test_pins_have_a_bound_and_what_is_pinned_can_be_changed_at_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "PINS", 2)
    for user in ("u1", "u2"):
        await world.control.pin(ANN, user, "v3", "", source="api")
    with pytest.raises(TooManyPins, match="2 users are pinned, and no more can be"):
        await world.control.pin(ANN, "u3", "v3", "", source="api")
    await world.control.pin(ANN, "u2", "v2", "", source="api")
    await world.control.pin(ANN, "u3", None, "", source="api")
    await world.control.pin(ANN, "u1", None, "", source="api")
    await world.control.pin(ANN, "u3", "v3", "", source="api")
    assert await world.store.load_pins() == {"u2": "v2", "u3": "v3"}


async def test_a_preview_says_what_a_command_then_does(world: World) -> None:
    world.cell.connect("u1")  # a second session of one user
    before = own_census(world.control.snapshot()).preview(30)
    await start(world, 30)
    assert (before.sessions_to_v3, before.sessions_to_v2) == (world.cell.on("v3"), 0)
    assert before.users_to_v3 == len({session.user_id for session in world.cell.members if session.path == "v3"})
    down = own_census(world.control.snapshot()).preview(5)
    await world.control.execute(SetPercentage(actor=ANN, percentage=5, revision=1), "api")
    assert down.sessions_to_v2 == before.sessions_to_v3 - world.cell.on("v3")
    assert down.users_to_v3 == 0


async def test_why_a_user_is_where_they_are(world: World) -> None:
    await start(world, 10)
    offline = user_view(world.control.snapshot(), "nobody")
    assert offline.sessions == []
    assert offline.path == ("v3" if offline.bucket <= 10 else "v2")
    assert (offline.reason, offline.percentage, offline.pin) == ("flag", 10, None)


async def test_notes_stand_in_the_audit(world: World) -> None:
    await world.control.note(BOB, "support hears nothing bad", "cli")
    entry = (await world.control.repository.events()).items[0]
    assert (entry.what, entry.reason, entry.who) == ("note", "support hears nothing bad", "bob")
    with pytest.raises(NotAllowed):
        await world.control.note(Actor("eve", "viewer"), "x", "cli")


async def test_figures_begin_anew_with_a_new_percentage(world: World) -> None:
    await start(world, 10)
    world.counters.message("v3", "websocket", "error", 0.1)
    (_, canary) = rollout_view(world.control.snapshot()).paths
    assert (canary.messages, canary.errors, canary.build) == (1, 1, "v3-build")
    await world.control.execute(SetPercentage(actor=ANN, percentage=20, revision=1), "api")
    (_, canary) = rollout_view(world.control.snapshot()).paths
    assert (canary.messages, canary.error_rate) == (0, None)


async def test_a_lock_found_while_the_store_is_away_keeps_its_generation_on_the_disk(
    world: World, tmp_path: Path
) -> None:
    """Else the next start would take it for one that was lifted long ago."""
    for revision in (0, 3):
        await world.control.execute(Start(actor=ANN, percentage=10, revision=revision), "cli")
        await world.control.execute(Rollback(actor=BOB), "api")
        if revision == 0:
            await world.control.execute(Unlock(actor=ANN, reason="ok", revision=2, flag_percentage=None), "api")
    lock = world.lock_file.read()
    assert lock is not None
    assert lock.generation == 1
    await world.abandon()
    again = await World.make(tmp_path, store_down=True)
    await again.control.loop.tick()
    assert again.lock_file.read() == lock
    assert again.cell.view.locked
    again.store.fail(False)
    await again.control.loop.tick()
    assert again.control.record.phase == "rolled_back"
    assert again.lock_file.read() == lock == again.control.record.lock
    await again.close()
