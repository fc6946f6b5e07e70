"""A worker's log: one JSON object a line on standard error, with nothing but the standard library.

People's own environment need not have a logging package; nothing is logged per message
unless a message fails.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_EXTRAS = ("reference", "code", "fingerprint")


class JsonLines(logging.Formatter):
    """Formats records as the gateway's log does."""

    def __init__(self, path: str, pid: int) -> None:
        super().__init__()
        self._path = path
        self._pid = pid

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            "path": self._path,
            "pid": self._pid,
        }
        line.update((name, getattr(record, name)) for name in _EXTRAS if hasattr(record, name))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(path: str, pid: int, level: str) -> None:
    """Send this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(path, pid))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
