"""Alertmanager's webhook: what rolls back, what does nothing and says so, and what the audit contains."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.hooks import LABEL, ROLLBACK
from tests.api.service import Service

HOOK = "/api/hooks/alertmanager"


def alert(status: str = "firing", **labels: str) -> dict[str, Any]:
    """As Alertmanager 0.28 sends one; it asks for a rollback unless told otherwise."""
    return {
        "status": status,
        "labels": {"alertname": "CrossfadeV3Errors", "severity": "page", LABEL: ROLLBACK, **labels},
        "annotations": {"summary": "7.5% of the messages on v3 end with an error", "runbook_url": "https://wiki"},
        "startsAt": "2026-11-24T03:12:45.828Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=x&g0.tab=1",
        "fingerprint": "1a30ba71cca2921f",
    }


def notification(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {
        "receiver": "crossfade",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {"alertname": "CrossfadeV3Errors"},
        "commonLabels": {LABEL: ROLLBACK},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}/{crossfade_action="rollback"}:{alertname="CrossfadeV3Errors"}',
        "truncatedAlerts": 0,
    }


async def test_a_firing_alert_rolls_back_and_the_audit_says_who_what_why_and_from_where(service: Service) -> None:
    await service.start(50)
    answer = await service.client.post(HOOK, json=notification(alert()), headers=service.as_("oncall"))
    why = "alert CrossfadeV3Errors: 7.5% of the messages on v3 end with an error"
    assert (answer.status_code, answer.json()) == (200, {"rolled_back": True, "detail": why})
    assert service.world.control.record.phase == "rolled_back"
    entry = (await service.world.control.repository.events()).items[0]
    assert (entry.who, entry.role, entry.what, entry.reason) == ("oncall person", "oncall", "rollback", why)
    assert entry.source == "alertmanager 127.0.0.1"


async def test_every_alert_that_asks_is_named_and_the_reason_is_bounded(service: Service) -> None:
    await service.start(50)
    alerts = [alert(alertname="First"), alert("resolved", alertname="Over"), *[alert(alertname="Next")] * 100]
    answer = await service.client.post(HOOK, json=notification(*alerts), headers=service.as_("oncall"))
    reason = service.world.control.record.reason
    assert reason.startswith("alert First: 7.5% of the messages on v3 end with an error; alert Next: ")
    assert (len(reason), answer.json()["detail"]) == (1000, reason)


@pytest.mark.parametrize(
    "alerts",
    [[], [alert("resolved")], [alert(crossfade_action="page")], [alert(crossfade_action="")]],
    ids=["no alert", "resolved", "another action", "unlabelled"],
)
async def test_everything_else_does_nothing_and_says_so(service: Service, alerts: list[dict[str, Any]]) -> None:
    await service.start(50)
    answer = await service.client.post(HOOK, json=notification(*alerts), headers=service.as_("oncall"))
    told = 'nothing was done: no firing alert has the label crossfade_action="rollback"'
    assert (answer.status_code, answer.json()) == (200, {"rolled_back": False, "detail": told})
    assert service.world.control.record.phase == "progressing"
    assert len((await service.world.control.repository.events()).items) == 1


async def test_a_repeat_does_nothing_while_the_rollback_is_in_force(service: Service) -> None:
    await service.start(50)
    for _ in range(3):
        answer = await service.client.post(HOOK, json=notification(alert()), headers=service.as_("oncall"))
        assert answer.status_code == 200
    told = "nothing was done: oncall person has rolled back already, and it is in force"
    assert answer.json() == {"rolled_back": False, "detail": told}
    assert [entry.what for entry in (await service.world.control.repository.events()).items] == [
        "rollback",
        "start 50 %",
    ]
    assert service.world.control.record.revision == 2


async def test_an_alert_that_still_fires_after_an_unlock_rolls_back_again(service: Service) -> None:
    await service.start(50)
    await service.client.post(HOOK, json=notification(alert()), headers=service.as_("oncall"))
    unlock = {"reason": "fixed"}
    answer = await service.client.post("/api/rollout/unlock", json=unlock, headers=service.as_("manager", 2))
    assert answer.status_code == 200, answer.text
    answer = await service.client.post(HOOK, json=notification(alert()), headers=service.as_("oncall"))
    assert answer.json()["rolled_back"]
    assert service.world.control.record.phase == "rolled_back"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"alerts": []}, 'version is missing; allowed: "4"'),
        ({"version": "3", "alerts": []}, 'version is "3"; allowed: "4"'),
        ({"version": 4, "alerts": []}, 'version is 4; allowed: "4"'),
        ({"version": "4"}, "alerts is missing"),
        ({"version": "4", "alerts": None}, "alerts is null"),
        ({"version": "4", "alerts": [{"status": "firing"}]}, "missing required field `labels`"),
        ({"version": "4", "alerts": [{"status": "on", "labels": {}}]}, "alerts[0].status: Invalid enum value 'on'"),
        ({"version": "4", "alerts": [{"status": "firing", "labels": {LABEL: True}}]}, "Expected `str`, got `bool`"),
        ([], "the body is []"),
    ],
)
async def test_what_alertmanager_does_not_send_is_refused(service: Service, body: object, words: str) -> None:
    await service.start(50)
    answer = await service.client.post(HOOK, json=body, headers=service.as_("oncall"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert words in answer.json()["detail"]
    assert service.world.control.record.phase == "progressing"


async def test_a_viewer_or_nobody_cannot_roll_back_by_an_alert(service: Service) -> None:
    await service.start(50)
    body = notification(alert())
    assert (await service.client.post(HOOK, json=body)).status_code == 401
    assert (await service.client.post(HOOK, json=body, headers=service.as_("viewer"))).status_code == 403
    assert service.world.control.record.phase == "progressing"
