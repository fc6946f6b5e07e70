"""The socket that clients connect to: bound once, and shared by all cells of a host."""

from __future__ import annotations

import socket

from app.settings import Settings


def bind(settings: Settings) -> socket.socket:
    """The socket, bound but not listening yet. Raises `OSError` that names the address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:  # a name that is too long for the resolver is a UnicodeError
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise OSError(f"CROSSFADE_BIND={settings.bind!r}: cannot listen there: {why}") from None
    listener.setblocking(False)
    return listener
