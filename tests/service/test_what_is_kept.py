"""A service deletes and forgets by itself what has ended: everything that is kept has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time

import pytest

from app.cli.local_store import keep_operator_token
from app.control import retention
from app.control.retention import SIGN_INS_S
from app.metrics import error_groups
from app.serve import operator_token
from app.serve import service as serving
from app.settings import Settings
from app.store.port import Store, Token
from app.store.tokens import OPERATOR_S, digest_of
from tests.gateway.serving import PATIENCE_S
from tests.service.test_operators_first import running

pytestmark = pytest.mark.slow


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_service_forgets_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_S", 0.1)
    monkeypatch.setattr(retention, "EVERY_S", 0.1)
    monkeypatch.setattr(operator_token, "FIRST_S", 0.1)
    monkeypatch.setattr(serving, "IDLE_CHECK_S", 0.05)
    file = await asyncio.to_thread(keep_operator_token, Settings(data=str(tmp_path)))
    operator = digest_of(file.read_text().strip())
    async with running(tmp_path) as cell:
        service, now = cell.service, time()
        await service.store.save_token(Token("over", "ann", "manager", "code", 1.0, now - SIGN_INS_S - 1))
        await service.store.save_token(Token("used", "ann", "manager", "code", 1.0, now, now))
        service.admission._attempts.of("192.0.2.1", monotonic())
        service.cell._message_rates.of("ann", service.cell.clock())
        errors = service.counters.errors
        errors.add("v3", "internal", "over", "r", "ann", now=now - error_groups.KEPT_S - 1)
        errors.add("v3", "internal", "new", "r", "ann", now=now)

        async with asyncio.timeout(PATIENCE_S):
            while await service.store.find_token("over") is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await service.store.find_token("used") is not None
        await until(lambda: len(service.admission._attempts) == 0)
        await until(lambda: len(service.cell._message_rates) == 0)
        await until(lambda: [group.fingerprint for group in errors.counts()] == ["new"])
        async with asyncio.timeout(PATIENCE_S):
            while not await renewed(service.store, operator):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def renewed(store: Store, digest: str) -> bool:
    """Whether it is good for longer than when it was made."""
    token = await store.find_token(digest)
    assert token is not None
    assert token.expires_at is not None
    return token.expires_at > token.created_at + OPERATOR_S
