"""What the cells of a host are called: a letter each, and with several hosts on one store whose letter it is.

It must not know what a cell is.
"""

from __future__ import annotations

import socket
import string

from app.settings import Settings

MOST = len(string.ascii_lowercase)
"""More cells on one host have no letter."""


def cell_names(settings: Settings, count: int) -> list[str]:
    """`a`, `b`, …; on a store that other hosts may share `a@host:port`, …"""
    letters = string.ascii_lowercase[:count]
    if settings.store == "sqlite":
        return list(letters)
    return [f"{letter}@{host_name(settings)}" for letter in letters]


def host_name(settings: Settings) -> str:
    """This machine, and which service on it."""
    return f"{socket.gethostname()}:{settings.port}"
