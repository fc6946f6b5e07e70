"""Names of headers that the API and the commands agree on."""

from __future__ import annotations

from typing import Final

MISSING_CELLS: Final = "Crossfade-Missing-Cells"
"""Cells that a list does not speak of, because they did not answer in time; separated by a comma and a space."""
