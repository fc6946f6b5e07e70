"""A store that is down, hangs, is damaged or comes back: reported within its limit, and used again once it answers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import text

from app.errors import SettingError, StoreUnavailable
from app.serve.service import make_store
from app.settings import Settings
from app.store.engines import GRACE_S, HURRY_S
from app.store.port import StoredRecord, StoredResume
from app.store.sql import SqlStore, postgres_store, sqlite_store
from ops.bench.processes import BenchError
from ops.chaos.postgres import PostgresServer, account, find_programs
from tests.store.stores import entry, opened

LIMIT_S = 3.0
LATE_S = 1.0
"""What a busy machine may add to a limit, for the part that is not waiting."""


async def used_until_down(store: SqlStore) -> tuple[int, StoreUnavailable]:
    """Save records until the store is down: the last revision that was answered for, and what was said then."""
    record = await store.load_record()
    revision = 0 if record is None else record.revision
    while True:
        try:
            await store.save_record(StoredRecord(revision + 1, "text"), revision or None, entry())
        except StoreUnavailable as error:
            return revision, error
        revision += 1


async def back(store: SqlStore) -> StoredRecord:
    record = await store.load_record()
    assert record is not None
    return record


# -- both -------------------------------------------------------------------------------------------------------------


async def test_a_store_that_was_not_opened_or_is_closed_is_unavailable(place: str) -> None:
    async with opened(place) as store:
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.load_record()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.save_resumes([StoredResume("a", b"", b"", 1.0, "a")])


# -- SQLite -----------------------------------------------------------------------------------------------------------


async def test_the_record_is_written_through_to_the_disk(tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path}") as store, store.control.connect() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"


async def test_a_damaged_file_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        async with opened(f"sqlite:{tmp_path}"):
            pass


async def test_a_file_that_another_holds_is_unavailable_in_time(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path}"
    async with opened(place) as first, opened(place, 0.5) as second, first.control.connect() as connection:
        await connection.execute(text("BEGIN IMMEDIATE"))
        with pytest.raises(StoreUnavailable):
            await second.append_audit(entry())
        await connection.rollback()
        await second.append_audit(entry())


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


async def test_the_record_survives_a_power_cut_and_a_resume_need_not(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        for engine, expected in ((store.control, "on"), (store.sessions, "off")):
            async with engine.connect() as connection:
                assert await connection.scalar(text("SHOW synchronous_commit")) == expected


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_postgres_that_stops_under_use_is_unavailable_and_then_works_again(
    postgres: PostgresServer, postgres_url: str, how: signal.Signals
) -> None:
    limit_s = 5.0
    async with opened(postgres_url, limit_s) as store:
        using = asyncio.ensure_future(used_until_down(store))
        async with aclosing(store.changes()) as feed:
            while await anext(feed) < 20:
                pass
        began = monotonic()
        await asyncio.to_thread(postgres.stop, how)
        revision, _ = await using
        assert revision >= 20
        assert monotonic() - began < limit_s
        with pytest.raises(StoreUnavailable, match="Connect call failed"):
            await store.load_record()
        await postgres.start()
        # The last save may have been carried out and not answered; what was answered for is there.
        assert (await back(store)).revision - revision in {0, 1}
        assert await used_once(store)


async def used_once(store: SqlStore) -> bool:
    revision = (await back(store)).revision
    await store.save_record(StoredRecord(revision + 1, "after"), revision, entry("after"))
    return await store.load_record() == StoredRecord(revision + 1, "after")


async def test_a_restart_between_two_calls_is_not_noticed(postgres: PostgresServer, postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await store.save_record(StoredRecord(1, "one"), None, entry())
        postgres.stop()
        await postgres.start()
        assert await store.load_record() == StoredRecord(1, "one")
        assert await store.load_cells() == []


async def test_postgres_that_hangs_is_unavailable_within_the_limit(postgres: PostgresServer, postgres_url: str) -> None:
    store = postgres_store(postgres_url, LIMIT_S)
    await store.open()
    await store.save_record(StoredRecord(1, "one"), None, entry())
    with postgres.hung():
        began = monotonic()
        # More calls than connections, some on connections that are open and some on new ones.
        said = await asyncio.gather(*(store.load_record() for _ in range(12)), return_exceptions=True)
        assert {type(each) for each in said} == {StoreUnavailable}
        assert monotonic() - began < LIMIT_S + LATE_S
        began = monotonic()
        with pytest.raises(StoreUnavailable):
            await store.load_pins()
        assert monotonic() - began < HURRY_S + GRACE_S + LATE_S
    assert await store.load_record() == StoredRecord(1, "one")
    with postgres.hung():
        began = monotonic()
        with pytest.raises(StoreUnavailable):
            await store.load_pins()
        assert monotonic() - began > HURRY_S + GRACE_S  # it answered meanwhile, so it is waited for again
    await store.close()


async def test_a_cell_that_stands_still_in_a_change_lets_the_others_go_on(postgres_url: str) -> None:
    async with opened(postgres_url, LIMIT_S) as stuck, opened(postgres_url, LIMIT_S * 4) as other:
        await other.save_record(StoredRecord(1, "one"), None, entry())
        async with stuck.control.connect() as connection:
            await connection.execute(text("UPDATE rollout SET revision = 99"))
            await other.save_record(StoredRecord(2, "two"), 1, entry())  # waits until the server gives up the other
            await connection.invalidate()
        assert await other.load_record() == StoredRecord(2, "two")


async def test_a_store_that_was_down_at_the_start_is_used_as_soon_as_it_is_back(
    postgres: PostgresServer, postgres_url: str
) -> None:
    postgres.stop()
    store = postgres_store(postgres_url)
    with pytest.raises(StoreUnavailable):
        await store.open()
    await postgres.start()
    await store.save_record(StoredRecord(1, "one"), None, entry())
    assert await store.load_cells() == []
    await store.close()


@pytest.mark.parametrize("lost", ["server", "connection"])
async def test_a_feed_outlives_its_connection_and_says_what_it_missed(
    postgres: PostgresServer, postgres_url: str, lost: str
) -> None:
    async with opened(postgres_url) as one, opened(postgres_url) as two, aclosing(two.changes()) as feed:
        await one.save_record(StoredRecord(1, "one"), None, entry())
        assert await heard(feed, 1) == 1
        if lost == "server":
            postgres.stop()
            await postgres.start()
        else:
            async with one.control.connect() as connection:
                end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                assert await connection.scalar(text(f"{end} AND application_name = 'crossfade'")) >= 1
        await one.save_record(StoredRecord(2, "two"), 1, entry())
        assert await heard(feed, 2) == 2


async def heard(feed: AsyncIterator[int], revision: int) -> int:
    """Wait until the feed says so."""
    async with asyncio.timeout(10):
        while (said := await anext(feed)) < revision:
            pass
    return said


async def test_a_change_that_nobody_was_told_of_is_found_by_asking(postgres_url: str) -> None:
    async with opened(postgres_url) as store, aclosing(store.changes()) as feed:
        assert await heard(feed, 0) == 0
        async with store.control.begin() as connection:
            await connection.execute(text("INSERT INTO rollout (name, revision, record) VALUES ('rollout', 5, '')"))
        assert await heard(feed, 5) == 5


# -- which one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@127.0.0.1:port/db",
        "postgresql://ann:secret@127.0.0.1:99999/db",
        "postgresql://ann:secret@one:5432,two:x/db",
        "postgresql://ann:secret@[::1/db",
        "postgresql://ann:sec/ret@127.0.0.1/db",
        "postgresql://ann:secret@127.0.0.1/db?sslmode",
    ],
)
def test_a_url_that_cannot_be_read_stops_the_start_and_gives_nothing_away(url: str) -> None:
    with pytest.raises(SettingError, match="CROSSFADE_STORE") as refused:
        make_store(Settings(store=url))
    assert "sec" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_the_settings_choose_the_store(postgres_url: str, tmp_path: Path) -> None:
    for store in (make_store(Settings(store=postgres_url)), make_store(Settings(data=str(tmp_path)))):
        await store.open()
        assert await store.load_record() is None
        await store.close()
    assert (tmp_path / "control.db").exists()


@pytest.mark.parametrize(
    "url",
    ["postgresql://one:5432,two:5433/db?target_session_attrs=read-write", "postgresql:///db?host=/run/postgresql"],
)
def test_libpqs_other_forms_are_taken(url: str) -> None:
    assert isinstance(make_store(Settings(store=url)), SqlStore)


@pytest.mark.needs("postgresql")
def test_a_machine_without_postgresql_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (find_programs() / "initdb").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(BenchError, match="run `make test`"):
        find_programs()
    assert account() != "root"


def test_sqlite_in_a_folder_that_is_not_there_makes_it(tmp_path: Path) -> None:
    sqlite_store(tmp_path / "new" / "data")
    assert (tmp_path / "new" / "data").is_dir()
