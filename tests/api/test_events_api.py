"""The audit over the API: filters that may be combined, pages that go on, and files."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest

from dashboards.export import EXPORTED
from dashboards.views import AuditEntry, AuditPage
from tests.api.service import Service


async def record(service: Service) -> None:
    """Three people at seconds 1000, 2000 …: a note each and a second one of Ada's."""
    for number, (who, what) in enumerate([("Ada", "note"), ("Bob", "=note"), ("Eve", "rollback"), ("Ada", "rollback")]):
        entry = AuditEntry(
            id=0, at=1000.0 * (number + 1), who=who, role="manager", source="cli", what=what, reason=f"r{number}",
            revision=1, before={}, after={}, figures={"v2": number},
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
    lines = (await look(service, "application/jsonl", who="ada")).text.splitlines()
    assert [msgspec.json.decode(line, type=AuditEntry).figures for line in lines] == [{"v2": 3}, {"v2": 0}]
    assert (await look(service, "*/*")).headers["content-type"] == "application/json"
    assert "link" not in answer.headers


async def test_a_file_that_is_full_says_where_the_rest_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = AuditEntry(
        id=0, at=0.0, who="ada & co", role="manager", source="cli", what="note", reason="", revision=1,
        before={}, after={}, figures={},
    )  # fmt: skip

    async def endless(before: int | None = None, limit: int = 50) -> AuditPage:
        start = 1_000_000 if before is None else before
        items = [msgspec.structs.replace(entry, id=start - number) for number in range(1, limit + 1)]
        return AuditPage(items=items, next=items[-1].id)

    monkeypatch.setattr(service.world.control.keeper, "events", endless)
    answer = await look(service, "application/jsonl", who="ada & co")
    assert len(answer.text.splitlines()) == EXPORTED
    assert answer.headers["link"] == '</api/rollout/events?who=ada+%26+co&before=990000>; rel="next"'
    following = await service.client.get(answer.links["next"]["url"], headers=service.as_("viewer"))
    assert following.json()["items"][0]["id"] == 989_999
