"""The index of sessions: users are counted as sessions come, move and go, and nobody is walked through for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.session import Session
from rollout.names import PathName
from tests.gateway.harness import HandCell

steps = st.lists(st.tuples(st.sampled_from(["open", "move", "end"]), st.integers(0, 5)), max_size=30)


@given(steps)
def test_users_are_those_of_the_sessions_on_a_path(steps: list[tuple[str, int]]) -> None:
    cell, open_sessions = HandCell(), list[Session]()
    for what, number in steps:
        if what == "open":
            open_sessions.append(cell.connect(f"u{number % 3}")[0])
        elif open_sessions and what == "move":
            session = open_sessions[number % len(open_sessions)]
            session.move("v3" if session.path == "v2" else "v2", "flag")
        elif open_sessions:
            open_sessions.pop(number % len(open_sessions)).end()
        paths: tuple[PathName, ...] = ("v2", "v3")
        for path in paths:
            users = {session.user_id for session in open_sessions if session.path == path}
            assert cell.users_on(path) == users
            assert cell.path_state(path).users == len(users)


def test_the_state_of_a_path_does_not_walk_through_its_sessions() -> None:
    cell = HandCell()
    for number in range(3):
        cell.connect(f"u{number}")
    cell.index.on["v2"] = Counted(cell.index.on["v2"])
    assert cell.path_state("v2").users == 3


class Counted(set[Session]):
    """Has a length and cannot be walked through."""

    def __iter__(self) -> None:  # type: ignore[override]
        raise AssertionError("walked through")
