"""What sessions and cells leave behind: resume documents and time series."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Tables that an unreleased version made without a history are kept as they are."""
    op.create_table(
        "resumes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("document", sa.LargeBinary),
        sa.Column("outcomes", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        if_not_exists=True,
    )
    op.create_index("resumes_expire", "resumes", ["expires_at"], if_not_exists=True)
    op.create_table(
        "series",
        sa.Column("cell", sa.String(200), primary_key=True),
        sa.Column("step_s", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
