"""A row that an older or newer version wrote, or that is damaged, breaks no page, no call and no start."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import insert

from app.store import tables
from app.store.port import StoredRollback, Token, TokenKind
from app.store.sql import SqlStore
from app.store.tokens import digest_of
from rollout.names import PathName, TokenRole
from tests.api.service import Service
from tests.control.world import World
from tests.store.stores import entry

DAMAGED = ["{", "[1]", "null", '"text"', '{"x": ' + "[" * 5000, "\x00"]


async def put_entry(store: SqlStore, text: str, reason: str) -> None:
    values = {
        "at": 1.0,
        "who": "ann",
        "role": "owner",
        "source": "api",
        "what": "set 5",
        "reason": reason,
        "revision": 1,
    }
    async with store.begin(store.control) as connection:
        await connection.execute(insert(tables.audit).values(**values, before=text, after=text, figures=text))


async def test_an_audit_entry_is_shown_as_far_as_it_can_be_read(service: Service) -> None:
    for number, text in enumerate(DAMAGED):
        await put_entry(service.world.store, text, f"reason {number} of another version")
    viewer = service.as_("viewer")
    for address in ("/api/rollout/events", "/history", "/history.csv", "/history.jsonl", "/api/series?span=30d"):
        answer = await service.client.get(address, headers=viewer)
        assert answer.status_code == 200, address
        if "series" not in address:
            shown = [f"reason {number} of another version" in answer.text for number in range(len(DAMAGED))]
            assert all(shown), (address, shown)


async def test_a_receipt_that_cannot_be_read_is_none(service: Service) -> None:
    for number, text in enumerate((*DAMAGED, '{"of": "another version"}')):
        await service.world.store.save_rollback(StoredRollback(f"{number}-0", float(number), text))
        assert await service.world.control.repository.receipt(f"{number}-0") is None
        for address in (f"/api/rollbacks/{number}-0", f"/rollbacks/{number}-0"):
            assert (await service.client.get(address, headers=service.as_("viewer"))).status_code == 404
    assert await service.world.control.repository.receipt() is None, "the last one"


async def test_a_pin_to_an_unknown_path_leaves_its_user_to_the_flag(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    await world.store.save_pin("ann", cast("PathName", "v4"), entry())
    await world.store.save_pin("bob", "v3", entry())
    await world.close()
    again = await World.make(tmp_path)
    assert await again.control.repository.pins() == {"bob": "v3"}
    assert again.control.snapshot().view.pins == {"bob": "v3"}
    await again.close()


@pytest.mark.parametrize(("role", "kind"), [("owner", "bearer"), ("manager", "invitation")])
async def test_a_token_of_an_unknown_role_or_kind_signs_nobody_in(service: Service, role: str, kind: str) -> None:
    token = Token(digest_of("s"), "ann", cast("TokenRole", role), cast("TokenKind", kind), service.world.now)
    await service.world.store.save_token(token)
    headers = {"Authorization": "Bearer s"}
    assert (await service.client.get("/api/rollout", headers=headers)).status_code == 401
    assert (await service.client.post("/api/rollout/rollback", headers=headers)).status_code == 401
