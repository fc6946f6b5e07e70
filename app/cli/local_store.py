"""The store of this host's settings, opened without a service: for new tokens and for `doctor`.

It must not touch the control record; whoever may read the settings and the data folder may do what is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from app.cli.target import operator_token_file
from app.control.store.port import Store, TokenRole
from app.control.tokens import digest_of, make_token
from app.settings import Settings
from app.wiring import make_store

T = TypeVar("T")

OPERATOR = "operator on this host"
DAY_S = 86_400.0


def add_token(settings: Settings, role: TokenRole, name: str, days: float | None) -> str:
    """Save a new token; returns its secret, which is kept nowhere else. Raises `StoreUnavailable`."""
    return _with_store(settings, lambda store: _add_token(store, role, name, days))


def keep_operator_token(settings: Settings) -> Path:
    """Make sure that the operator's file holds a token that is good; returns the file.

    Raises `StoreUnavailable` and `OSError`.
    """
    file = operator_token_file(settings)

    async def keep(store: Store) -> None:
        known = await store.find_token(digest_of(file.read_text().strip())) if file.exists() else None
        if known is None or not known.valid(time.time()):
            _write_private(file, await _add_token(store, "manager", OPERATOR, None))

    _with_store(settings, keep)
    return file


def store_answers(settings: Settings) -> str:
    """Open the store and write to it, in words. Raises `StoreUnavailable`."""
    _with_store(settings, lambda store: store.delete_resumes(0.0))
    return "SQLite in the data folder answers" if settings.store == "sqlite" else "PostgreSQL answers"


async def _add_token(store: Store, role: TokenRole, name: str, days: float | None) -> str:
    now = time.time()
    secret, token = make_token(role, name, now, None if days is None else now + days * DAY_S)
    await store.save_token(token)
    return secret


def _with_store(settings: Settings, use: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _opened(settings) as store:
            return await use(store)

    return asyncio.run(run())


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    store = make_store(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _write_private(file: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text + "\n")
    new.replace(file)
