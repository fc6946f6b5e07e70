"""How large the body of a request may be; a larger one is answered 413 before it is read."""

from __future__ import annotations

from typing import Final

BODY_BYTES: Final = 128 * 1024
"""Of every route that says nothing else."""
SIGN_IN_BYTES: Final = 4 * 1024
"""Of the forms that anybody may send."""
PLAN_BYTES: Final = 1024 * 1024
"""A plan as long as one may be, escaped."""
ALERTS_BYTES: Final = 1024 * 1024
"""Alertmanager sends all alerts of a group together."""
