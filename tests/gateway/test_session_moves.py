"""One session that changes paths: when it moves, what runs again, what is interrupted, what a dead path means."""

from __future__ import annotations

from typing import Any

import pytest

from app.gateway.session import CANCEL_GRACE_S, Session, SessionState
from app.gateway.session_setup import ClientConnection
from app.link.frames import Cancel, Close, Run
from app.metrics.counters import HANDOVERS
from rollout.assign import View
from tests.gateway.harness import Client, HandCell, flag, frame, with_settings

DRAIN_S = 2.0


def on_canary(**settings: object) -> tuple[HandCell, Session, Client]:
    cell = HandCell(with_settings(**settings), percentage=100)
    session, client = cell.connect()
    assert session.path == "v3"
    return cell, session, client


# -- handover at a boundary -------------------------------------------------------------------------------------------


def test_an_idle_session_moves_at_once_and_its_document_travels_with_its_next_message() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    cell.v3.work(document=b"one")
    epoch = session.epoch
    assert session.move("v2", "flag") is True
    assert (session.path, session.reason) == ("v2", "flag")
    assert session.epoch > epoch
    assert Close([(session.key, epoch)]) in cell.v3.sent
    assert cell.v2.sent == [], "a supervisor is made with the first message, not before"
    session.receive(frame())
    assert [(opened.epoch, opened.document) for opened in cell.v2.opens] == [(session.epoch, b"one")]
    assert client.told[-1] == ("ack", 2)


def test_a_ramp_waits_for_the_running_message_however_long_and_starts_no_other() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    session.receive(frame())
    cell.v3.started()
    assert session.move("v2", "flag") is False
    session.receive(frame())
    cell.advance(3600)
    assert (session.state, session.path, cell.v3.cancels) == (SessionState.DRAINING, "v3", [])
    cell.v3.event()
    cell.v3.done(document=b"one")
    assert [run.number for run in cell.v3.runs] == [1]
    assert [run.number for run in cell.v2.runs] == [2]
    assert cell.v2.opens[0].document == b"one"
    assert client.told == [("ack", 1), ("ack", 2), ("ack", 3), ("agent_thinking", 1), ("agent_completed", 1)]
    assert session.state is SessionState.ACTIVE


def test_moved_back_before_its_boundary_a_session_stays_where_it_is() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    session.move("v2", "flag", DRAIN_S)
    epoch = session.epoch
    assert session.move("v3", "pinned") is True
    cell.advance(10)
    cell.v3.work()
    assert (session.path, session.reason, session.epoch, cell.v3.cancels) == ("v3", "pinned", epoch, [])
    assert cell.pending() == []


def test_events_of_the_old_epoch_never_reach_the_socket() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    cell.v3.work()
    old = cell.v3.run
    session.move("v2", "flag")
    session.receive(frame())
    told = list(client.told)
    for late in (cell.v3.started, cell.v3.event, cell.v3.done):
        late(old)
    assert client.told == told
    assert [done.number for done in cell.done_with] == [1]


# -- rollback ---------------------------------------------------------------------------------------------------------


def test_a_rollback_waits_for_its_deadline_then_cancels_then_fences() -> None:
    cell, session, client = on_canary()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v3.started()
    cell.v3.event()
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(DRAIN_S - 0.01)
    assert cell.v3.cancels == []
    cell.advance(0.01)
    run = cell.v3.run
    assert cell.v3.cancels == [Cancel(session.key, run.epoch, 1)]
    assert session.state is SessionState.MOVING
    cell.advance(CANCEL_GRACE_S)
    assert client.told[2:] == [("agent_thinking", 1), ("interrupted", 1)]
    assert client.last()["payload"]["retryable"] is True
    assert (session.path, cell.v2.run.number, cell.pending()) == ("v2", 2, [])
    cell.v3.done(run, document=b"late")
    assert session.document is None
    assert client.told[4:] == []


def test_a_rollback_given_twice_does_not_begin_its_time_again() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(1.5)
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(0.5)
    assert len(cell.v3.cancels) == 1


def test_a_rollback_overtakes_a_ramp_that_waits() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.move("v2", "flag")
    cell.advance(60)
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(DRAIN_S)
    assert len(cell.v3.cancels) == 1
    cell.v3.done(terminal="agent_stopped")
    assert session.reason == "rolled_back"


@pytest.mark.parametrize(
    ("started", "events", "answer", "again"),
    [
        (False, 0, {"started": False}, True),
        (True, 0, {"rerun_safe": True}, True),
        (True, 1, {"rerun_safe": True}, False),
        (True, 0, {}, False),
        (True, 1, {}, False),
    ],
    ids=["not started", "safe to repeat", "safe, but heard", "started", "heard"],
)
def test_a_cancelled_message_runs_again_only_if_nothing_of_it_can_have_been_seen(
    started: bool, events: int, answer: dict[str, Any], again: bool
) -> None:
    cell, session, client = on_canary()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    if started:
        cell.v3.started()
    for _ in range(events):
        cell.v3.event()
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(DRAIN_S)
    cell.v3.done(terminal="agent_stopped", document=b"half", **answer)
    if again:
        assert cell.v2.run.number == 1
        assert cell.v2.opens[0].document is None, "it starts from the document before it"
        cell.v2.work()
        assert [name for name, number in client.told if number == 1][-1] == "agent_completed"
    else:
        assert cell.v2.run.number == 2
        assert cell.v2.opens[0].document == b"half"
        assert client.told[-1] == ("interrupted", 1)
    assert cell.count("v3", "interrupted") == (0 if again else 1)


def test_an_interrupted_id_runs_when_it_is_sent_again() -> None:
    cell, session, client = on_canary()
    session.receive(frame("chat", "m1"))
    cell.v3.started()
    session.move("v2", "rolled_back", 0.0)
    cell.advance(CANCEL_GRACE_S)
    assert client.told[-1] == ("interrupted", 1)
    session.receive(frame("chat", "m1"))
    cell.v2.work()
    assert client.told[-3:] == [("ack", 2), ("agent_thinking", 2), ("agent_completed", 2)]
    session.receive(frame("chat", "m1"))
    assert client.last()["payload"]["code"] == "duplicate"


def test_a_message_that_completes_against_its_cancel_has_completed() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.move("v2", "rolled_back", 0.0)
    cell.advance(0.1)
    cell.v3.done(document=b"one")
    assert client.told[-1] == ("agent_completed", 1)
    assert (session.path, session.document, cell.pending()) == ("v2", b"one", [])


def test_an_agent_that_stops_by_itself_is_no_answer_to_a_cancel() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    cell.v3.started()
    cell.v3.done(terminal="agent_stopped")
    assert client.told == [("ack", 1), ("agent_stopped", 1)]


@pytest.mark.parametrize("stop_first", [True, False])
@pytest.mark.parametrize("answered", [True, False])
def test_a_stop_beside_a_rollback_ends_with_agent_stopped(stop_first: bool, answered: bool) -> None:
    cell, session, client = on_canary(stop_s=30)
    session.receive(frame())
    cell.v3.started()
    if stop_first:
        session.receive(frame("stop_agent"))
    session.move("v2", "rolled_back", 0.0)
    cell.advance(0.0)
    if not stop_first:
        session.receive(frame("stop_agent"))
    if answered:
        cell.v3.done(terminal="agent_stopped", started=False)
    cell.advance(CANCEL_GRACE_S)
    assert client.told == [("ack", 1), ("agent_stopped", 1)]
    assert (session.path, session.state, cell.pending()) == ("v2", SessionState.ACTIVE, [])


@pytest.mark.parametrize("answered", [True, False])
def test_a_rollback_ends_what_still_runs_for_nobody(answered: bool) -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    run = cell.v3.run
    session.on_detached()
    assert session.move("v2", "rolled_back", DRAIN_S) is False
    cell.advance(1)
    session.move("v2", "rolled_back", DRAIN_S)
    cell.advance(1)
    assert len(cell.v3.cancels) == 1
    if answered:
        cell.v3.done(terminal="agent_stopped")
    else:
        cell.advance(CANCEL_GRACE_S)
        assert Close([(session.key, run.epoch)]) in cell.v3.sent
    assert cell.told.ended_keys == [session.key]
    assert (cell.index.on["v3"], cell.index.on["v2"], cell.v3.held) == (set(), set(), {})


def test_a_ramp_decided_while_nobody_listened_is_carried_out_when_the_client_is_back() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.on_detached()
    session.move("v2", "flag")
    session.reconnect(ClientConnection(Client(), "c-2", 1.0), None)
    cell.v3.done()
    assert session.path == "v2"


def test_a_session_that_ended_is_not_indexed_again_by_a_late_decision() -> None:
    cell, session, _ = on_canary()
    session.on_detached()
    assert session.move("v2", "flag") is True
    assert cell.index.on == {"v2": set(), "v3": set()}


def test_every_dispatch_checks_the_lock_again() -> None:
    cell, session, _ = on_canary()
    cell.locked = True
    session.receive(frame())
    assert (cell.v3.runs, cell.v2.run.number) == ([], 1)
    assert (session.path, session.reason) == ("v2", "rolled_back")


# -- a path is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [True, False])
def test_when_v3_dies_its_sessions_go_on_on_v2_and_a_started_message_is_the_culprit(started: bool) -> None:
    cell, session, client = on_canary()
    session.receive(frame("chat", "m1"))
    cell.v3.work(document=b"one")
    session.receive(frame("chat", "m2"))
    session.receive(frame("chat", "m3"))
    dead = cell.v3
    if started:
        dead.started()
    run = dead.run
    dead.die()
    assert (session.path, session.reason, session.state) == ("v2", "v3_unavailable", SessionState.ACTIVE)
    assert cell.v2.run.number == (3 if started else 2)
    assert cell.v2.opens[0].document == b"one"
    assert (("interrupted", 2) in client.told) is started
    assert cell.count("v3", "error") == (1 if started else 0)
    told = list(client.told)
    dead.event(run)
    assert client.told == told
    assert client.closed is None


def test_when_v2_dies_its_sessions_hold_and_are_released_from_the_last_document() -> None:
    cell = HandCell(with_settings(hold_s=10))
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    cell.v2.work(document=b"one")
    session.receive(frame("chat", "m2"))
    cell.v2.die()
    session.receive(frame("chat", "m3"))
    assert (session.state, session.path) == (SessionState.HELD, "v2")
    cell.advance(9.9)
    assert client.told[-1] == ("ack", 3)
    worker = cell.bring_up("v2")
    assert [run.number for run in worker.runs] == [2]
    assert worker.opens[0].document == b"one"
    worker.work()
    worker.work()
    assert client.told[-1] == ("agent_completed", 3)
    assert cell.pending() == []


def test_a_hold_that_takes_too_long_interrupts_what_waits_and_keeps_the_socket() -> None:
    cell = HandCell(with_settings(hold_s=10))
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    cell.v2.die()
    cell.advance(10)
    assert client.told == [("ack", 1), ("interrupted", 1)]
    session.receive(frame("chat", "m1"))
    cell.advance(9)
    assert client.told[2:] == [("ack", 2)]
    cell.advance(1)
    assert client.told[3:] == [("interrupted", 2)]
    cell.bring_up("v2")
    session.receive(frame("chat", "m1"))
    assert cell.v2.run.number == 3
    assert client.closed is None


def test_a_stopped_message_whose_path_dies_is_stopped() -> None:
    cell, session, client = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.receive(frame("stop_agent"))
    cell.v3.die()
    assert client.told == [("ack", 1), ("agent_stopped", 1)]
    assert cell.pending() == []


def test_a_session_on_its_way_to_a_path_that_dies_stays_where_it_is() -> None:
    cell = HandCell()
    session, client = cell.connect()
    session.receive(frame())
    session.receive(frame())
    cell.v2.started()
    session.move("v3", "flag")
    cell.v3.die()
    cell.v2.done()
    assert (session.path, session.reason, session.state) == ("v2", "v3_unavailable", SessionState.ACTIVE)
    assert cell.v2.run.number == 2
    assert client.told[-1] == ("agent_completed", 1)


def test_a_session_on_its_way_from_a_path_that_dies_goes_on_at_once() -> None:
    cell = HandCell()
    session, client = cell.connect()
    session.receive(frame())
    session.receive(frame())
    cell.v2.started()
    session.move("v3", "flag")
    cell.v2.die()
    assert session.path == "v3"
    assert client.told[2:] == [("interrupted", 1)]
    assert cell.v3.run.number == 2


def test_when_its_path_dies_a_session_without_a_socket_ends() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    session.on_detached()
    cell.v3.die()
    assert session.recent.outcomes()[0][1] == "interrupted"
    assert cell.told.ended_keys == [session.key]


def test_a_session_of_a_path_that_is_down_waits_from_its_first_message() -> None:
    cell = HandCell(with_settings(hold_s=10), up=())
    session, client = cell.connect()
    assert (session.state, cell.pending()) == (SessionState.HELD, [])
    session.receive(frame())
    cell.advance(5)
    cell.bring_up("v2")
    assert cell.v2.run.number == 1
    assert client.told == [("ack", 1)]


# -- a new build ------------------------------------------------------------------------------------------------------


def test_a_new_build_gets_idle_sessions_at_once_and_busy_ones_at_their_boundary() -> None:
    cell, idle, _ = on_canary()
    busy, client = cell.connect("busy")
    idle.receive(frame())
    cell.v3.work(document=b"idle")
    busy.receive(frame())
    busy.receive(frame())
    old = cell.v3
    old.started()
    new = cell.bring_up("v3")
    idle.receive(frame())
    assert [(opened.session, opened.document) for opened in new.opens] == [(idle.key, b"idle")]
    old.done(document=b"busy")
    assert [(opened.session, opened.document) for opened in new.opens[1:]] == [(busy.key, b"busy")]
    assert old.held == {}
    assert client.told[-1] == ("agent_completed", 1)
    assert [run.number for run in new.runs] == [2, 2]


def test_a_handover_taken_back_does_not_stay_in_the_old_build() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    old = cell.v3
    old.started()
    cell.bring_up("v3")
    session.move("v2", "flag")
    session.move("v3", "flag")
    old.done()
    assert old.held == {}
    session.receive(frame())
    assert cell.v3.run.number == 2


def test_a_client_that_comes_back_during_a_new_build_leaves_the_old_one_at_its_boundary() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    old = cell.v3
    old.started()
    session.on_detached()
    cell.bring_up("v3")
    session.reconnect(ClientConnection(Client(), "c-2", 1.0), None)
    old.done()
    assert old.held == {}
    session.receive(frame())
    assert cell.v3.run.number == 2


def test_when_the_old_build_ends_first_its_sessions_go_on_in_the_new_one() -> None:
    cell, session, client = on_canary()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    old = cell.v3
    old.started()
    new = cell.bring_up("v3")
    old.die("replaced")
    assert client.told[2:] == [("interrupted", 1)]
    assert [type(sent) for sent in new.sent][-1] is Run
    assert session.path == "v3"


def test_when_the_new_build_dies_sessions_still_in_the_old_one_leave_for_v2() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    old = cell.v3
    old.started()
    cell.bring_up("v3").die()
    old.done()
    assert (session.path, session.state) == ("v2", SessionState.ACTIVE)


def test_the_way_of_a_handover_is_counted() -> None:
    cell, session, _ = on_canary()
    session.receive(frame())
    cell.v3.started()
    cell.apply(View(flag=flag(0), locked=True), rollback=True)
    cell.advance(DRAIN_S)
    cell.v3.done(terminal="agent_stopped")
    assert cell.counters.slots[HANDOVERS["v3", "v2", "interrupted"]] == 1
    assert cell.counters.slots[HANDOVERS["v3", "v2", "moved"]] == 0
