"""Identity: the frozen contexts and the thread ids that carry a digest of their owner."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.supervisor.context import RequestContext, WebSocketContext
from app.supervisor.contract import Opening
from app.supervisor.threads import new_thread_id, owns_thread

SECRET = b"a secret of the cells, long enough"
OPENING = Opening("c-1", "ada", "t-1", 1_700_000_000.5)


@pytest.mark.parametrize("make", [WebSocketContext, RequestContext])
@pytest.mark.parametrize(
    ("connection", "user"), [("", "ada"), ("c-1", ""), ("c-1", "  "), (None, "ada"), ("c-1", None)]
)
def test_a_missing_identity_is_a_value_error(make: type, connection: object, user: object) -> None:
    with pytest.raises(ValueError, match="must be text that is not empty"):
        make(connection, user)


@pytest.mark.parametrize("context", [WebSocketContext.of(OPENING), RequestContext.of(OPENING)])
def test_a_context_is_frozen_and_has_nothing_a_websocket_does_not_have(context: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.user_id = "eve"  # type: ignore[attr-defined]
    assert not {"method", "body", "headers", "run_id"} & set(dir(context))


def test_the_time_is_aware_and_utc() -> None:
    assert WebSocketContext.of(OPENING).connected_at == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert WebSocketContext("c-1", "ada").connected_at.tzinfo is UTC
    for wrong in (datetime(2023, 1, 1), datetime(2023, 1, 1, tzinfo=timezone(timedelta(hours=2)))):  # noqa: DTZ001
        with pytest.raises(ValueError, match="aware time in UTC"):
            WebSocketContext("c-1", "ada", "t-1", wrong)


def test_a_thread_id_is_made_when_absent_and_is_new_each_time() -> None:
    first, second = WebSocketContext("c-1", "ada"), WebSocketContext("c-1", "ada")
    assert first.thread_id.startswith("t-") and first.thread_id != second.thread_id
    assert WebSocketContext("c-1", "ada", "t-given").thread_id == "t-given"


def test_the_isolation_key_tells_every_session_and_user_apart() -> None:
    pairs = [("c-1", "ada"), ("c-2", "ada"), ("c-1", "bob"), ("c-1", "ada/c-1"), ("c-1", "c-1/ada")]
    assert len({WebSocketContext(*pair).isolation_key for pair in pairs}) == len(pairs)


@given(user=st.text(min_size=1), other=st.text(min_size=1), secret=st.binary(min_size=1, max_size=200))
def test_only_the_owner_owns_a_thread(user: str, other: str, secret: bytes) -> None:
    user, other = user.encode(errors="replace").decode(), other.encode(errors="replace").decode()
    thread = new_thread_id(user, secret)
    assert owns_thread(user, thread, secret)
    assert owns_thread(other, thread, secret) is (other == user)
    assert not owns_thread(user, thread, secret + b"!")


@pytest.mark.parametrize("position", range(2, 42))
def test_a_changed_thread_id_is_nobodys(position: int) -> None:
    thread = new_thread_id("ada", SECRET)
    changed = thread[:position] + ("0" if thread[position] != "0" else "1") + thread[position + 1 :]
    assert not owns_thread("ada", changed, SECRET)


@pytest.mark.parametrize(
    "thread", ["", "t-", "t--", "t-0011223344556677-", "t-0011223344556677-ä", "x", "-", "T" * 128]
)
def test_what_is_no_thread_id_is_nobodys(thread: str) -> None:
    assert not owns_thread("ada", thread, SECRET)


def test_a_thread_id_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        new_thread_id("ada", b"")
