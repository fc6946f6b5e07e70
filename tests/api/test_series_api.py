"""The charts over HTTP: who may see them, what they look like, and what is refused."""

from __future__ import annotations

import pytest

from tests.api.service import Service


async def test_a_viewer_sees_both_paths_and_every_mark(service: Service) -> None:
    await service.start(10)
    answer = await service.client.get("/api/series?span=1h", headers=service.as_("viewer"))
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["span"], shown["step_s"], shown["points"]) == ("1h", 10, 360)
    for path in ("v2", "v3"):
        assert {len(values) for values in shown["paths"][path].values()} == {360}
    assert [mark["word"] for mark in shown["marks"]] == ["10 %"]


@pytest.mark.parametrize("query", ["span=2h", "until=yesterday"])
async def test_other_spans_and_times_are_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"/api/series?{query}", headers=service.as_("viewer"))
    assert answer.status_code == 422


async def test_nobody_sees_them_without_signing_in(service: Service) -> None:
    assert (await service.client.get("/api/series")).status_code == 401
