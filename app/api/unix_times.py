"""Moments in addresses, which are Unix seconds: any number of them, but a number."""

from __future__ import annotations

import math
from typing import Final

from litestar.exceptions import ValidationException

FIRST: Final = -62_135_596_800.0
LAST: Final = 253_402_300_799.0
"""The years 1 and 9999, beyond which there is no date to show."""


def finite(name: str, value: float | None) -> float | None:
    """The value, moved into the years that have dates. Raises ValidationException for what is not a number."""
    if value is None:
        return None
    if math.isnan(value):
        raise ValidationException(detail=f"{name}: not a number")
    return min(max(value, FIRST), LAST)
