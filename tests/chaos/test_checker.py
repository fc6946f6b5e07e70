"""The checker is checked: a run over two connections that keeps the contract passes, each seeded defect is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from app.loadtest.history import Rule
from ops.chaos.documents import DocumentedHistory
from ops.chaos.verification import Sighting, said_too_early

Wire = list[dict[str, object]]
USER = "u1"


def event(kind: str, message_id: str | None = None, number: int | None = None, **payload: object) -> dict[str, object]:
    body: dict[str, object] = {"type": kind, "payload": payload, "user_id": USER}
    return body | {name: value for name, value in (("message_id", message_id), ("number", number)) if value is not None}


def ack(message_id: str, number: int) -> dict[str, object]:
    return event("ack", message_id, number)


def started(message_id: str, number: int) -> dict[str, object]:
    return event("agent_started", message_id, number)


def completed(message_id: str, number: int, runs: int) -> dict[str, object]:
    return event("agent_completed", message_id, number, content=json.dumps({"runs": runs, "path": "v3"}))


def interrupted(message_id: str, number: int) -> dict[str, object]:
    return event("error", message_id, number, code="interrupted")


def kept(message_id: str, number: int, *contents: str) -> dict[str, object]:
    return event("thread_history", message_id, number, exchanges=[{"content": content} for content in contents])


def ready(recovered: bool = False, *outcomes: tuple[str, str]) -> dict[str, object]:
    return event("connection_ready", resume_token="token", recovered=recovered, outcomes=list(outcomes))


def first_connection() -> Wire:
    """0 ready; 1-3 a; 4 ack b, 5 ack c; 6-7 b is interrupted; 8-9 c; 10 ack b again; 11-12 b; 13-14 history."""
    return [
        ready(),
        *(ack("a", 1), started("a", 1), completed("a", 1, 1)),
        *(ack("b", 2), ack("c", 3)),
        *(started("b", 2), interrupted("b", 2)),
        *(started("c", 3), completed("c", 3, 2)),
        *(ack("b", 4), started("b", 4), completed("b", 4, 3)),
        *(ack("h", 5), kept("h", 5, "say a", "say c", "say b")),
    ]


def second_connection() -> Wire:
    """0 ready; 1 d still runs: its ack was lost with the first socket; 2 e ended meanwhile; 3 d's end; 4-6 f; 7-8."""
    return [
        ready(True, ("e", "agent_completed"), ("a", "agent_completed")),
        started("d", 7),
        completed("d", 7, 5),
        *(ack("f", 8), started("f", 8), completed("f", 8, 6)),
        *(ack("g", 9), kept("g", 9, "say a", "say c", "say b", "say e", "say d", "say f")),
    ]


def unchanged(wire: Wire) -> Wire:
    return wire


def judge(first: Callable[[Wire], Wire] = unchanged, second: Callable[[Wire], Wire] = unchanged) -> set[Rule]:
    history = DocumentedHistory(USER)

    def send(*ids: str) -> None:
        for message_id in ids:
            history.says(message_id, f"say {message_id}")
            history.sent(message_id, 0.0)

    def hear(wire: Wire) -> None:
        for seq, frame in enumerate(wire, start=1):
            history.received(msgspec.json.encode({"seq": seq, **frame}), float(seq))

    send("a", "b", "c", "b", "h")
    hear(first(first_connection()))
    send("e", "d")
    history.closed(1006, asked=True)
    send("f", "g")
    hear(second(second_connection()))
    history.closed(1000, asked=True)
    return {violation.rule for violation in history.end()}


def test_two_connections_that_keep_the_contract_pass() -> None:
    assert judge() == set()


def lose(index: int) -> Callable[[Wire], Wire]:
    return lambda wire: [*wire[:index], *wire[index + 1 :]]


def twice(index: int) -> Callable[[Wire], Wire]:
    return lambda wire: [*wire[: index + 1], *wire[index:]]


def late(index: int, after: int) -> Callable[[Wire], Wire]:
    return lambda wire: [*wire[: after + 1], wire[index], *wire[after + 1 :]]


def swap(one: int, other: int) -> Callable[[Wire], Wire]:
    def swapped(wire: Wire) -> Wire:
        result = list(wire)
        result[one], result[other] = wire[other], wire[one]
        return result

    return swapped


def put(index: int, frame: dict[str, object]) -> Callable[[Wire], Wire]:
    return lambda wire: [*wire[:index], frame, *wire[index + 1 :]]


FIRST: list[tuple[str, Callable[[Wire], Wire], Rule]] = [
    ("lost ack", lose(5), "one answer per message"),
    ("lost terminal", lose(9), "exactly one terminal event"),
    ("two terminals", twice(9), "exactly one terminal event"),
    ("a skipped fence: an event after the interruption", late(6, after=7), "nothing after the terminal event"),
    ("a skipped fence: the old path's end after the interruption", late(9, after=9), "exactly one terminal event"),
    ("double dispatch, both starts seen", twice(6), "run once"),
    ("double dispatch, seen in the run counter", put(9, completed("c", 3, 3)), "run once"),
    ("double dispatch, seen in the history", put(14, kept("h", 5, "say a", "say c", "say c", "say b")), "run once"),
    ("the retry is refused", put(10, event("error", "b", code="duplicate")), "a retry runs"),
    ("reordered ends", swap(7, 9), "one at a time, in order"),
    ("reordered acks", swap(4, 5), "numbers in order"),
    ("the run counter goes back", put(12, completed("b", 4, 2)), "the document never goes back"),
    ("the history forgets", put(14, kept("h", 5, "say a", "say b")), "the document never goes back"),
    ("the history is in another order", put(14, kept("h", 5, "say c", "say a", "say b")), "run once"),
    ("a gap in seq", put(8, {**started("c", 3), "seq": 10}), "seq gap-free"),
    ("another user's event", put(8, {**started("c", 3), "user_id": "u2"}), "own user only"),
    ("another message's number", put(8, started("b", 3)), "number belongs to its message"),
]
SECOND: list[tuple[str, Callable[[Wire], Wire], Rule]] = [
    ("an outcome is lost", put(0, ready(True)), "run once"),
    ("the unseen message ends twice", twice(2), "exactly one terminal event"),
    ("more numbers than were sent", put(3, ack("f", 10)), "numbers in order"),
    ("a number again", put(3, ack("f", 5)), "numbers in order"),
    ("an event of nothing that was sent", put(1, started("x", 7)), "one answer per message"),
    ("the document of before the resume", put(5, completed("f", 8, 4)), "the document never goes back"),
]


@pytest.mark.parametrize(("seed", "rule"), [each[1:] for each in FIRST], ids=[each[0] for each in FIRST])
def test_a_defect_on_the_first_connection_is_caught_by_name(seed: Callable[[Wire], Wire], rule: Rule) -> None:
    assert rule in judge(first=seed)


@pytest.mark.parametrize(("seed", "rule"), [each[1:] for each in SECOND], ids=[each[0] for each in SECOND])
def test_a_defect_after_the_resume_is_caught_by_name(seed: Callable[[Wire], Wire], rule: Rule) -> None:
    assert rule in judge(second=seed)


def test_an_unexpected_close_is_caught_and_the_announced_ones_are_not() -> None:
    for code in (1000, 1005, 1006, 1011):
        history = DocumentedHistory(USER)
        history.closed(code, asked=False)
        assert [violation.rule for violation in history.end()] == ["close code"]
    for code in (1001, 1008, 1009, 1012, 1013):
        history = DocumentedHistory(USER)
        history.closed(code, asked=False)
        assert history.end() == []
        assert history.drops == {code: 1}


@pytest.mark.parametrize(
    ("sightings", "answers_at", "words"),
    [
        ([Sighting(9.0, 4, 7), Sighting(10.5, 0, 9), Sighting(11.0, 0, 9)], [10.1], []),
        ([Sighting(10.5, 3, 9)], [], ["3 sessions on v3 500 ms after the rollback was verified"]),
        ([Sighting(10.5, 0, 9), Sighting(11, 0, 11)], [], ["2 admissions to v3 after the rollback was verified"]),
        ([], [9.0, 12.0], ["an answer of v3 2000 ms after the rollback was verified"]),
    ],
    ids=["true", "a session afterwards", "an admission afterwards", "an answer afterwards"],
)
def test_verified_said_too_early_is_caught(
    sightings: list[Sighting], answers_at: list[float], words: list[str]
) -> None:
    assert said_too_early(10.0, sightings, answers_at) == words
