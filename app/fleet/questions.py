"""What one cell of a host asks another, as it goes over the bus; most answers are views, censuses and error counts."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from rollout.names import PathName

SessionKey = tuple[str, str]
"""User and connection: the order of sessions, in which pages follow one another."""


class SessionsOf(Struct, frozen=True, tag="sessions"):
    path: PathName | None
    limit: int
    search: str = ""
    """Part of a user id, in any case."""
    after: SessionKey | None = None
    """Only those that come after this one."""


class SessionsOfUser(Struct, frozen=True, tag="user"):
    user_id: str


class CensusOf(Struct, frozen=True, tag="census"):
    pass


class ErrorsOf(Struct, frozen=True, tag="errors"):
    pass


class FiguresOf(Struct, frozen=True, tag="figures"):
    """What a cell has counted by now, for a scrape: `app.fleet.bus.CellFigures`."""


class Prepare(Struct, frozen=True, tag="prepare"):
    """Start a worker of this build of v3 beside the one that serves, and check it."""

    factory: str
    python: str
    build: str


class Adopt(Struct, frozen=True, tag="adopt"):
    """Let the prepared worker serve; a cell that has none, because it was started meanwhile, prepares it first."""

    factory: str
    python: str
    build: str


class Abandon(Struct, frozen=True, tag="abandon"):
    """Stop the prepared worker again."""


class Wanted(Struct, frozen=True, tag="wanted"):
    """The client of this session came back to the cell that asks; answered by whether it was here."""

    digest: str


Question: TypeAlias = SessionsOf | SessionsOfUser | CensusOf | ErrorsOf | FiguresOf | Prepare | Adopt | Abandon | Wanted
