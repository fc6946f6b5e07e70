"""`POST /api/hooks/alertmanager`: a firing alert with the right label rolls back, in the name of its token."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import post
from litestar.params import Body
from msgspec import Struct

from app.api import examples
from app.api.authentication import may
from app.api.body_limits import ALERTS_BYTES
from app.api.commands import REASON_CHARACTERS, Alert, AlertsBody
from app.api.problems import COMMANDED
from app.api.services import TheServices, VisitorRequest, actor_of
from rollout.events import Rollback

LABEL: Final = "crossfade_action"
ROLLBACK: Final = "rollback"


class AlertsResult(Struct, frozen=True):
    """The result of a notification, for a person who tries it out; Alertmanager looks at the status only."""

    rolled_back: bool
    """Whether this call rolled back."""
    detail: str


@post(
    "/api/hooks/alertmanager",
    request_max_body_size=ALERTS_BYTES,
    guards=may("rollback"),
    responses=COMMANDED,
    status_code=200,
    tags=["rollout"],
    summary="Rolls back on a firing alert",
)
async def alertmanager(
    request: VisitorRequest, services: TheServices, data: Annotated[AlertsBody, Body(examples=examples.ALERTS)]
) -> AlertsResult:
    """Only alerts labelled `crossfade_action="rollback"` count, and only while they fire; a repeat does nothing."""
    matching = [alert for alert in data.alerts if alert.status == "firing" and alert.labels.get(LABEL) == ROLLBACK]
    if not matching:
        return AlertsResult(False, f'nothing was done: no firing alert has the label {LABEL}="{ROLLBACK}"')
    lock = services.control.record.lock
    if lock is not None:
        return AlertsResult(False, f"nothing was done: {lock.by} has rolled back already, and it is in force")
    reason = "; ".join(reason_of(alert) for alert in matching)[:REASON_CHARACTERS]
    address = request.user.source.partition(" ")[2]
    await services.control.execute(Rollback(actor=actor_of(request.user), reason=reason), f"alertmanager {address}")
    return AlertsResult(True, reason)


def reason_of(alert: Alert) -> str:
    """The reason for the audit: the alert's name and its summary."""
    name = f"alert {alert.labels.get('alertname', 'without a name')}"
    summary = alert.annotations.get("summary", "").strip()
    return f"{name}: {summary}" if summary else name
