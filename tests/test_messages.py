"""The built-in message format: how frames are read, how bad ones are refused, and how events are rendered."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.message_types import ErrorCode, Inbound, Refusal, Request
from app.messages import RETRYABLE, error_payload, new_message_id, read, render, request_of, stamp, timestamp


def message(type: object, payload: object = None, **rest: object) -> bytes:
    return json.dumps({"type": type} | ({} if payload is None else {"payload": payload}) | rest).encode()


@pytest.mark.parametrize(
    ("frame", "inbound", "request_"),
    [
        (message("chat", {"content": "hi"}), Inbound("work", None), Request("message", "hi")),
        (message("user_message", {"text": "hi"}), Inbound("work", None), Request("message", "hi")),
        (message("user", {"message": "hi"}), Inbound("work", None), Request("message", "hi")),
        (
            message("message", {"content": "a", "text": "b", "message": "c"}),
            Inbound("work", None),
            Request("message", "a"),
        ),
        (message("chat_message", {"content": "hi"}, message_id="m"), Inbound("work", "m"), Request("message", "hi")),
        (message("chat", {"content": "ü" * 4000}), Inbound("work", None), Request("message", "ü" * 4000)),
        (
            message("chat", {"content": "hi", "new": 1}, thread_id="t", other=[]),
            Inbound("work", None, "t"),
            Request("message", "hi", thread_id="t"),
        ),
        (
            message("start_agent", {"user_request": "do", "agent": "echo"}),
            Inbound("work", None),
            Request("agent", "do", "echo"),
        ),
        (message("execute_agent", {"user_request": "do"}), Inbound("work", None), Request("agent", "do")),
        (message("get_thread_history"), Inbound("work", None), Request("history")),
        (message("get_thread_history", {"limit": 5}), Inbound("work", None), Request("history", limit=5)),
        (
            message("switch_thread", {"thread_id": "t2"}, thread_id="t1"),
            Inbound("work", None, "t2"),
            Request("switch", thread_id="t2"),
        ),
    ],
)
def test_work_is_read_by_every_name_it_has_had(frame: bytes, inbound: Inbound, request_: Request) -> None:
    assert read(frame) == read(frame.decode()) == inbound
    assert request_of(frame) == request_


@pytest.mark.parametrize(
    ("frame", "inbound"),
    [
        (message("ping"), Inbound("ping", None)),
        (message("ping", message_id="p"), Inbound("ping", "p")),
        (message("stop_agent"), Inbound("stop", None)),
        (message("stop_agent", {"message_id": "m"}, message_id="s"), Inbound("stop", "s", target="m")),
    ],
)
def test_what_is_no_work_is_read_and_has_no_request(frame: bytes, inbound: Inbound) -> None:
    assert read(frame) == inbound
    with pytest.raises(msgspec.DecodeError):
        request_of(frame)


@pytest.mark.parametrize(
    ("frame", "code", "message_id"),
    [
        (b"", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b'{"type":"ping"', "invalid_json", None),
        (b'{"type":"chat","payload":' + b"[" * 5000 + b"]" * 5000 + b"}", "invalid_json", None),
        (b"null", "invalid_payload", None),
        (message("dance", message_id="m"), "unknown_type", "m"),
        (message(7, message_id="m"), "unknown_type", "m"),
        (message("user_message, chat"), "unknown_type", None),
        (b"{}", "unknown_type", None),
        (message("chat", message_id="m"), "invalid_payload", "m"),
        (message("chat", {}, message_id="m"), "invalid_payload", "m"),
        (message("chat", {"content": ""}, message_id="m"), "invalid_payload", "m"),
        (message("chat", {"content": "x" * 4001}), "invalid_payload", None),
        (message("chat", {"content": 5}), "invalid_payload", None),
        (message("chat", "hi"), "invalid_payload", None),
        (message("chat", {"content": "hi"}, message_id=""), "invalid_payload", None),
        (message("chat", {"content": "hi"}, message_id="x" * 129), "invalid_payload", None),
        (message("chat", {"content": "hi"}, message_id=5), "invalid_payload", None),
        (message("start_agent", {"user_request": ""}), "invalid_payload", None),
        (message("get_thread_history", {"limit": 0}), "invalid_payload", None),
        (message("get_thread_history", {"limit": 101}), "invalid_payload", None),
        (message("switch_thread", {}), "invalid_payload", None),
        (message("switch_thread"), "invalid_payload", None),
    ],
)
def test_a_bad_frame_is_refused_and_its_id_found(frame: bytes, code: str, message_id: str | None) -> None:
    refusal = read(frame)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message_id) == (code, message_id)
    assert refusal.message


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(message, st.sampled_from(["chat", "ping", "stop_agent", "dance"]), json_values, message_id=json_values)
)
def test_reading_never_raises(frame: bytes) -> None:
    outcome = read(frame)
    assert isinstance(outcome, Inbound | Refusal)
    if isinstance(outcome, Inbound) and outcome.kind == "work":
        assert isinstance(request_of(frame), Request)


@given(st.text(), st.text(min_size=1), st.none() | st.integers(1), st.integers(1, 10**9))
def test_an_event_is_written_as_it_is_and_its_seq_comes_first(
    user: str, message_id: str, number: int | None, seq: int
) -> None:
    written = stamp(seq, render("pong", {"a": user}, user, "t", message_id, number, None, now=0.0))
    assert written.startswith(b'{"seq":%d,' % seq)
    expected: dict[str, Any] = {
        "seq": seq,
        "type": "pong",
        "payload": {"a": user},
        "user_id": user,
        "thread_id": "t",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "message_id": message_id,
    }
    if number is not None:
        expected["number"] = number
    assert json.loads(written) == expected


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:20.999Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (1_700_000_001.5, "2023-11-14T22:13:21.500Z"),
    ],
)
def test_a_timestamp_is_utc_with_milliseconds(now: float, text: str) -> None:
    assert timestamp(now) == text


def test_the_text_of_a_moment_is_not_kept_for_the_next() -> None:
    moments = (5.0, 5.001, 6.001, 6.002, 5.002, 5.002)
    assert [timestamp(moment)[17:] for moment in moments] == [
        "05.000Z",
        "05.001Z",
        "06.001Z",
        "06.002Z",
        "05.002Z",
        "05.002Z",
    ]


@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_an_error_says_whether_to_try_again_and_has_a_reference(code: ErrorCode) -> None:
    payload = error_payload(code, "words")
    assert payload["retryable"] is (code in RETRYABLE)
    assert payload["reference"] != error_payload(code, "words")["reference"]
    assert error_payload(code, "words", "r1")["reference"] == "r1"


def test_what_may_be_sent_again_is_what_may_go_better_the_next_time() -> None:
    assert {"rate_limited", "busy", "timeout", "interrupted", "internal"} == RETRYABLE


def test_made_ids_differ_and_are_ids() -> None:
    made = {new_message_id() for _ in range(100)}
    assert len(made) == 100
    assert all(read(message("ping", message_id=one)) == Inbound("ping", one) for one in made)
