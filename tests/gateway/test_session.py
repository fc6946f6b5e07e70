"""One session on one path: what is refused, accepted, run and stopped, and what a dead or slow socket changes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from app.errors import IllegalTransition
from app.gateway import session as session_module
from app.gateway.session import Session, SessionState
from app.gateway.session_setup import ClientConnection
from app.link.frames import Close, Traffic
from tests.gateway.harness import Client, HandCell, HandWorker, frame, numbers, with_settings


@pytest.fixture
def cell() -> HandCell:
    return HandCell()


def connected(**settings: object) -> tuple[HandCell, Session, Client]:
    cell = HandCell(with_settings(**settings))
    session, client = cell.connect()
    return cell, session, client


# -- 1. what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", "invalid_json"),
        (b'{"type":"chat","payload":{"content":"\xff"}}', "invalid_json"),
        ("[]", "invalid_payload"),
        (frame("dance"), "unknown_type"),
        (frame("chat", payload={}), "invalid_payload"),
        (frame("chat", payload={"content": ""}), "invalid_payload"),
        (frame("chat", payload={"content": "x" * 4001}), "invalid_payload"),
        (frame("start_agent", payload={}), "invalid_payload"),
        (frame("chat", payload={"content": "x" * 4000}, extra="x" * 4200), "too_large"),
        (frame("chat", payload={"content": "ü" * 3000}, extra="é" * 4000), "too_large"),
        ('{"type":"chat","payload":' + "[" * 4000 + "]" * 4000 + "}", "invalid_json"),
        (frame("stop_agent"), "invalid_payload"),
        (frame("stop_agent", payload={"message_id": "nobody"}), "invalid_payload"),
        (frame("chat", thread_id="somebody-else's"), "access_denied"),
        (frame("switch_thread", payload={"thread_id": "somebody-else's"}), "access_denied"),
    ],
)
def test_a_refusal_is_one_error_without_a_number_and_accepts_nothing(
    cell: HandCell, sent: str | bytes, code: str
) -> None:
    session, client = cell.connect()
    session.receive(sent)
    assert client.told == [(code, None)]
    event = client.last()
    assert event["payload"]["retryable"] is (code in {"rate_limited", "busy"})
    assert event["payload"]["reference"]
    assert cell.v2.runs == []
    assert cell.count("v2", "rejected") == 1
    assert session.last_number == 0


def test_a_refusal_answers_to_the_id_it_was_sent_with(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame("dance", "m1"))
    session.receive(frame("chat", "m2", payload={}))
    assert [event["message_id"] for event in client.events] == ["m1", "m2"]


def test_a_message_of_exactly_the_limit_is_accepted() -> None:
    _, session, client = connected(message_bytes=200)
    whole = frame("chat", "m1", pad="")
    session.receive(frame("chat", "m1", pad="x" * (200 - len(whole))))
    session.receive(frame("chat", "m2", pad="x" * (201 - len(whole))))
    assert client.told == [("ack", 1), ("too_large", None)]


def test_binary_is_refused_and_the_socket_stays(cell: HandCell) -> None:
    session, client = cell.connect()
    session.refuse_binary()
    assert client.told == [("invalid_json", None)]
    assert client.closed is None


def test_the_rate_is_a_burst_and_a_refill_and_counts_messages_only() -> None:
    cell, session, client = connected(rate_messages_per_minute=30, rate_messages_burst=2)
    for _ in range(3):
        session.receive(frame())
    session.receive(frame("ping"))
    assert [name for name, _ in client.told] == ["ack", "ack", "rate_limited", "pong"]
    cell.advance(2.0)
    session.receive(frame())
    assert client.told[-1] == ("ack", 3)


def test_a_users_rate_is_forgotten_when_it_no_longer_matters_and_nobody_holds_it() -> None:
    cell = HandCell(with_settings(rate_messages_per_minute=60, rate_messages_burst=1))
    session, _ = cell.connect("ann")
    session.receive(frame("chat", "m1"))
    cell.advance(60.0)
    cell.forget_rates()
    session.receive(frame("chat", "m2"))
    beside, others = cell.connect("ann")
    beside.receive(frame("chat", "m3"))
    assert others.told == [("rate_limited", None)], "both sockets have one bucket, although it was full meanwhile"
    for each in (session, beside):
        each.close(1000, "")
        each.end()
    cell.forget_rates()
    assert len(cell._message_rates) == 1, "it is not full yet"
    cell.advance(60.0)
    cell.forget_rates()
    assert len(cell._message_rates) == 0


def test_the_rate_is_the_users_not_the_sockets() -> None:
    cell = HandCell(with_settings(rate_messages_per_minute=30, rate_messages_burst=1))
    (one, _), (two, client), (other, others) = cell.connect(), cell.connect(), cell.connect("other")
    one.receive(frame())
    two.receive(frame())
    other.receive(frame())
    assert (client.told, others.told) == ([("rate_limited", None)], [("ack", 1)])


def test_a_flood_of_anything_is_closed_with_1008() -> None:
    _, session, client = connected(rate_messages_per_minute=30, rate_messages_burst=2)
    for _ in range(21):
        session.receive(frame("ping"))
    assert client.closed == (1008, "too many messages")
    assert len(client.told) == 20


def test_the_queue_is_bounded_in_messages_and_the_running_one_is_not_in_it() -> None:
    _, session, client = connected(queue_messages=2)
    for _ in range(4):
        session.receive(frame())
    assert client.told == [("ack", 1), ("ack", 2), ("ack", 3), ("busy", None)]


def test_the_queue_is_bounded_in_bytes_and_room_comes_back() -> None:
    cell, session, client = connected(queue_bytes=len(frame("chat", "m1")) * 2)
    for number in range(1, 5):
        session.receive(frame("chat", f"m{number}"))
    assert [name for name, _ in client.told] == ["ack", "ack", "ack", "busy"]
    cell.v2.work()
    session.receive(frame("chat", "m4"))
    assert client.told[-1] == ("ack", 4)


def test_a_repeated_id_does_not_run_twice_and_tells_the_first_outcome(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m1"))
    assert client.last()["payload"]["outcome"] is None
    cell.v2.work()
    session.receive(frame("chat", "m1"))
    assert client.told[-1] == ("duplicate", None)
    assert client.last()["payload"]["outcome"] == "agent_completed"
    assert len(cell.v2.runs) == 1
    assert cell.count("v2", "rejected") == 2


def test_the_duplicate_window_is_256_ids(cell: HandCell) -> None:
    session, client = cell.connect()
    for number in range(257):
        session.receive(frame("chat", f"m{number}"))
        cell.v2.work()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m0"))
    assert client.told[-2:] == [("duplicate", None), ("ack", 258)]


def test_a_refused_message_leaves_its_id_free() -> None:
    _, session, client = connected(queue_messages=1)
    for name in ("m1", "m2", "m3"):
        session.receive(frame("chat", name))
    session.receive(frame("stop_agent", payload={"message_id": "m2"}))
    session.receive(frame("chat", "m3"))
    assert [name for name, _ in client.told] == ["ack", "ack", "busy", "agent_stopped", "ack"]


def test_ping_bypasses_queue_number_and_ack(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame())
    session.receive(frame("ping", "p1"))
    assert client.told == [("ack", 1), ("pong", None)]
    assert client.last()["message_id"] == "p1"


# -- 2. numbers, order ------------------------------------------------------------------------------------------------


def test_messages_run_one_at_a_time_in_their_order_and_seq_has_no_gap(cell: HandCell) -> None:
    session, client = cell.connect()
    for _ in range(3):
        session.receive(frame())
    assert [run.number for run in cell.v2.runs] == [1]
    cell.v2.work()
    assert [run.number for run in cell.v2.runs] == [1, 2]
    cell.v2.work()
    cell.v2.work()
    assert client.told == [
        ("ack", 1),
        ("ack", 2),
        ("ack", 3),
        ("agent_thinking", 1),
        ("agent_completed", 1),
        ("agent_thinking", 2),
        ("agent_completed", 2),
        ("agent_thinking", 3),
        ("agent_completed", 3),
    ]
    assert list(numbers(client.events)) == list(range(1, 10))


def test_a_missing_id_is_made_and_returned(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame())
    assert client.last()["message_id"] == cell.v2.run.message_id != ""


def test_the_worker_gets_the_frame_as_it_came_and_is_opened_once(cell: HandCell) -> None:
    session, _ = cell.connect()
    session.receive(frame("chat", "m1", pad="ü"))
    cell.v2.work(document=b"one")
    session.receive(frame("chat", "m2"))
    assert cell.v2.runs[0].body == frame("chat", "m1", pad="ü").encode()
    assert [opened.document for opened in cell.v2.opens] == [None]
    assert session.document == b"one"


@pytest.mark.parametrize(
    ("terminal", "outcome"),
    [("agent_completed", "ok"), ("thread_history", "ok"), ("agent_stopped", "ok"), ("error", "error")],
)
def test_a_terminal_event_is_counted_once_by_its_outcome(cell: HandCell, terminal: str, outcome: str) -> None:
    session, client = cell.connect()
    session.receive(frame())
    cell.v2.started()
    cell.advance(0.5)
    cell.v2.done(terminal=terminal)
    assert client.last()["type"] == terminal
    assert client.last()["number"] == 1
    assert cell.count("v2", outcome) == 1
    assert [done.outcome for done in cell.done_with] == [outcome]


def test_a_switched_thread_is_the_sessions_from_then_on(cell: HandCell) -> None:
    session, _ = cell.connect()
    session.receive(frame("switch_thread", payload={"thread_id": "t2"}))
    cell.v2.done(terminal="thread_switched", thread_id="t2")
    assert session.thread_id == "t2"


# -- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, {"message_id": "m1"}])
def test_stop_ends_the_running_message_by_its_worker(cell: HandCell, payload: dict[str, str]) -> None:
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v2.started()
    session.receive(frame("stop_agent", payload=payload))
    session.receive(frame("stop_agent", payload=payload))
    assert [cancel.number for cancel in cell.v2.cancels] == [1]
    cell.v2.done(terminal="agent_stopped", document=b"after")
    assert client.told == [("ack", 1), ("ack", 2), ("agent_stopped", 1)]
    assert session.document == b"after"
    assert [run.number for run in cell.v2.runs] == [1, 2]
    assert cell.pending() == []


def test_stop_ends_a_queued_message_at_once_and_the_running_one_goes_on(cell: HandCell) -> None:
    session, client = cell.connect()
    for name in ("m1", "m2", "m3"):
        session.receive(frame("chat", name))
    session.receive(frame("stop_agent", payload={"message_id": "m2"}))
    assert client.told[3:] == [("agent_stopped", 2)]
    assert client.last()["message_id"] == "m2"
    cell.v2.work()
    assert cell.v2.run.number == 3


def test_stop_by_force_after_its_time_and_what_comes_late_is_thrown_away() -> None:
    cell, session, client = connected(stop_s=2.0)
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v2.started()
    stopped = cell.v2.run
    session.receive(frame("stop_agent"))
    cell.advance(1.99)
    assert client.told[2:] == []
    cell.advance(0.01)
    assert client.told[2:] == [("agent_stopped", 1)]
    assert Close([(session.key, stopped.epoch)]) in cell.v2.sent
    assert cell.v2.run.number == 2
    assert cell.v2.run.epoch > stopped.epoch
    cell.v2.event(stopped)
    assert client.told[3:] == []


def test_the_force_of_one_stop_does_not_reach_the_next_message() -> None:
    cell, session, client = connected(stop_s=2.0)
    for name in ("m1", "m2"):
        session.receive(frame("chat", name))
    session.receive(frame("stop_agent"))
    cell.v2.die()
    cell.bring_up("v2")
    assert client.told[2:] == [("agent_stopped", 1)]
    cell.advance(1.5)
    session.receive(frame("stop_agent"))
    cell.advance(1.0)
    assert client.told[3:] == []
    cell.advance(1.0)
    assert client.told[3:] == [("agent_stopped", 2)]


def test_a_message_that_completes_while_it_is_stopped_has_completed(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame())
    cell.v2.started()
    session.receive(frame("stop_agent"))
    cell.v2.done()
    cell.advance(5.0)
    assert client.told == [("ack", 1), ("agent_completed", 1)]


# -- 6. the socket ----------------------------------------------------------------------------------------------------


def test_when_the_socket_dies_the_running_message_finishes_and_the_queued_ones_are_interrupted(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v2.started()
    told = len(client.told)
    session.on_detached()
    assert [(done.number, done.outcome) for done in cell.done_with] == [(2, "interrupted")]
    cell.v2.event()
    cell.v2.done(document=b"kept")
    assert [(done.number, done.outcome) for done in cell.done_with] == [(2, "interrupted"), (1, "ok")]
    assert session.recent.outcomes() == [("m1", "agent_completed"), ("m2", "interrupted")]
    assert (session.document, session.state, len(client.told)) == (b"kept", SessionState.ENDED, told)
    assert cell.told.ended_keys == [session.key]
    assert cell.v2.held == {}


def test_a_client_that_comes_back_hears_the_rest_with_a_seq_of_its_own(cell: HandCell) -> None:
    session, _ = cell.connect()
    session.receive(frame())
    cell.v2.started()
    cell.v2.event()
    session.on_detached()
    again = Client()
    session.reconnect(ClientConnection(again, "c-2", 1.0), None)
    cell.v2.event()
    cell.v2.done()
    session.receive(frame())
    assert again.told == [("agent_thinking", 1), ("agent_completed", 1), ("ack", 2)]
    assert list(numbers(again.events)) == [1, 2, 3]
    assert cell.told.ended_keys == []


def test_taking_up_a_session_that_has_ended_names_what_was_expected(cell: HandCell) -> None:
    session, _ = cell.connect()
    session.end()
    with pytest.raises(IllegalTransition, match="expected closing, is ended"):
        session.reconnect(ClientConnection(Client(), "c-2", 1.0), None)


def test_a_slow_reader_is_closed_with_1013_and_its_message_finishes() -> None:
    cell, session, client = connected(send_buffer_bytes=1024)
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v2.started()
    client.backlog = 1025
    cell.v2.event()
    assert client.closed == (1013, "too slow")
    cell.v2.event()
    cell.v2.done()
    assert [(done.number, done.outcome) for done in cell.done_with] == [(2, "interrupted"), (1, "ok")]


def test_a_socket_that_is_full_at_the_terminal_event_ends_its_session_once() -> None:
    cell, session, client = connected(send_buffer_bytes=1024)
    session.receive(frame())
    cell.v2.started()
    session.move("v3", "flag")
    client.backlog = 1025
    cell.v2.done()
    assert cell.told.ended_keys == [session.key]
    assert {path: len(sessions) for path, sessions in cell.index.on.items()} == {"v2": 0, "v3": 0}


def test_an_interrupted_message_may_be_sent_again_even_when_telling_ended_the_session() -> None:
    cell, session, client = connected(send_buffer_bytes=1024)
    session.receive(frame("chat", "m1"))
    cell.v2.started()
    client.backlog = 1025
    cell.v2.die()
    assert session.recent.outcomes() == [("m1", "interrupted")]
    assert "m1" not in session.recent


def test_closing_from_this_side_is_the_same_as_the_client_going_away(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame())
    cell.v2.started()
    session.close(1012, "restart")
    session.receive(frame())
    session.refuse_binary()
    assert client.closed == (1012, "restart")
    assert client.told == [("ack", 1)]
    cell.v2.done()
    assert cell.told.ended_keys == [session.key]


def test_ending_a_session_fences_what_runs_and_leaves_nothing_waiting(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    session.receive(frame("chat", "m2"))
    cell.v2.started()
    session.end()
    session.end()
    assert [(done.number, done.outcome) for done in cell.done_with] == [(1, "interrupted"), (2, "interrupted")]
    assert cell.told.ended_keys == [session.key]
    assert len(client.told) == 2
    before = cell.counters.slots.copy()
    cell.v2.done()
    assert cell.counters.slots != before, "the late event is counted"
    assert len(cell.done_with) == 2


# -- illegal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("say", ["started", "event", "done"])
def test_an_event_of_a_message_that_does_not_run_is_illegal_and_named(cell: HandCell, say: str) -> None:
    session, client = cell.connect()
    session.receive(frame())
    run = cell.v2.run
    cell.v2.work()
    session.receive(frame())
    with pytest.raises(
        IllegalTransition, match=rf"session {session.key}: expected an event of message 2, got one of 1"
    ):
        getattr(cell.v2, say)(run)
    assert client.told == [("ack", 1), ("agent_thinking", 1), ("agent_completed", 1), ("ack", 2)]


def test_one_broken_frame_does_not_hide_the_other_sessions_frames(cell: HandCell) -> None:
    (one, _), (two, client) = cell.connect("one"), cell.connect("two")
    one.receive(frame())
    broken = cell.v2.run
    cell.v2.work()
    two.receive(frame())
    batch = Batch(cell)
    batch.done(broken)
    batch.started(cell.v2.run)
    batch.done(cell.v2.run)
    with pytest.raises(IllegalTransition):
        cell.v2.say(*batch.frames)
    assert client.told == [("ack", 1), ("agent_completed", 1)]


class Batch(HandWorker):
    """Collects frames to be said in one batch."""

    def __init__(self, cell: HandCell) -> None:
        super().__init__(cell, "v2")
        self.frames: list[Traffic] = []

    def say(self, *frames: Traffic) -> None:
        self.frames += frames


def test_what_the_gateway_says_names_no_path(cell: HandCell) -> None:
    session, client = cell.connect()
    session.receive(frame("chat", "m1"))
    cell.v2.started()
    cell.v2.die()
    assert "v2" not in json.dumps(client.events)


# -- whose fields they are --------------------------------------------------------------------------------------------


def test_nobody_but_the_session_writes_its_fields() -> None:
    """Assignments to an attribute of something called a session, anywhere in the gateway."""
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(session_module.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and path.name != "session.py"
        if isinstance(node.value, ast.Name) and node.value.id.endswith("session")
    ]
    assert found == []
