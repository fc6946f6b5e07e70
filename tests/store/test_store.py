"""What every store does, on SQLite's files and on a real PostgreSQL: optimistic records, an audit that only grows,
pins, tokens, and resumes that are taken once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

import pytest
import pytest_asyncio
from sqlalchemy import LargeBinary, cast, select, text

from app.errors import StoreUnavailable
from app.store import tables
from app.store.port import ClaimedResume, RevisionTaken, SeriesChunk, StoredRecord, StoredResume, StoredRollback, Token
from app.store.sql import SqlStore
from app.store.tokens import make_code, make_token
from rollout.views import AuditFilter
from tests.store.stores import cells, entry, opened


@pytest_asyncio.fixture
async def store(place: str) -> AsyncIterator[SqlStore]:
    async with opened(place) as made:
        yield made


async def outcomes(attempts: Sequence[Awaitable[object]]) -> list[object]:
    """What became of attempts that were made at the same time."""
    return list(await asyncio.gather(*attempts, return_exceptions=True))


# -- the record -------------------------------------------------------------------------------------------------------


async def test_a_text_is_rewritten_without_a_revision_or_an_entry(store: SqlStore, place: str) -> None:
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry("promote", revision=2))
    await store.rewrite_record(StoredRecord(2, "two, a little later"))
    async with opened(place) as another:
        assert await another.load_record() == StoredRecord(2, "two, a little later")
        assert [item.what for item in (await another.load_audit()).items] == ["promote", "set"]
    await store.save_record(StoredRecord(3, "three"), 2, entry(revision=3))
    assert await store.load_record() == StoredRecord(3, "three")


@pytest.mark.parametrize("revision", [1, 3])
async def test_a_text_of_another_revision_is_not_rewritten(store: SqlStore, revision: int) -> None:
    with pytest.raises(RevisionTaken):
        await store.rewrite_record(StoredRecord(revision, "lost"))
    assert await store.load_record() is None
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry())
    with pytest.raises(RevisionTaken, match=f"revision {revision} is no longer the stored one"):
        await store.rewrite_record(StoredRecord(revision, "lost"))
    assert await store.load_record() == StoredRecord(2, "two")


async def test_there_is_no_record_before_the_first(store: SqlStore) -> None:
    assert await store.load_record() is None
    assert await store.load_rollback() is None
    assert (await store.load_audit()).items == []


async def test_a_record_and_its_entry_are_kept_over_a_restart(store: SqlStore, place: str) -> None:
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry("promote", revision=2))
    await store.close()
    async with opened(place) as again:
        assert await again.load_record() == StoredRecord(2, "two")
        assert [item.what for item in (await again.load_audit()).items] == ["promote", "set"]


@pytest.mark.parametrize("expected", [None, 1, 3])
async def test_a_record_on_another_revision_is_refused_with_its_entry(store: SqlStore, expected: int | None) -> None:
    await store.save_record(StoredRecord(1, "one"), None, entry())
    await store.save_record(StoredRecord(2, "two"), 1, entry())
    with pytest.raises(RevisionTaken):
        await store.save_record(StoredRecord(9, "lost"), expected, entry("lost"))
    assert await store.load_record() == StoredRecord(2, "two")
    assert [item.what for item in (await store.load_audit()).items] == ["set", "set"]


@pytest.mark.parametrize("expected", [None, 1])
async def test_of_many_writers_on_one_revision_exactly_one_wins(place: str, expected: int | None) -> None:
    async with cells(place, 3) as stores:
        if expected is not None:
            await stores[0].save_record(StoredRecord(expected, "first"), None, entry())
        results = await outcomes(
            [each.save_record(StoredRecord(2, f"{n}"), expected, entry(f"{n}")) for n, each in enumerate(stores * 4)]
        )
        assert [type(result) for result in results if result is not None] == [RevisionTaken] * 11
        winner = results.index(None)
        assert await stores[1].load_record() == StoredRecord(2, f"{winner}")
        assert (await stores[2].load_audit()).items[0].what == f"{winner}"


async def test_rollbacks_are_rewritten_and_the_last_one_is_found(store: SqlStore) -> None:
    await store.save_rollback(StoredRollback("r1", 1.0, "ordered"))
    await store.save_rollback(StoredRollback("r2", 2.0, "ordered"))
    await store.save_rollback(StoredRollback("r1", 1.0, "verified"))
    assert await store.load_rollback() == StoredRollback("r2", 2.0, "ordered")
    assert await store.load_rollback("r1") == StoredRollback("r1", 1.0, "verified")
    assert await store.load_rollback("r3") is None


# -- the audit --------------------------------------------------------------------------------------------------------


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
    assert whole == entry("n0", id=whole.id)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(), [3, 2, 1, 0]),
        (AuditFilter(who="ADA"), [3, 0]),
        (AuditFilter(what="Roll"), [3, 1]),
        (AuditFilter(text="BECAUSE"), [3, 2, 1, 0]),
        (AuditFilter(text="10.0.0.9"), [2]),
        (AuditFilter(text="roll"), [3, 1]),
        (AuditFilter(since=2000.0), [3, 2, 1]),
        (AuditFilter(until=2000.0), [0]),
        (AuditFilter(since=2000.0, until=3000.0), [1]),
        (AuditFilter(who="ada", what="set", since=0.0, until=9000.0), [0]),
        (AuditFilter(who="ö"), [2]),
        (AuditFilter(who="%"), [1]),
        (AuditFilter(who="b_b"), []),
        (AuditFilter(what="set 10 %"), [0]),
        (AuditFilter(who="a\0b"), []),
        (AuditFilter(text="'; DROP TABLE audit; --"), []),
    ],
)
async def test_the_audit_is_searched_by_the_database(store: SqlStore, wanted: AuditFilter, found: list[int]) -> None:
    for number, (who, what, source) in enumerate(
        [
            ("Ada", "set 10 %", "cli"),
            ("b%b", "rollback", "api"),
            ("Jörg", "set 5", "page 10.0.0.9"),
            ("ada", "rollback", "cli"),
        ]
    ):
        await store.append_audit(entry(what, at=1000.0 * (number + 1), who=who, source=source, revision=number))
    assert [item.revision for item in (await store.load_audit(wanted=wanted)).items] == found
    one_by_one, before = [], None
    for _ in found:
        page = await store.load_audit(before, 1, wanted)
        one_by_one += [item.revision for item in page.items]
        before = page.next
    assert one_by_one == found
    assert before is None


@pytest.mark.parametrize("change", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"])
async def test_the_database_itself_refuses_to_change_the_audit(store: SqlStore, change: str) -> None:
    await store.append_audit(entry())
    with pytest.raises(StoreUnavailable, match="the audit only grows"):
        async with store.begin(store.control) as connection:
            await connection.execute(text(change))
    assert [item.who for item in (await store.load_audit()).items] == ["ann"]


async def test_nothing_that_a_person_types_keeps_an_entry_out(store: SqlStore) -> None:
    typed = 'ü\u2028 \N{ROCKET} \x01 "; DROP TABLE audit; --'
    await store.append_audit(entry(reason=typed, who="a\0b", after={"note": "a\0b"}))
    (kept,) = (await store.load_audit()).items
    assert (kept.reason, kept.who, kept.after) == (typed, "a\N{REPLACEMENT CHARACTER}b", {"note": "a\0b"})


# -- pins and tokens --------------------------------------------------------------------------------------------------


async def test_pins_are_set_replaced_and_removed(store: SqlStore) -> None:
    await store.save_pin("u1", "v3", entry("pin"))
    await store.save_pin("u1", "v2", entry("pin"))
    await store.save_pin("u2", "v3", entry("pin"))
    assert await store.load_pins() == {"u1": "v2", "u2": "v3"}
    await store.save_pin("u2", None, entry("unpin"))
    assert await store.load_pins() == {"u1": "v2"}
    assert len((await store.load_audit()).items) == 4


async def test_a_pin_that_many_set_at_once_is_set(place: str) -> None:
    async with cells(place, 3) as stores:
        assert await outcomes([each.save_pin("u1", "v3", entry("pin")) for each in stores * 3]) == [None] * 9
        assert await stores[0].load_pins() == {"u1": "v3"}
        assert len((await stores[0].load_audit()).items) == 9


async def test_a_code_is_taken_by_one_of_many(place: str) -> None:
    code = Token("d" * 64, "sign-in link", "manager", "code", 1.0, expires_at=10.0)
    async with cells(place, 3) as stores:
        await stores[0].save_token(code)
        assert await stores[1].find_token("d" * 64) == code
        taken = await outcomes([each.revoke_token("d" * 64, 2.0) for each in stores * 3])
        assert sorted(map(str, taken)) == ["False"] * 8 + ["True"]
        revoked = await stores[2].find_token("d" * 64)
        assert revoked is not None
        assert not revoked.valid(3.0)
        assert await stores[0].load_tokens() == []
    assert code.valid(9.9)
    assert not code.valid(10.0)


async def test_no_secret_is_kept(store: SqlStore) -> None:
    secrets = []
    for secret, token in (make_token("oncall", "ann", 1.0, None), make_code("link", 1.0)):
        secrets.append(secret)
        await store.save_token(token)
        assert await store.find_token(token.digest) == token
    async with store.begin(store.control) as connection:
        rows = (await connection.execute(select(tables.tokens))).all()
    assert len(rows) == 2
    assert not [row for row in rows if any(secret in str(row) or secret[3:] in str(row) for secret in secrets)]


# -- what sessions and cells leave behind -----------------------------------------------------------------------------


def resume(digest: str, document: bytes | None = b"one", expires_at: float = 100.0) -> StoredResume:
    """Held by cell x."""
    return StoredResume(digest, document, b"o", expires_at, "x")


async def test_the_last_of_many_that_claim_a_resume_gets_it_once_it_was_given_up(place: str) -> None:
    async with cells(place, 4) as stores:
        await stores[0].save_resumes([resume("a", b"one"), resume("b", None)])
        await stores[0].save_resumes([resume("a", b"two", 200.0)])
        claims = await outcomes([each.claim_resume("a", f"cell-{n}", 150.0) for n, each in enumerate(stores)])
        assert all(isinstance(claim, ClaimedResume) and claim.previous == "x" for claim in claims)
        held = await outcomes([each.look_at_resume("a", f"cell-{n}") for n, each in enumerate(stores)])
        [last] = [number for number, each in enumerate(held) if each is not None]
        await stores[0].save_resumes([resume("a", b"too late")])
        assert await stores[1].wanted_resumes("x") == ["a"]
        await stores[0].give_up_resume("a", "x", resume("a", b"three", 300.0))
        assert await stores[1].wanted_resumes("x") == []
        assert await stores[2].look_at_resume("a", f"cell-{last}") == ClaimedResume(
            StoredResume("a", b"three", b"o", 300.0, f"cell-{last}"), ""
        )
        again = await stores[1].claim_resume("a", "next", 150.0)
        assert again is not None
        assert again.previous == f"cell-{last}"
        assert await stores[1].claim_resume("b", "next", 100.0) is None, "expired"
        assert await stores[1].claim_resume("unknown", "next", 1.0) is None
        await stores[1].save_resumes([])


async def test_a_resume_that_nobody_has_any_more_is_claimed_without_asking(store: SqlStore) -> None:
    await store.save_resumes([resume("released"), resume("own")])
    own = await store.claim_resume("own", "x", 1.0)
    assert own is not None
    assert own.previous == ""
    await store.release_resumes("x")
    claimed = await store.claim_resume("released", "y", 1.0)
    assert claimed is not None
    assert claimed.previous == ""


async def test_a_cell_that_ends_while_others_want_its_sessions_keeps_nobody_waiting(store: SqlStore) -> None:
    await store.save_resumes([resume("a")])
    await store.claim_resume("a", "y", 1.0)
    await store.release_resumes("x")
    seen = await store.look_at_resume("a", "y")
    assert seen is not None
    assert seen.previous == ""


async def test_a_spent_resume_is_gone_for_whoever_claimed_it_and_others_are_left_alone(store: SqlStore) -> None:
    await store.save_resumes([resume("a"), resume("b"), StoredResume("c", None, b"o", 100.0, "y")])
    await store.claim_resume("a", "y", 1.0)
    await store.spend_resumes(["a", "b", "c"], "x")
    assert await store.look_at_resume("a", "y") is None
    assert await store.claim_resume("b", "y", 1.0) is None
    assert await store.claim_resume("c", "y", 1.0) is not None
    await store.spend_resumes([], "x")


async def test_cells_that_save_the_same_documents_do_not_stand_in_each_others_way(place: str) -> None:
    documents = [resume(f"r{number}", b"x" * 100) for number in range(200)]
    async with cells(place, 3) as stores:
        orders = [documents, documents[::-1], documents[100:] + documents[:100]]
        saved = await outcomes(
            [each.save_resumes(order) for _ in range(3) for each, order in zip(stores, orders, strict=True)]
        )
        assert saved == [None] * 9
        assert await stores[0].delete_resumes(100.0, 1000) == 200


async def test_expired_documents_are_forgotten_a_bounded_number_at_a_time(store: SqlStore) -> None:
    await store.save_resumes([resume(f"r{number}", b"", float(number)) for number in range(1000)])
    assert [await store.delete_resumes(499.0, 300) for _ in range(3)] == [300, 200, 0]
    assert await store.claim_resume("r500", "y", 0.0) is not None


async def test_series_are_kept_replaced_and_forgotten_by_their_age(store: SqlStore) -> None:
    late = 4_000_000_000  # seconds do not end in 2038
    chunks = [SeriesChunk("a", 1, 10, b"old"), SeriesChunk("a", 1, late, b"new"), SeriesChunk("a", 60, 10, b"minute")]
    await store.save_series([*chunks, SeriesChunk("b", 1, 10, b"other")], {})
    await store.save_series([SeriesChunk("a", 60, 10, b"again")], {1: 11})
    assert await store.load_series("a") == [SeriesChunk("a", 60, 10, b"again"), chunks[1]]
    assert len(await store.load_series("b")) == 1, "another cell deletes its own"
    assert [await store.delete_series({1: 11, 60: 5}, 10) for _ in range(2)] == [1, 0]
    assert await store.load_series("b") == []
    assert len(await store.load_series("a")) == 2


async def test_a_documents_bytes_come_back_as_they_were(store: SqlStore) -> None:
    every = bytes(range(256))
    await store.save_resumes([StoredResume("a", every, every[::-1], 100.0, "x")])
    async with store.begin(store.sessions) as connection:
        kept = await connection.scalar(select(cast(tables.resumes.c.document, LargeBinary)))
    assert kept == every
    assert await store.claim_resume("a", "y", 1.0) == ClaimedResume(
        StoredResume("a", every, every[::-1], 100.0, "y"), "x"
    )
