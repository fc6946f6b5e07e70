"""Which cell has the session of a resume token, so that a session that is taken up elsewhere is given up first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The rows there are were kept under another digest, and most of them are expired: nobody can find them again."""
    op.drop_table("resumes")
    op.create_table(
        "resumes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("document", sa.LargeBinary),
        sa.Column("outcomes", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("holder", sa.String(200), nullable=False, server_default=""),
        sa.Column("previous", sa.String(200)),
    )
    op.create_index("resumes_expire", "resumes", ["expires_at"])
    op.create_index("resumes_wanted", "resumes", ["previous"])
