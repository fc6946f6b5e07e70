"""Cells that verify rollbacks: one of three, and one that is alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from app.store.sql import sqlite_store
from tests.control.verifying import VerifyingCell
from tests.control.world import FragileStore


@pytest_asyncio.fixture
async def fragile_store(tmp_path: Path) -> AsyncIterator[FragileStore]:
    store = FragileStore(sqlite_store(tmp_path), [])
    await store.open()
    yield store
    store.fail(False)
    await store.close()


@pytest_asyncio.fixture
async def here(fragile_store: FragileStore) -> AsyncIterator[VerifyingCell]:
    here = VerifyingCell(fragile_store)
    await here.start()
    yield here
    await here.close()


@pytest_asyncio.fixture
async def alone(fragile_store: FragileStore) -> AsyncIterator[VerifyingCell]:
    """The same cell without others."""
    here = VerifyingCell(fragile_store, others="")
    await here.start()
    yield here
    await here.close()
