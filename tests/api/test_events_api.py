"""The audit over the API: filters that can be combined, pages that follow each other, and files."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest

from app.errors import StoreUnavailable
from dashboards.export import PIECE, export
from rollout.events import Actor
from rollout.views import AuditEntry
from tests.api.service import Service

ADA = Actor("ada", "manager")


async def record(service: Service) -> None:
    """Three people at seconds 1000, 2000 …: a note each and a second one of Ada's."""
    for number, (who, what) in enumerate([("Ada", "note"), ("Bob", "=note"), ("Eve", "rollback"), ("Ada", "rollback")]):
        entry = AuditEntry(
            id=0, at=1000.0 * (number + 1), who=who, role="manager", source="cli", what=what, reason=f"r{number}",
            revision=1, before={"percentage": 0}, after={"percentage": 10}, figures={"v2": {"errors": number}},
        )  # fmt: skip
        await service.world.store.append_audit(entry)


async def look(service: Service, accept: str = "application/json", **query: Any) -> Any:
    headers = {**service.as_("viewer"), "Accept": accept}
    return await service.client.get("/api/rollout/events", params=query, headers=headers)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"who": "ada"}, ["r3", "r0"]),
        ({"what": "ROLL"}, ["r3", "r2"]),
        ({"who": "ada", "what": "note"}, ["r0"]),
        ({"since": 2000}, ["r3", "r2", "r1"]),
        ({"until": 2000}, ["r0"]),
        ({"since": 2000, "until": 4000, "who": "b"}, ["r1"]),
        ({"who": "nobody"}, []),
    ],
)
async def test_filters_add_up(service: Service, query: dict[str, Any], found: list[str]) -> None:
    await record(service)
    page = (await look(service, **query)).json()
    assert [item["reason"] for item in page["items"]] == found
    assert page["next"] is None


async def test_a_search_goes_on_where_it_left_off(service: Service) -> None:
    await record(service)
    first = (await look(service, who="ada", limit=1)).json()
    rest = (await look(service, who="ada", limit=1, before=first["next"])).json()
    assert [page["items"][0]["reason"] for page in (first, rest)] == ["r3", "r0"]


async def test_files_have_what_the_filters_let_through(service: Service) -> None:
    await record(service)
    answer = await look(service, "text/csv", what="note", limit=1)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["who"], row["what"], row["at"]) for row in rows] == [
        ("Bob", "'=note", "1970-01-01T00:33:20+00:00"),
        ("Ada", "note", "1970-01-01T00:16:40+00:00"),
    ]
    figures = ("percentage_before", "percentage_after", "v2_errors", "v2_users", "v3_errors")
    assert [rows[0][name] for name in figures] == ["0", "10", "1", "", ""]
    lines = (await look(service, "application/jsonl", who="ada")).text.splitlines()
    assert [msgspec.json.decode(line, type=AuditEntry).figures for line in lines] == [
        {"v2": {"errors": 3}},
        {"v2": {"errors": 0}},
    ]
    assert (await look(service, "*/*")).headers["content-type"] == "application/json"


async def test_a_file_has_the_whole_range_and_not_a_page_of_it(service: Service) -> None:
    for number in range(PIECE + 50):
        await service.world.control.note(ADA, f"n{number}", "cli")
    lines = (await look(service, "application/jsonl", who="ada", limit=1)).text.splitlines()
    reasons = [msgspec.json.decode(line, type=AuditEntry).reason for line in lines]
    assert reasons == [f"n{number}" for number in reversed(range(PIECE + 50))]
    rows = list(csv.DictReader(io.StringIO((await look(service, "text/csv", before=101)).text)))
    assert [row["id"] for row in rows] == [str(number) for number in range(100, 0, -1)]


async def test_a_file_is_not_begun_while_the_store_is_down(service: Service) -> None:
    service.world.store.fail(True)
    answer = await look(service, "text/csv")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:crossfade:store_unavailable")
    service.world.store.fail(False)


async def test_a_file_breaks_off_where_the_store_is_lost(service: Service) -> None:
    """With an error, on which the connection is closed before the end: who reads it takes it for no whole file."""
    keeper = service.world.control.repository
    for number in range(PIECE + 1):
        await service.world.control.note(ADA, f"n{number}", "cli")
    pieces = await export("csv", None, lambda before: keeper.events(before, PIECE))
    seen = [await anext(pieces), await anext(pieces)]
    service.world.store.fail(True)
    with pytest.raises(StoreUnavailable):
        await anext(pieces)
    assert "".join(seen).count("\r\n") == 1 + PIECE
    service.world.store.fail(False)
