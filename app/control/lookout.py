"""Hears what other cells said, or left on the disk, while this process did not run: before it admits anyone to v3."""

from __future__ import annotations

import structlog

from app.control.host_lock import HostLock
from app.fleet.bus import Bus, Locked

log = structlog.get_logger()


class BusLookout:
    """Implements `app.gateway.ports.Lookout`. What it finds goes to the bus's listener, which acts on it at once."""

    def __init__(self, bus: Bus, host_lock: HostLock) -> None:
        self._bus = bus
        self._host_lock = host_lock

    def look(self) -> None:
        """Read the messages that wait in the kernel, and a rollback lock that was not announced."""
        self._bus.read()
        lock = self._host_lock.of_others()
        if lock is not None:
            log.warning("a rollback lock that was not announced is on the disk", by=lock.by)
            self._bus.find(Locked(lock))
