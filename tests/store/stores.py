"""Stores on both databases, and audit entries, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.store.sql import SqlStore, postgres_store, sqlite_store
from rollout.views import AuditEntry


def make_store(place: str, limit_s: float = 5.0) -> SqlStore:
    """The store in a place of the fixture of that name; a second one is a second cell's."""
    kind, _, folder = place.partition(":")
    return sqlite_store(Path(folder), limit_s) if kind == "sqlite" else postgres_store(place, limit_s)


@asynccontextmanager
async def opened(place: str, limit_s: float = 5.0) -> AsyncIterator[SqlStore]:
    """The same, open until the block ends."""
    store = make_store(place, limit_s)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def cells(place: str, count: int) -> AsyncIterator[list[SqlStore]]:
    """Several cells on one store."""
    stores = [make_store(place) for _ in range(count)]
    try:
        for store in stores:
            await store.open()
        yield stores
    finally:
        for store in stores:
            await store.close()


def entry(what: str = "set", **changes: Any) -> AuditEntry:
    """An audit entry with something in every field."""
    values: dict[str, Any] = {
        "id": 0,
        "at": 1000.5,
        "who": "ann",
        "role": "manager",
        "source": "cli",
        "what": what,
        "reason": "because",
        "revision": 1,
        "before": {"percentage": 0},
        "after": {"percentage": 10},
        "figures": {"v3": {"error_rate": None, "p99_ms": 12.5}},
    }
    return AuditEntry(**(values | changes))
