"""Whoever is in front of a page, and what their role lets them do."""

from __future__ import annotations

from msgspec import Struct

from rollout.names import Action, TokenRole
from rollout.permissions import role_for, suffices


class Person(Struct, frozen=True):
    name: str
    role: TokenRole
    source: str = "page"
    """Where a command of theirs came from, for the audit."""
    client: str = ""
    """Whom limits by address count their requests for."""


def why_not_role(person: Person, action: Action, *, mild: bool = False) -> str:
    """Empty when the person's role suffices, else which role it would take; `mild` as in `rollout.permissions`."""
    needed = role_for(action, mild=mild)
    return "" if suffices(person.role, needed) else f"needs the role {needed}; you are {person.role}"
