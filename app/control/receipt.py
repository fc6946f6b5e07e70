"""The receipt of a rollback: how it begins, and how the cells' reports are added up in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.fleet.bus import CellReport
from app.metrics import error_groups
from dashboards.markdown import to_markdown
from rollout.names import CANARY
from rollout.state import LastRollback
from rollout.views import PathFigures, RollbackView
from rollout.views import ReceiptView as Receipt

__all__ = ["Receipt", "add_up", "begin_receipt", "to_markdown"]


def begin_receipt(last: LastRollback, figures: list[PathFigures]) -> Receipt:
    """The receipt of a rollback of which nothing was observed yet; `figures` are those when the command came."""
    return Receipt(
        rollback=RollbackView(
            id=last.id,
            at=last.at,
            by=last.by,
            reason=last.reason,
            new_stopped_ms=None,
            existing_moved_ms=None,
            sessions_to_move=0,
            sessions_moved=0,
            closed=0,
            interrupted=0,
            verified_at=None,
            cells=[],
            silent_cells=[],
        ),
        from_percentage=last.place.percentage,
        users_harmed=0,
        errors_only_on_v3=[],
        figures=figures,
    )


def add_up(receipt: Receipt, before: RollbackView, reports: Sequence[CellReport], cells: list[str]) -> Receipt:
    """The receipt with all reports, also of cells that are gone by now; `cells` are there, and have it in force.

    `before` is what was known when this process began to observe: counts never fall below it.
    """
    errors = [report.errors for report in reports]
    moved = max(before.sessions_moved, sum(report.moved for report in reports))
    stateless = any(figures.path == CANARY and figures.exports_state is False for figures in receipt.figures)
    rollback = msgspec.structs.replace(
        receipt.rollback,
        sessions_to_move=max(before.sessions_to_move, sum(report.to_move for report in reports)),
        sessions_moved=moved,
        without_state=moved if stateless else 0,
        closed=max(before.closed, sum(report.closed for report in reports)),
        interrupted=max(before.interrupted, sum(report.interrupted for report in reports)),
        cells=cells,
    )
    only_on_v3 = [group for group in error_groups.merge(errors) if group.only_on_v3]
    return msgspec.structs.replace(
        receipt,
        rollback=rollback,
        errors_only_on_v3=only_on_v3 or receipt.errors_only_on_v3,
        users_harmed=max(receipt.users_harmed, error_groups.users_harmed(errors)),
    )
