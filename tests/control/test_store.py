"""The store on real files: optimistic records, an audit that only grows, tokens and documents that are taken once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.control.store.port import Resume, RevisionTaken, StoredRecord, StoredRollback, Token
from app.control.store.sql import SqlStore, sqlite_store
from app.errors import StoreUnavailable
from dashboards.views import AuditEntry


def entry(what: str = "set", **changes: Any) -> AuditEntry:
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


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    made = sqlite_store(tmp_path / "data")
    await made.open()
    yield made
    await made.close()


async def test_there_is_no_record_before_the_first(store: SqlStore) -> None:
    assert await store.load_record() is None
    assert await store.load_rollback() is None
    assert (await store.load_audit()).items == []


async def test_a_record_and_its_entry_are_kept_over_a_restart(store: SqlStore, tmp_path: Path) -> None:
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry("promote", revision=2), StoredRollback("r1", 5.0, "{}"))
    await store.close()
    again = sqlite_store(tmp_path / "data")
    await again.open()
    assert await again.load_record() == StoredRecord(2, "two")
    assert await again.load_rollback("r1") == StoredRollback("r1", 5.0, "{}")
    assert [item.what for item in (await again.load_audit()).items] == ["promote", "set"]
    await again.close()


@pytest.mark.parametrize("expected", [None, 1, 3])
async def test_a_record_on_another_revision_is_refused_with_its_entry(store: SqlStore, expected: int | None) -> None:
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry())
    with pytest.raises(RevisionTaken):
        await store.save_record(StoredRecord(9, "lost"), expected, entry("lost"), StoredRollback("lost", 1.0, ""))
    assert await store.load_record() == StoredRecord(2, "two")
    assert [item.what for item in (await store.load_audit()).items] == ["set", "set"]
    assert await store.load_rollback("lost") is None


async def test_of_many_writers_on_one_revision_exactly_one_wins(tmp_path: Path) -> None:
    stores = [sqlite_store(tmp_path) for _ in range(3)]
    for each in stores:
        await each.open()
    await stores[0].save_record(StoredRecord(1, "first"), None, entry())
    attempts = [each.save_record(StoredRecord(2, f"{n}"), 1, entry(f"{n}")) for n, each in enumerate(stores * 4)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [RevisionTaken] * 11
    winner = results.index(None)
    assert await stores[1].load_record() == StoredRecord(2, f"{winner}")
    assert [item.what for item in (await stores[2].load_audit()).items] == [f"{winner}", "set"]
    for each in stores:
        await each.close()


async def test_the_audit_pages_from_the_newest(store: SqlStore) -> None:
    for number in range(7):
        await store.append_audit(entry(f"n{number}"))
    seen, before = [], None
    for _ in range(3):
        page = await store.load_audit(before, limit=3)
        seen += [item.what for item in page.items]
        before = page.next
    assert seen == [f"n{number}" for number in reversed(range(7))]
    assert before is None
    whole = (await store.load_audit(limit=7)).items[-1]
    assert whole == entry("n0", id=1)


async def test_pins_are_set_replaced_and_removed(store: SqlStore) -> None:
    await store.save_pin("u1", "v3", entry("pin"))
    await store.save_pin("u1", "v2", entry("pin"))
    await store.save_pin("u2", "v3", entry("pin"))
    assert await store.load_pins() == {"u1": "v2", "u2": "v3"}
    await store.save_pin("u2", None, entry("unpin"))
    assert await store.load_pins() == {"u1": "v2"}
    assert len((await store.load_audit()).items) == 4


async def test_a_code_is_taken_by_one_of_many(store: SqlStore) -> None:
    code = Token("d" * 64, "sign-in link", "manager", "code", 1.0, expires_at=10.0)
    await store.save_token(code)
    assert await store.find_token("d" * 64) == code
    assert sorted(await asyncio.gather(*(store.revoke_token("d" * 64, 2.0) for _ in range(5)))) == [False] * 4 + [True]
    revoked = await store.find_token("d" * 64)
    assert revoked is not None
    assert not revoked.valid(3.0)
    assert code.valid(9.9)
    assert not code.valid(10.0)
    assert await store.load_tokens() == []


async def test_a_resume_document_is_taken_once(store: SqlStore) -> None:
    await store.save_resumes([Resume("a", b"one", b"o", 100.0), Resume("b", None, b"", 100.0)])
    await store.save_resumes([Resume("a", b"two", b"o", 200.0)])
    taken = await asyncio.gather(*(store.take_resume("a", 150.0) for _ in range(3)))
    assert [resume for resume in taken if resume] == [Resume("a", b"two", b"o", 200.0)]
    assert await store.take_resume("b", 100.0) is None
    await store.save_resumes([])


async def test_expired_documents_are_forgotten(store: SqlStore) -> None:
    await store.save_resumes([Resume(f"r{number}", b"", b"", float(number)) for number in range(1000)])
    assert await store.delete_resumes(499.0) == 500
    assert await store.take_resume("r500", 0.0) is not None


async def test_the_record_is_written_through_to_the_disk(store: SqlStore) -> None:
    async with store._control.connect() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"


async def test_a_closed_store_is_unavailable(store: SqlStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.load_record()


async def test_a_damaged_file_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"no database at all, " * 100)
    broken = sqlite_store(tmp_path)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await broken.open()
    (tmp_path / "control.db").unlink()
    assert await broken.load_record() is None  # used as soon as it is back
    await broken.close()


async def test_a_store_that_hangs_is_unavailable(tmp_path: Path) -> None:
    first, second = sqlite_store(tmp_path), sqlite_store(tmp_path, limit_s=0.05)
    await first.open()
    await second.open()
    async with first._control.connect() as connection:
        await connection.execute(text("BEGIN IMMEDIATE"))
        with pytest.raises(StoreUnavailable):
            await second.append_audit(entry())
        await connection.rollback()
    await first.close()
    await second.close()
