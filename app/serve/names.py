"""The names of a host's cells: a letter each, with the host's name where several hosts may share a store."""

from __future__ import annotations

import socket
import string

from app.settings import Settings

MOST = len(string.ascii_lowercase)
"""Most cells on one host: there are no more letters."""


def cell_names(settings: Settings, count: int) -> list[str]:
    """`a`, `b`, …; on a store that other hosts may share `a@host:port`, …"""
    letters = string.ascii_lowercase[:count]
    if settings.store == "sqlite":
        return list(letters)
    return [f"{letter}@{host_name(settings)}" for letter in letters]


def host_name(settings: Settings) -> str:
    """Names this machine, and this service on it."""
    return f"{socket.gethostname()}:{settings.port}"
