"""Release 2.9, the stable one, which v2 serves."""

from __future__ import annotations

from typing import Any

from .desk import Desk


def create_supervisor(context: Any) -> Desk:
    """Called once per session."""
    return Desk("2.9")
