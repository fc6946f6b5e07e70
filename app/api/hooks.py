"""`POST /api/hooks/alertmanager`: an alert that fires and asks for it rolls back, in the name of its token.

Reads what Alertmanager's webhook sends; must not judge whether an alert is right.
"""

from __future__ import annotations

from typing import Annotated, Final

from litestar import post
from litestar.params import Body
from msgspec import Struct

from app.api import examples
from app.api.authentication import may
from app.api.commands import REASON_CHARACTERS, Alert, AlertsBody
from app.api.problems import COMMANDED
from app.api.services import TheServices, VisitorRequest, actor_of
from rollout.events import Rollback

LABEL: Final = "crossfade_action"
ROLLBACK: Final = "rollback"


class AlertsHeard(Struct, frozen=True):
    """What became of a notification; Alertmanager looks at the status only, a person who tries it out reads this."""

    rolled_back: bool
    """Whether this call did it."""
    detail: str


@post(
    "/api/hooks/alertmanager",
    guards=may("rollback"),
    responses=COMMANDED,
    status_code=200,
    tags=["rollout"],
    summary="Rolls back on a firing alert",
)
async def alertmanager(
    request: VisitorRequest, services: TheServices, data: Annotated[AlertsBody, Body(examples=examples.ALERTS)]
) -> AlertsHeard:
    """Only an alert labelled `crossfade_action="rollback"` counts, and only while it fires; a repeat does nothing."""
    asking = [alert for alert in data.alerts if alert.status == "firing" and alert.labels.get(LABEL) == ROLLBACK]
    if not asking:
        return AlertsHeard(False, f'nothing was done: no alert fires here with the label {LABEL}="{ROLLBACK}"')
    lock = services.control.record.lock
    if lock is not None:
        return AlertsHeard(False, f"nothing was done: {lock.by} has rolled back already, and it is in force")
    reason = "; ".join(reason_of(alert) for alert in asking)[:REASON_CHARACTERS]
    address = request.user.source.partition(" ")[2]
    await services.control.execute(Rollback(actor=actor_of(request.user), reason=reason), f"alertmanager {address}")
    return AlertsHeard(True, reason)


def reason_of(alert: Alert) -> str:
    """For the audit: the alert's name and what its rule says of it."""
    name = f"alert {alert.labels.get('alertname', 'without a name')}"
    summary = alert.annotations.get("summary", "").strip()
    return f"{name}: {summary}" if summary else name
