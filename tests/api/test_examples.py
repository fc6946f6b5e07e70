"""The schema's examples: one for every body and every refusal, each of the shape that the service really has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from app.api.examples import PROBLEMS
from tests.api.service import Service


async def schema(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = (await service.client.get("/schema/openapi.json")).json()
    return found


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body and answer of the control API: a name, and what the schema says of it."""
    for path, calls in document["paths"].items():
        if not path.startswith("/api/") or path == "/api/messages":
            continue
        for method, call in calls.items():
            parts = {"body": call.get("requestBody", {}), **call["responses"]}
            for name, part in parts.items():
                for kind, content in part.get("content", {}).items():
                    yield f"{method} {path} {name} {kind}", content


async def test_every_body_and_refusal_has_an_example_that_the_schema_allows(service: Service) -> None:
    document = await schema(service)
    shown = 0
    for name, content in contents(document):
        wanted = " body " in name or "problem+json" in name
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += content["schema"].get("examples", [])  # where the framework puts those of bodies
        assert bool(examples) >= wanted, name
        for example in examples:
            jsonschema_rs.validate({**content["schema"], "components": document["components"]}, example)
            shown += 1
    assert shown > 100


@pytest.mark.parametrize("status", sorted(PROBLEMS))
async def test_a_refusal_looks_like_its_example(service: Service, status: int) -> None:
    (example,) = PROBLEMS[status]
    await service.start(10)
    command, body = "/api/rollout/percentage", {"percentage": 5}
    manager = service.as_("manager", 1)
    match status:
        case 400:
            answer = await service.client.post(command, json=body, headers={**manager, "If-Match": "7"})
        case 401:
            answer = await service.client.post(command, json=body)
        case 403:
            answer = await service.client.post("/api/rollout/rollback", headers=service.as_("viewer"))
        case 404:
            answer = await service.client.get("/api/rollbacks/9-0", headers=manager)
        case 409:
            answer = await service.client.post("/api/rollout/resume", headers=manager)
        case 412:
            answer = await service.client.post(command, json=body, headers=service.as_("manager", 0))
        case 413:
            answer = await service.client.post(command, content=b"x" * 200_000, headers=manager)
        case 414:
            return  # refused before the application: tests/gateway/test_http_connection.py
        case 415:
            answer = await service.client.post(command, content="{}", headers={**manager, "Content-Type": "text/plain"})
        case 422:
            answer = await service.client.post(command, json={"percentage": "10"}, headers=manager)
        case 428:
            answer = await service.client.post(command, json=body, headers=service.as_("manager"))
        case _:
            service.world.store.fail(True)
            answer = await service.client.post(command, json=body, headers=manager)
            service.world.store.fail(False)
    told, value = answer.json(), example.value
    assert isinstance(value, dict)
    assert list(told) == list(value)
    assert [told[key] for key in ("status", "type", "title")] == [value[key] for key in ("status", "type", "title")]
    if status not in (403, 412, 428):  # which name a person or a revision
        assert told["detail"] == value["detail"]


async def test_the_rollout_looks_like_its_example(service: Service) -> None:
    example = (await schema(service))["paths"]["/api/rollout"]["get"]["responses"]["200"]["content"]["application/json"]
    ((_, shown),) = example["examples"].items()
    told = (await service.client.get("/api/rollout", headers=service.as_("viewer"))).json()
    assert list(shown["value"]) == list(told)
    for key in ("paths", "verdicts", "cells"):
        assert [list(each) for each in shown["value"][key]][:1] == [list(each) for each in told[key]][:1] or not told[
            key
        ]


@pytest.mark.parametrize("path", ["/api/nothing", "/api/rollout/start", "/nothing"])
async def test_where_nothing_is_a_program_gets_a_problem_and_a_person_a_page(service: Service, path: str) -> None:
    answer = await service.client.get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == (
        f"urn:crossfade:{'not_found' if answer.status_code == 404 else 'method_not_allowed'}"
    )
    assert answer.json()["detail"]
    page = await service.client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (answer.status_code, "text/html; charset=utf-8")
    assert (path != "/nothing") or "There is no page at this address." in page.text
