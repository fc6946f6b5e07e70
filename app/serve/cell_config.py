"""The configuration of a cell, which the parent sends over its link before the first frame.

So all cells of a host have the same settings, even when the file or the variables that they come from change later.
"""

from __future__ import annotations

from msgspec import Struct

from app.settings import Settings


class CellConfig(Struct, frozen=True, kw_only=True):
    """One cell of several."""

    name: str
    parent_pid: int
    """A cell whose parent is another process ends."""
    settings: Settings
