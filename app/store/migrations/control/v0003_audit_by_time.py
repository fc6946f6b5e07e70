"""An index, so that a day of the audit is found without reading all of it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("ix_audit_at", "audit", ["at"], if_not_exists=True)
