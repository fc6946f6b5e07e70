"""The control API's calls: who may make them, what they answer, and how they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollout.plan import QUICK_PLAN
from rollout.plan_writer import dump_toml
from tests.api.service import ROLES, Service

ALLOWED_FROM: list[tuple[str, str, dict[str, Any] | None, str]] = [
    ("GET", "/api/rollout", None, "viewer"),
    ("GET", "/api/rollout/plan", None, "viewer"),
    ("GET", "/api/rollout/preview?percentage=5", None, "viewer"),
    ("GET", "/api/rollout/events", None, "viewer"),
    ("GET", "/api/rollbacks/1-0", None, "viewer"),
    ("GET", "/api/users/u1", None, "viewer"),
    ("GET", "/api/sessions", None, "viewer"),
    ("GET", "/api/errors", None, "viewer"),
    ("POST", "/api/rollout/rollback", {}, "oncall"),
    ("POST", "/api/rollout/notes", {"text": "x"}, "oncall"),
    ("POST", "/api/rollout/pause", {}, "oncall"),
    ("POST", "/api/rollout/percentage", {"percentage": 5}, "oncall"),  # lowers
    ("POST", "/api/hooks/alertmanager", {"version": "4", "alerts": []}, "oncall"),
    ("POST", "/api/rollout/percentage", {"percentage": 50}, "manager"),  # raises
    ("POST", "/api/rollout/start", {}, "manager"),
    ("POST", "/api/rollout/promote", {}, "manager"),
    ("POST", "/api/rollout/resume", {}, "manager"),
    ("POST", "/api/rollout/unlock", {"reason": "x"}, "manager"),
    ("PUT", "/api/rollout/plan", {"toml": dump_toml(QUICK_PLAN)}, "manager"),
    ("PUT", "/api/users/u1/pin", {"path": "v3"}, "manager"),
    ("DELETE", "/api/users/u1/pin", None, "manager"),
]


@pytest.mark.parametrize(("method", "path", "body", "least"), ALLOWED_FROM)
async def test_every_call_needs_its_role(service: Service, method: str, path: str, body: Any, least: str) -> None:
    await service.start(10)
    nobody = await service.client.request(method, path, json=body, headers={"If-Match": '"1"'})
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    wrong = await service.client.request(method, path, json=body, headers={"Authorization": "Bearer cf_wrong"})
    assert wrong.status_code == 401
    for role in ROLES:
        answer = await service.client.request(method, path, json=body, headers=service.as_(role, 1))
        may = ROLES.index(role) >= ROLES.index(least)
        assert (answer.status_code != 403) == may, (role, answer.text)
        assert answer.status_code != 401
        if not may:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:crossfade:not_allowed"


async def test_oncall_undoes_its_own_rollback_only(service: Service) -> None:
    await service.start(10)
    await service.client.post("/api/rollout/rollback", headers=service.as_("manager"))
    refused = await service.client.post("/api/rollout/undo", headers=service.as_("oncall", 2))
    assert refused.status_code == 403
    undone = await service.client.post("/api/rollout/undo", headers=service.as_("manager", 2))
    assert undone.json()["percentage"] == 10
    await service.client.post("/api/rollout/rollback", headers=service.as_("oncall"))
    own = await service.client.post("/api/rollout/undo", headers=service.as_("oncall", 4))
    assert (own.status_code, own.json()["phase"]) == (200, "progressing")


async def test_the_rollout_is_shown_with_its_revision(service: Service) -> None:
    await service.start(10)
    answer = await service.client.get("/api/rollout", headers=service.as_("viewer"))
    assert answer.headers["etag"] == '"1"'
    view = answer.json()
    expected = {"phase", "percentage", "stage", "plan", "revision", "verdicts", "paths", "lock", "last_rollback"}
    assert expected | {"flag_age_s", "cells"} <= set(view)
    assert (view["phase"], view["percentage"], view["revision"]) == ("progressing", 10, 1)
    assert view["cells"] == [
        {"name": "a", "revision": 1, "sessions": 100, "silent_s": 0.0, "silent": False, "has_lock": False}
    ]
    assert [path["build"] for path in view["paths"]] == ["v2-build", "v3-build"]


async def test_of_two_operators_the_second_is_told_who_was_first(service: Service) -> None:
    await service.start(10)
    roles = [service.as_("manager", 1)] * 4
    answers = await asyncio.gather(
        *(
            service.client.post("/api/rollout/percentage", json={"percentage": 20 + number}, headers=headers)
            for number, headers in enumerate(roles)
        )
    )
    done = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 412]
    assert (len(done), len(refused)) == (1, 3)
    winner = done[0].json()["percentage"]
    for answer in refused:
        problem = answer.json()
        assert (problem["who"], problem["what"], problem["revision"]) == ("manager person", f"set {winner} %", 2)
        assert problem["at"] == service.world.now
        assert answer.headers["etag"] == '"2"'
        assert problem["type"] == "urn:crossfade:stale_revision"
    assert service.world.control.record.percentage == winner


@pytest.mark.parametrize(
    ("path", "body", "if_match", "status", "kind"),
    [
        ("percentage", {"percentage": 20}, None, 428, "revision_missing"),
        ("percentage", {"percentage": 20}, '"0"', 412, "stale_revision"),
        ("percentage", {"percentage": 20}, "*", 400, "bad_request"),
        ("percentage", {"percentage": 20}, "seven", 400, "bad_request"),
        ("percentage", {"percentage": 101}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": -1}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": 10.5}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": "ten"}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": True}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": None}, '"1"', 422, "bad_value"),
        ("percentage", {}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": 20, "percent": 30}, '"1"', 422, "bad_value"),
        ("percentage", [20], '"1"', 422, "bad_value"),
        ("percentage", {"percentage": 20, "reason": 5}, '"1"', 422, "bad_value"),
        ("percentage", {"percentage": 20, "reason": "x" * 1001}, '"1"', 422, "bad_value"),
        ("promote", {"full": "yes"}, '"1"', 422, "bad_value"),
        ("start", {"percentage": 200}, '"1"', 422, "bad_value"),
        ("start", {}, '"1"', 409, "not_in_phase"),
        ("resume", {}, '"1"', 409, "not_in_phase"),
        ("undo", {}, '"1"', 409, "not_in_phase"),
        ("unlock", {"reason": "x"}, '"1"', 409, "not_in_phase"),
        ("notes", {}, None, 422, "bad_value"),
        ("notes", {"text": ""}, None, 422, "bad_value"),
        ("notes", {"text": "x" * 1001}, None, 422, "bad_value"),
        ("nothing", {}, None, 404, "not_found"),
    ],
)
async def test_what_cannot_be_done_is_a_problem_document_and_changes_nothing(
    service: Service, path: str, body: Any, if_match: str | None, status: int, kind: str
) -> None:
    await service.start(10)
    before = service.world.control.record
    headers = service.as_("manager") | ({} if if_match is None else {"If-Match": if_match})
    answer = await service.client.post(f"/api/rollout/{path}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert service.world.control.record == before
    if status != 404:  # of an address that is not the API's the application answers
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (problem["type"], problem["status"]) == (f"urn:crossfade:{kind}", status)
        assert problem["title"]
        assert problem["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "preview",
        "preview?percentage=",
        "preview?percentage=101",
        "preview?percentage=x",
        "events?limit=0",
        "events?limit=201",
        "events?before=0",
        "events?before=x",
    ],
)
async def test_bad_queries_are_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"/api/rollout/{query}", headers=service.as_("viewer"))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:crossfade:bad_value")


@pytest.mark.parametrize("query", ["path=v4", "limit=0", "limit=x"])
async def test_bad_queries_for_sessions_are_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"/api/sessions?{query}", headers=service.as_("viewer"))
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [None, {}, {"reason": "errors"}])
async def test_a_rollback_needs_no_revision_and_is_idempotent(service: Service, body: Any) -> None:
    await service.start(50)
    headers = service.as_("oncall")
    for _ in range(2):
        answer = await service.client.post("/api/rollout/rollback", json=body, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["phase"] == "rolled_back"
        assert answer.json()["last_rollback"]["cells"] == ["a"]
    assert service.world.cell.on("v3") == 0
    await service.world.verified()
    done = (await service.client.get("/api/rollout", headers=headers)).json()["last_rollback"]
    assert done["verified_at"] is not None
    assert {"new_stopped_ms", "existing_moved_ms", "sessions_moved", "closed", "interrupted", "cells"} <= set(done)
    receipt = (await service.client.get(f"/api/rollbacks/{done['id']}", headers=headers)).json()
    assert receipt["rollback"] == done
    assert [entry["what"] for entry in receipt["timeline"]][:2] == ["start 50 %", "rollback"]
    text = await service.client.get(f"/api/rollbacks/{done['id']}", headers=headers | {"Accept": "text/markdown"})
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert f"# Rollback {done['id']}" in text.text
    assert (await service.client.get("/api/rollbacks/none", headers=headers)).status_code == 404


async def test_with_the_store_down_a_rollback_works_and_the_rest_says_503(service: Service) -> None:
    await service.start(50)
    service.world.store.fail(True)
    refused = await service.client.post(
        "/api/rollout/percentage", json={"percentage": 60}, headers=service.as_("manager", 1)
    )
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["type"] == "urn:crossfade:store_unavailable"
    done = await service.client.post("/api/rollout/rollback", headers=service.as_("oncall"))
    assert done.status_code == 200
    assert service.world.cell.on("v3") == 0
    assert (await service.client.get("/api/rollout", headers=service.as_("viewer"))).json()["phase"] == "rolled_back"


async def test_the_plan_is_read_and_replaced_as_toml(service: Service) -> None:
    headers = service.as_("manager", 0)
    plan = await service.client.get("/api/rollout/plan", headers=headers)
    assert (plan.json()["name"], plan.headers["etag"]) == ("default", '"0"')
    toml = dump_toml(QUICK_PLAN)
    answer = await service.client.put("/api/rollout/plan", json={"toml": toml, "reason": "demo"}, headers=headers)
    assert answer.status_code == 200
    assert (await service.client.get("/api/rollout/plan", headers=headers)).json()["toml"] == toml
    broken = await service.client.put(
        "/api/rollout/plan", json={"toml": toml.replace("10", "110")}, headers=service.as_("manager", 1)
    )
    assert (broken.status_code, broken.json()["type"]) == (422, "urn:crossfade:invalid_plan")
    assert any(error["line"] > 1 and "percentage" in error["field"] for error in broken.json()["errors"])


async def test_the_audit_says_from_where_and_pages(service: Service) -> None:
    await service.start(10)
    cli = service.as_("oncall") | {"User-Agent": "crossfade-cli"}
    assert (await service.client.post("/api/rollout/notes", json={"text": "hm"}, headers=cli)).status_code == 204
    page = (await service.client.get("/api/rollout/events?limit=1", headers=cli)).json()
    (entry,) = page["items"]
    assert (entry["what"], entry["reason"], entry["who"]) == ("note", "hm", "oncall person")
    assert entry["source"].startswith("cli ")
    rest = (await service.client.get(f"/api/rollout/events?before={page['next']}", headers=cli)).json()
    assert [item["what"] for item in rest["items"]] == ["start 10 %"]
    assert rest["items"][0]["source"].startswith("api ")
    assert rest["next"] is None


async def test_a_user_is_pinned_and_found(service: Service) -> None:
    headers = service.as_("manager")
    pinned = await service.client.put("/api/users/u7/pin", json={"path": "v3", "reason": "beta"}, headers=headers)
    assert (pinned.json()["path"], pinned.json()["reason"], pinned.json()["pin"]) == ("v3", "pinned", "v3")
    on_v3 = (await service.client.get("/api/sessions?path=v3", headers=headers)).json()
    assert [session["user_id"] for session in on_v3] == ["u7"]
    freed = await service.client.delete("/api/users/u7/pin", headers=headers)
    assert (freed.status_code, freed.json()["pin"], freed.json()["path"]) == (200, None, "v2")
    assert (await service.client.put("/api/users/u7/pin", json={"path": "v4"}, headers=headers)).status_code == 422
    assert (await service.client.get("/api/users/" + "x" * 257, headers=headers)).status_code == 422


@pytest.mark.parametrize(
    ("encoded", "user_id"),
    [
        ("a%40b%20c", "a@b c"),
        ("a%2Fb", "a/b"),
        ("%2f%2F", "//"),
        ("a%252Fb", "a%2Fb"),
        ("https%3A%2F%2Fid.example%2Fu%2F7%3Fx", "https://id.example/u/7?x"),
        ("x%2Fpin", "x/pin"),
        ("%C3%A4%2F%E2%9C%93", "ä/✓"),
        ("%2e%2e", ".."),
    ],
)
async def test_a_user_id_is_any_printable_text(service: Service, encoded: str, user_id: str) -> None:
    headers, path = service.as_("manager"), f"http://testserver.local/api/users/{encoded}"
    seen = await service.client.get(path, headers=headers)
    pinned = await service.client.put(f"{path}/pin", json={"path": "v3"}, headers=headers)
    unpinned = await service.client.delete(f"{path}/pin?reason=done", headers=headers)
    told = [(answer.json()["user_id"], answer.json()["pin"]) for answer in (seen, pinned, unpinned)]
    assert told == [(user_id, None), (user_id, "v3"), (user_id, None)]
    entries = (await service.world.control.repository.events()).items
    assert [(entry.what, entry.reason) for entry in entries] == [
        (f"unpin {user_id}", "done"),
        (f"pin {user_id} to v3", ""),
    ]


@pytest.mark.parametrize("encoded", ["%00", "a%1Bb", "%E2%80%AE", "%0A"])
async def test_nobody_has_an_unprintable_name(service: Service, encoded: str) -> None:
    for method, path in (("GET", ""), ("PUT", "/pin"), ("DELETE", "/pin")):
        answer = await service.client.request(
            method,
            f"http://testserver.local/api/users/{encoded}{path}",
            json={"path": "v3"} if method == "PUT" else None,
            headers=service.as_("manager"),
        )
        assert (answer.status_code, "printable" in answer.json()["detail"]) == (422, True)
    assert (await service.world.control.repository.events()).items == []


async def test_a_preview_says_who_would_move(service: Service) -> None:
    answer = await service.client.get("/api/rollout/preview?percentage=100", headers=service.as_("viewer"))
    assert answer.json() == {
        "percentage": 100,
        "users_to_v3": 100,
        "users_to_v2": 0,
        "sessions_to_v3": 100,
        "sessions_to_v2": 0,
        "sessions_without_state": 0,
        "missing_cells": [],
    }


async def test_errors_are_grouped_by_path(service: Service) -> None:
    service.world.counters.error("v3", "internal", "KeyError in agent", "ab12", "u1", now=5.0)
    (group,) = (await service.client.get("/api/errors", headers=service.as_("viewer"))).json()
    assert (group["code"], group["path"], group["only_on_v3"], group["reference"]) == ("internal", "v3", True, "ab12")


async def test_an_unexpected_error_tells_its_reference_only(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("SELECT secret FROM table")

    monkeypatch.setattr(service.world.control, "snapshot", broken)
    answer = await service.client.get("/api/rollout", headers=service.as_("viewer"))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "SELECT" not in answer.text
    assert answer.json()["reference"] in capsys.readouterr().out


async def test_a_number_that_no_store_takes_is_a_bad_value(service: Service) -> None:
    answer = await service.client.get(f"/api/rollout/events?before={2**63}", headers=service.as_("viewer"))
    assert answer.status_code == 422
    last = await service.client.get(f"/api/rollout/events?before={2**63 - 1}", headers=service.as_("viewer"))
    assert last.status_code == 200
