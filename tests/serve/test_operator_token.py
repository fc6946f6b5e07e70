"""The token of this host's commands stays good while a service runs, and ends with the folder that has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.cli.local_store import keep_operator_token
from app.errors import StoreUnavailable
from app.serve import operator_token
from app.serve.operator_token import OperatorToken
from app.settings import Settings
from app.store.sql import sqlite_store
from app.store.tokens import OPERATOR_S, digest_of


class Tokens:
    """A store as far as this needs one."""

    def __init__(self, *answers: bool | None) -> None:
        """`None`: it does not answer."""
        self._answers = list(answers)
        self.asked: list[tuple[str, float]] = []
        self.all_asked = asyncio.Event()

    async def renew_token(self, digest: str, expires_at: float) -> bool:
        self.asked.append((digest, expires_at))
        answer = self._answers.pop(0)
        if not self._answers:
            self.all_asked.set()
        if answer is None:
            raise StoreUnavailable("away")
        return answer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "operator.token"
    file.write_text("cf_secret\n")
    return file


async def test_it_is_renewed_soon_and_then_every_day_whether_the_store_answers_each_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_token, "FIRST_S", 0.0)
    monkeypatch.setattr(operator_token, "RENEW_S", 0.0)
    monkeypatch.setattr(operator_token, "AGAIN_S", 0.0)
    tokens = Tokens(True, None, True)
    running = asyncio.create_task(OperatorToken(tokens, file, lambda: 1000.0).run())
    await tokens.all_asked.wait()
    running.cancel()
    assert tokens.asked == [(digest_of("cf_secret"), 1000.0 + OPERATOR_S)] * 3


async def test_one_that_was_revoked_is_not_asked_for_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_token, "FIRST_S", 0.0)
    tokens = Tokens(False, True)
    token = OperatorToken(tokens, file)
    assert await token.renew()
    assert await token.renew()
    assert len(tokens.asked) == 1
    await token.run()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
async def test_without_a_token_there_is_nothing_to_do(
    tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_token, "FIRST_S", 0.0)
    file = tmp_path / "operator.token"
    if content is not None:
        file.write_bytes(content)
    await OperatorToken(Tokens(), file).run()


async def test_a_lost_folder_leaves_a_token_that_ends(tmp_path: Path) -> None:
    file = await asyncio.to_thread(keep_operator_token, Settings(data=str(tmp_path)))
    digest = digest_of(file.read_text().strip())
    store = sqlite_store(tmp_path)
    await store.open()
    try:
        made = await store.find_token(digest)
        assert made is not None
        assert made.expires_at == pytest.approx(made.created_at + OPERATOR_S)
        later = made.created_at + OPERATOR_S - 1
        assert await OperatorToken(store, file, lambda: later).renew()
        renewed = await store.find_token(digest)
        assert renewed is not None
        assert renewed.valid(later + OPERATOR_S - 1)
        assert not renewed.valid(later + OPERATOR_S)
    finally:
        await store.close()
