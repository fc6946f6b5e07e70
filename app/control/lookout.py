"""What others said or left on the disk while this process did not run: heard before anybody is admitted to v3."""

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
        """Hear what lies in the kernel, and of a rollback lock that nobody told of."""
        self._bus.read()
        lock = self._host_lock.of_others()
        if lock is not None:
            log.warning("a rollback lock lies on the disk that nobody told of", by=lock.by)
            self._bus.find(Locked(lock))
