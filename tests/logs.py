"""What a service has logged, as far as a test must not find it there."""

from __future__ import annotations

import json
from pathlib import Path

SAID = ("Crossfade serves", "Dashboard, signed in", "Later:")
"""The greeting, where a test sends it to the log as well."""


def wrong_lines(log: Path) -> list[str]:
    """The lines that are neither information nor warnings: tracebacks, too, in a message or as they are."""
    return [line for line in log.read_text("utf-8").splitlines() if line and not _harmless(line)]


def _harmless(line: str) -> bool:
    if line.startswith("{"):
        return json.loads(line)["level"] in ("debug", "info", "warning") and "Traceback" not in line
    return line.startswith(SAID)
