"""Release 3.2: 3.1 without its defect."""

from __future__ import annotations

from typing import Any

from .desk import Desk


def create_supervisor(context: Any) -> Desk:
    """Called once per session."""
    return Desk("3.2")
