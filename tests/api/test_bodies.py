"""Bodies of every command: what does not match the schema is refused with its name, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar.routes import HTTPRoute

from tests.api.service import Service, make_app

LONG = "x" * 1001
NO_TEXT: list[Any] = [7, True, ["x"], {"a": 1}, None, LONG]
NO_BOOL: list[Any] = ["true", "yes", 1, 0, None]
NO_PERCENTAGE: list[Any] = ["10", "ten", "", 10.5, 10.0, True, -1, 101, 1e3, 10**30, [10]]
REASON = {"reason": NO_TEXT}
# Call, a body that is good, and for each field what is bad. `reason` is on all of them but notes and alerts.
COMMANDS: list[tuple[str, str, dict[str, Any], dict[str, list[Any]]]] = [
    ("POST", "/api/rollout/start", {}, {"percentage": NO_PERCENTAGE, **REASON}),
    ("POST", "/api/rollout/percentage", {"percentage": 20}, {"percentage": [*NO_PERCENTAGE, None], **REASON}),
    ("POST", "/api/rollout/promote", {}, {"full": NO_BOOL, **REASON}),
    ("POST", "/api/rollout/pause", {}, REASON),
    ("POST", "/api/rollout/resume", {}, REASON),
    ("POST", "/api/rollout/undo", {}, REASON),
    ("POST", "/api/rollout/unlock", {}, REASON),
    ("POST", "/api/rollout/rollback", {}, REASON),
    ("POST", "/api/rollout/notes", {"text": "x"}, {"text": [*NO_TEXT, ""]}),
    ("PUT", "/api/rollout/plan", {"toml": ""}, {"toml": [7, None, "x" * 100_001], **REASON}),
    ("PUT", "/api/users/u1/pin", {"path": "v3"}, {"path": ["v4", "V3", "", 3, None], **REASON}),
    (
        "POST",
        "/api/paths/v3/load",
        {},
        {
            "factory": [7, None, "x" * 201],
            "python": [7, None, LONG],
            "build": [7, None, "x" * 65],
            "live": NO_BOOL,
            **REASON,
        },
    ),
]
ADDRESSES = [(method, path, good) for method, path, good, _ in COMMANDS]
NEEDED = {"/api/rollout/percentage": "percentage", "/api/rollout/notes": "text", "/api/users/u1/pin": "path"}
NEEDED |= {"/api/rollout/plan": "toml"}
JSON = {"Content-Type": "application/json"}


async def refused(service: Service, method: str, path: str, content: bytes, headers: dict[str, str] = JSON) -> Any:
    """The problem document, after a look that nothing came of it."""
    before, entries = service.world.control.record, await service.world.control.repository.events()
    answer = await service.client.request(
        method, path, content=content, headers={**service.as_("manager", before.revision), **headers}
    )
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert service.world.control.record == before
    assert await service.world.control.repository.events() == entries
    return answer.json()


@pytest.mark.parametrize(("method", "path", "good", "bad"), COMMANDS)
async def test_a_wrong_value_is_named_with_what_is_allowed(
    service: Service, method: str, path: str, good: dict[str, Any], bad: dict[str, list[Any]]
) -> None:
    await service.start(10)
    for field, values in bad.items():
        for value in values:
            told = await refused(service, method, path, msgspec.json.encode({**good, field: value}))
            assert (told["status"], told["type"]) == (422, "urn:crossfade:bad_value"), (field, value, told)
            assert [(error["source"], error["key"]) for error in told["errors"]] == [("body", field)]
            shown = msgspec.json.encode(value).decode()[:60]
            assert told["detail"].startswith(f"{field} is {shown}"), told
            _, separator, allowed = told["detail"].partition("; allowed: ")
            assert separator
            assert allowed not in ("", "see /schema")


@pytest.mark.parametrize(("method", "path", "good"), ADDRESSES)
async def test_a_body_of_another_shape_is_refused_in_words(
    service: Service, method: str, path: str, good: dict[str, Any]
) -> None:
    await service.start(10)
    unknown = await refused(service, method, path, msgspec.json.encode({**good, "percent": 5}))
    assert (unknown["status"], unknown["detail"].partition(";")[0]) == (422, "percent is not a field")
    for content in (b"[]", b"7", b'"x"', b"true"):
        told = await refused(service, method, path, content)
        assert told["status"] == 422
        assert told["detail"].startswith(f"the body is {content.decode()}; allowed: an object with ")
    for content in (
        b"{",
        b'{"percentage": "x"',
        b"nonsense",
        b"\xff",
        b'{"reason": "\\ud800"}',
        b"{} {}",
        b"[" * 100_000,
    ):
        told = await refused(service, method, path, content)
        assert told["status"] == 400
        assert told["detail"].startswith("the body is not JSON: ")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        told = await refused(service, method, path, msgspec.json.encode(good), {"Content-Type": kind})
        assert (told["status"], "`Content-Type: application/json`" in told["detail"]) == (415, True)


@pytest.mark.parametrize(("path", "field"), NEEDED.items())
async def test_what_a_body_needs_is_named(service: Service, path: str, field: str) -> None:
    method = next(method for method, address, _ in ADDRESSES if address == path)
    empty = await refused(service, method, path, b"")
    assert (empty["status"], empty["detail"].partition(";")[0]) == (400, "the body is missing")
    missing = await refused(service, method, path, b"{}")
    assert (missing["status"], missing["detail"].partition(";")[0]) == (422, f"{field} is missing")


@pytest.mark.parametrize("verb", ["start", "promote", "pause", "resume", "undo", "unlock", "rollback"])
@pytest.mark.parametrize("content", [b"", b"null", b"{}"])
async def test_a_command_that_needs_nothing_takes_no_body(service: Service, verb: str, content: bytes) -> None:
    answer = await service.client.post(
        f"/api/rollout/{verb}", content=content, headers={**service.as_("manager", 0), **(JSON if content else {})}
    )
    assert answer.status_code in ((200,) if verb in ("start", "rollback") else (409, 422)), answer.text
    assert "body" not in answer.json().get("detail", "")


async def test_no_command_is_missing_here(service: Service) -> None:
    def bodies() -> Iterator[str]:
        for route in make_app(service.world, service.access).routes:
            if isinstance(route, HTTPRoute) and route.path.startswith("/api/"):
                for handler in route.route_handlers:
                    if handler.parsed_data_field is not None:
                        yield route.path.replace("{user_id:str}", "u1")

    # An alert comes from a program of others, which may send more than we know.
    assert set(bodies()) - {"/api/hooks/alertmanager"} == {path for _, path, _ in ADDRESSES}
