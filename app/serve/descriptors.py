"""How many connections a cell may have: its file descriptors, less those that it needs to serve and to roll back."""

from __future__ import annotations

import resource
import sys

from app.gateway.connection_registry import HTTP_ROOM, ConnectionLimits
from app.settings import Settings

SPARE_DESCRIPTORS = 200
"""For the store, the workers, the lock file, the other cells and the operators' socket; no client's."""


def connection_limits(settings: Settings) -> ConnectionLimits:
    """What this process allows its clients; asked for after `raise_descriptor_limit`."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits(
        request_s=settings.request_s,
        keep_alive_s=settings.keep_alive_s,
        connections=max(descriptors - SPARE_DESCRIPTORS, descriptors // 4),
    )


def descriptors_needed(settings: Settings) -> int:
    """For as many sockets as the settings allow."""
    return settings.max_sessions + HTTP_ROOM + SPARE_DESCRIPTORS


def raise_descriptor_limit(settings: Settings) -> None:
    """Raise the limit to a descriptor for every socket, as far as the machine allows; print when that is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = descriptors_needed(settings)
    if soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        if allowed < needed:
            sockets = connection_limits(settings).sockets
            print(  # noqa: T201
                f"crossfade: {allowed} file descriptors are enough for about {sockets} sockets, "
                f"CROSSFADE_MAX_SESSIONS is {settings.max_sessions}; raise it with ulimit -n",
                file=sys.stderr,
            )
