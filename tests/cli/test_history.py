"""The history checker: a run that keeps the contract passes, and each seeded defect is caught under its own rule."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from app.loadtest.history import ClientHistory, Rule
from app.loadtest.report import CohortShare, quantile_ms

Wire = list[dict[str, object]]


def event(kind: str, message_id: str | None = None, number: int | None = None, **payload: object) -> dict[str, object]:
    """A server's event without `seq`, which the replay stamps."""
    body: dict[str, object] = {"type": kind, "payload": payload, "user_id": "u1", "thread_id": "t", "timestamp": ""}
    if message_id is not None:
        body["message_id"] = message_id
    if number is not None:
        body["number"] = number
    return body


def ready(recovered: bool | str = False, outcomes: list[list[str]] | None = None) -> dict[str, object]:
    return event("connection_ready", resume_token="r", recovered=recovered, outcomes=outcomes or [])


def message(message_id: str, number: int) -> Wire:
    return [
        event("ack", message_id, number),
        event("agent_started", message_id, number),
        event("agent_completed", message_id, number, content="hello"),
    ]


def replay(history: ClientHistory, wire: Wire, start: int = 1) -> None:
    """Frames as they came, `seq` stamped unless the frame has its own."""
    for seq, frame in enumerate(wire, start=start):
        history.received(msgspec.json.encode({"seq": seq, **frame}), 1.0 + seq)


def conversation() -> Wire:
    """Three messages a, b, c: b is acked while a runs."""
    a, b, c = message("a", 1), message("b", 2), message("c", 3)
    return [ready(), a[0], b[0], *a[1:], *b[1:], *c]


def sent_abc() -> ClientHistory:
    history = ClientHistory("u1")
    for message_id in "abc":
        history.sent(message_id, 0.0)
    return history


def test_a_run_that_keeps_the_contract_has_no_violation() -> None:
    history = sent_abc()
    replay(history, conversation())
    history.closed(1000, asked=True)
    assert history.end() == []
    assert (history.accepted, history.finished, history.outstanding) == (3, 3, 0)
    assert history.drops == {}
    assert history.resume_token == "r"


def drop(index: int) -> Callable[[Wire], Wire]:
    return lambda wire: wire[:index] + wire[index + 1 :]


def double(index: int) -> Callable[[Wire], Wire]:
    return lambda wire: wire[: index + 1] + wire[index:]


def swap(one: int, other: int) -> Callable[[Wire], Wire]:
    def swapped(wire: Wire) -> Wire:
        result = list(wire)
        result[one], result[other] = wire[other], wire[one]
        return result

    return swapped


def change(index: int, **fields: object) -> Callable[[Wire], Wire]:
    return lambda wire: [*wire[:index], {**wire[index], **fields}, *wire[index + 1 :]]


# Index in `conversation`: 0 ready, 1 ack a, 2 ack b, 3 start a, 4 end a, 5 start b, 6 end b, 7 ack c, 8 start c,
# 9 end c.
DEFECTS: list[tuple[str, Callable[[Wire], Wire], Rule]] = [
    ("lost ack", drop(7), "one answer per message"),
    ("lost last ack", lambda wire: wire[:7], "one answer per message"),
    ("doubled ack", double(1), "one answer per message"),
    ("lost terminal", drop(9), "exactly one terminal event"),
    ("doubled terminal", double(4), "exactly one terminal event"),
    ("event after the terminal", swap(3, 4), "nothing after the terminal event"),
    ("started twice", double(3), "run once"),
    ("reordered terminals", swap(4, 6), "one at a time, in order"),
    ("b begins before a ended", swap(4, 5), "one at a time, in order"),
    ("reordered acks", swap(1, 2), "numbers in order"),
    ("a number left out", change(7, number=4), "numbers in order"),
    ("an ack without a number", change(7, number=None), "numbers in order"),
    ("a gap in seq", change(5, seq=7), "seq gap-free"),
    ("seq twice", change(5, seq=5), "seq gap-free"),
    ("no connection_ready", drop(0), "connection_ready first"),
    ("another message's number", change(4, message_id="b"), "number belongs to its message"),
    ("another user's event", change(4, user_id="u2"), "own user only"),
    ("not an event", change(4, type=7), "unreadable"),
]


@pytest.mark.parametrize(("seed", "rule"), [each[1:] for each in DEFECTS], ids=[each[0] for each in DEFECTS])
def test_each_seeded_defect_is_caught(seed: Callable[[Wire], Wire], rule: Rule) -> None:
    history = sent_abc()
    replay(history, seed(conversation()))
    assert rule in {violation.rule for violation in history.end()}


def test_a_close_that_nobody_asked_for_is_a_drop_and_a_strange_code_a_violation() -> None:
    history = sent_abc()
    history.closed(1012, asked=False)
    history.closed(1006, asked=False)
    assert history.drops == {1012: 1, 1006: 1}
    assert [violation.rule for violation in history.end()] == ["close code"]
    assert history.unknown == 3


def test_a_refusal_answers_a_message_without_a_number() -> None:
    history = sent_abc()
    history.sent_control("stop-1")
    wire = [
        *conversation()[:-3],
        event("error", "c", code="rate_limited"),
        event("error", "stop-1", code="invalid_payload"),
        event("error", code="invalid_json"),
    ]
    replay(history, wire)
    assert history.end() == []
    assert history.refusals == {"rate_limited": 1, "invalid_payload": 1, "invalid_json": 1}
    replay(history, [event("error", "never-sent", code="busy")], start=len(wire) + 1)
    assert [violation.rule for violation in history.end()] == ["one answer per message"]


def test_an_id_sent_again_is_answered_again() -> None:
    history = ClientHistory("u1")
    history.sent("a", 0.0)
    history.sent("a", 0.0)
    replay(history, [ready(), message("a", 1)[0], event("error", "a", code="duplicate"), *message("a", 1)[1:]])
    assert history.end() == []
    assert history.refusals == {"duplicate": 1}


def test_a_stopped_queued_message_may_end_before_its_turn_and_a_running_one_may_not() -> None:
    history = sent_abc()
    a, b, c = message("a", 1), message("b", 2), message("c", 3)
    replay(history, [ready(), a[0], b[0], event("agent_stopped", "b", 2), *a[1:], *c])
    assert history.end() == []


def test_after_a_resume_outcomes_settle_what_ended_meanwhile() -> None:
    history = sent_abc()
    a, b, c = message("a", 1), message("b", 2), message("c", 3)
    replay(history, [ready(), a[0], b[0], a[1]])
    history.closed(1012, asked=False)
    replay(history, [ready(True, [["a", "agent_completed"], ["b", "interrupted"]])])
    history.sent("c", 2.0)
    replay(history, c, start=2)
    assert history.end() == []
    assert history.finished == 3


def test_a_finished_message_has_its_latency_and_error_code() -> None:
    history = ClientHistory("u1")
    history.sent("a", 10.0)
    history.received(msgspec.json.encode({"seq": 1, **ready()}), 10.0)
    history.received(msgspec.json.encode({"seq": 2, **event("ack", "a", 1)}), 10.5)
    done = history.received(msgspec.json.encode({"seq": 3, **event("error", "a", 1, code="timeout")}), 12.0)
    assert done is not None
    assert (done.type, done.code, done.latency_s) == ("error", "timeout", 2.0)


@pytest.mark.parametrize(
    ("on_v3", "users", "expected", "fits"),
    [
        (98, 1000, 10.0, True),  # one standard error is 0.95 points
        (128, 1000, 10.0, True),
        (129, 1000, 10.0, False),
        (71, 1000, 10.0, False),
        (0, 1000, 0.0, True),
        (1, 1000, 0.0, False),
        (1000, 1000, 100.0, True),
        (0, 0, 0.0, False),
    ],
)
def test_the_share_is_held_against_three_standard_errors(on_v3: int, users: int, expected: float, fits: bool) -> None:
    assert CohortShare(on_v3, users, expected).fits is fits


def test_the_shares_words() -> None:
    assert (
        CohortShare(98, 1000, 10.0).words() == "v3 share 9.8 % of 1000 users (expected 10 %, within 3 standard errors)"
    )


def test_a_quantile_is_a_value_that_occurred() -> None:
    values = [each / 1000 for each in range(1, 101)]
    assert [quantile_ms(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile_ms([], 0.5) is None
