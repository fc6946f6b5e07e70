"""The sessions of a cell, findable by key, path and user."""

from __future__ import annotations

from collections.abc import Iterator, KeysView

from app.gateway.session import Session
from rollout.names import PathName


class SessionIndex:
    """Every live session once; whoever binds a session to another path calls `moved`."""

    def __init__(self) -> None:
        self.by_key: dict[int, Session] = {}
        self.on: dict[PathName, set[Session]] = {"v2": set(), "v3": set()}
        self._by_user: dict[str, list[Session]] = {}
        self._counts: dict[PathName, dict[str, int]] = {"v2": {}, "v3": {}}
        """Sessions of each user on each path; no user stands there with none."""
        self._last_key = 0

    def new_key(self) -> int:
        self._last_key += 1
        return self._last_key

    def add(self, session: Session) -> None:
        self.by_key[session.key] = session
        self._by_user.setdefault(session.user_id, []).append(session)
        self._put(session)

    def moved(self, session: Session, source: PathName) -> None:
        """The session, once on `source`, is bound to another path."""
        self._take(session, source)
        self._put(session)

    def remove(self, session: Session) -> None:
        if self.by_key.pop(session.key, None) is None:
            return
        self._take(session, session.path)
        others = self._by_user[session.user_id]
        others.remove(session)
        if not others:
            del self._by_user[session.user_id]

    def user_ids(self) -> KeysView[str]:
        """Everybody who has a session."""
        return self._by_user.keys()

    def of_user(self, user_id: str) -> list[Session]:
        return self._by_user.get(user_id, [])

    def users(self) -> Iterator[tuple[str, list[Session]]]:
        return iter(self._by_user.items())

    def users_on(self, path: PathName) -> set[str]:
        return set(self._counts[path])

    def user_count(self, path: PathName) -> int:
        """Users with a session on a path, each once; costs nothing, however many they are."""
        return len(self._counts[path])

    def _put(self, session: Session) -> None:
        self.on[session.path].add(session)
        counts = self._counts[session.path]
        counts[session.user_id] = counts.get(session.user_id, 0) + 1

    def _take(self, session: Session, path: PathName) -> None:
        self.on[path].discard(session)
        counts = self._counts[path]
        counts[session.user_id] -= 1
        if not counts[session.user_id]:
            del counts[session.user_id]

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[Session]:
        return iter(self.by_key.values())
