"""The sessions of a cell, findable by key, path and user. An index only: it decides nothing and sends nothing."""

from __future__ import annotations

from collections.abc import Iterator

from app.gateway.session import Session
from rollout.names import PathName


class SessionIndex:
    """Every live session once; `on` is kept in step by `moved`."""

    def __init__(self) -> None:
        self.by_key: dict[int, Session] = {}
        self.on: dict[PathName, set[Session]] = {"v2": set(), "v3": set()}
        self._by_user: dict[str, list[Session]] = {}
        self._last_key = 0

    def new_key(self) -> int:
        self._last_key += 1
        return self._last_key

    def add(self, session: Session) -> None:
        self.by_key[session.key] = session
        self.on[session.path].add(session)
        self._by_user.setdefault(session.user_id, []).append(session)

    def moved(self, session: Session, source: PathName) -> None:
        self.on[source].discard(session)
        self.on[session.path].add(session)

    def remove(self, session: Session) -> None:
        if self.by_key.pop(session.key, None) is None:
            return
        self.on[session.path].discard(session)
        others = self._by_user[session.user_id]
        others.remove(session)
        if not others:
            del self._by_user[session.user_id]

    def of_user(self, user_id: str) -> list[Session]:
        return self._by_user.get(user_id, [])

    def users(self) -> Iterator[tuple[str, list[Session]]]:
        return iter(self._by_user.items())

    def users_on(self, path: PathName) -> set[str]:
        return {session.user_id for session in self.on[path]}

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[Session]:
        return iter(self.by_key.values())
