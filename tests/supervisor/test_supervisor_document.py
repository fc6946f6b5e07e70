"""The state document: golden files per version, limits, and that each path leaves the other's part as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.message_types import Request
from app.supervisor import document as documents
from app.supervisor.builtin import BuiltinAnswerer
from app.supervisor.context import WebSocketContext
from app.supervisor.contract import DOCUMENT_BYTES
from app.supervisor.core import Dependencies, Supervisor, create_supervisor_core
from app.supervisor.document import EXCHANGES, PART_BYTES, Exchange
from app.supervisor.errors import DocumentTooLarge, UnreadableDocument
from rollout.names import PathName

GOLDEN = Path(__file__).parent / "golden"
THREAD = "t-0011223344556677-00112233445566778899aabb"
OTHER: dict[PathName, PathName] = {"v2": "v3", "v3": "v2"}


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes().rstrip(b"\n")


def supervisor(path: PathName, user: str = "ada") -> Supervisor:
    context = WebSocketContext("c-1", user, THREAD)
    return create_supervisor_core(context, Dependencies(path, BuiltinAnswerer(), b"secret"))


def ask(target: Supervisor, run_id: str, request: Request) -> None:
    async def exhaust() -> None:
        async for _ in target.run(request, run_id):
            pass

    asyncio.run(exhaust())


def say(target: Supervisor, run_id: str, *contents: str) -> None:
    for content in contents:
        ask(target, run_id, Request("message", content))


def exported(target: Supervisor) -> bytes:
    document = target.export_state()
    assert document is not None
    return document


@pytest.mark.parametrize("name", sorted(file.name for file in GOLDEN.glob("document-v1-*.json")))
@pytest.mark.parametrize("path", ["v2", "v3"])
def test_a_golden_document_is_read_by_both_paths_and_written_again_as_it_was(name: str, path: PathName) -> None:
    document = golden(name)
    assert documents.write(documents.read(document))[1] == document
    target = supervisor(path)
    target.restore_state(document)
    assert target.export_state() == document


def test_this_build_writes_the_golden_documents() -> None:
    v3 = supervisor("v3")
    assert v3.export_state() == golden("document-v1-new.json")
    say(v3, "r-1", "hello")
    v2 = supervisor("v2")
    v2.restore_state(exported(v3))
    say(v2, "r-2", "Grüße 👋")
    again = supervisor("v3")
    again.restore_state(exported(v2))
    say(again, "r-3", "again")
    assert again.export_state() == golden("document-v1-both-paths.json")


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
requests = st.one_of(
    st.builds(Request, st.just("message"), texts),
    st.builds(Request, st.just("agent"), texts, st.sampled_from(["echo", "outline"])),
    st.builds(Request, st.just("history")),
)


@settings(max_examples=40, deadline=None)
@given(
    before=st.lists(requests, max_size=14), between=st.lists(requests, max_size=4), start=st.sampled_from(["v2", "v3"])
)
def test_there_and_back_gives_the_same_document(before: list[Request], between: list[Request], start: PathName) -> None:
    origin = supervisor(start)
    for number, request in enumerate(before):
        ask(origin, f"r-{number}", request)
    document = exported(origin)

    visited = supervisor(OTHER[start])
    visited.restore_state(document)
    assert visited.export_state() == document
    back = supervisor(start)
    back.restore_state(exported(visited))
    assert back.export_state() == document

    for number, request in enumerate(between):
        ask(visited, f"s-{number}", request)
    part = bytes(documents.read(document).part(start))
    assert bytes(documents.read(exported(visited)).part(start)) == part


def test_the_other_paths_part_is_kept_whatever_it_is() -> None:
    odd = b'{"a": 1.50, "b":[ 1e400000, {"deep":null}], "a":"twice", "\\u00e4":"\\ud83d\\ude00"}'
    plain = golden("document-v1-both-paths.json")
    document = plain.replace(b'"v2":{"runs":1,"agent":"echo"}', b'"v2":' + odd)
    v3 = supervisor("v3")
    v3.restore_state(document)
    say(v3, "r-9", "more")
    assert bytes(documents.read(exported(v3)).v2) == odd


nasty = st.sampled_from(["\x01", "👋", '"', "ä", "a", "\\"]).map(lambda character: character * 4000)


@settings(max_examples=25, deadline=None)
@given(contents=st.lists(nasty, min_size=1, max_size=12), other=st.integers(0, PART_BYTES - 2))
def test_the_document_stays_within_its_bound_on_both_paths(contents: list[str], other: int) -> None:
    """Also when the other path's part is as large as it may be: no path can fill the document up for the other."""
    start = documents.begin("ada", THREAD)
    part = b'"' + b"x" * other + b'"'
    filled = documents.advance(start, Exchange("r-0", THREAD, "a", "b"), "v3", part)
    v2 = supervisor("v2")
    v2.restore_state(documents.write(filled)[1])
    for content in contents:
        say(v2, "r-1", content)
        assert len(exported(v2)) <= DOCUMENT_BYTES
    document = documents.read(exported(v2))
    assert document.common.runs == 1 + len(contents)
    assert bytes(document.v3) == part


def test_old_exchanges_go_first_and_their_number_is_bounded() -> None:
    v3 = supervisor("v3")
    say(v3, "r-1", *(f"message {number}" for number in range(EXCHANGES + 5)))
    kept = [exchange.content for exchange in documents.exchanges(documents.read(exported(v3)), THREAD)]
    assert kept == [f"message {number}" for number in range(5, EXCHANGES + 5)]
    say(v3, "r-2", *("\x01" * 900 for _ in range(3)))
    kept = [exchange.content for exchange in documents.exchanges(documents.read(exported(v3)), THREAD)]
    assert kept[-1] == "\x01" * 900 and len(kept) < EXCHANGES


def test_a_part_over_its_bound_is_refused() -> None:
    start = documents.begin("ada", THREAD)
    exchange = Exchange("r-1", THREAD, "a", "b")
    fits = b'"' + b"x" * (PART_BYTES - 2) + b'"'
    assert bytes(documents.advance(start, exchange, "v2", fits).v2) == fits
    with pytest.raises(DocumentTooLarge, match=str(PART_BYTES)):
        documents.advance(start, exchange, "v2", fits + b" ")


def test_a_document_that_fits_only_without_its_user_is_refused() -> None:
    with pytest.raises(DocumentTooLarge, match="without any exchange"):
        documents.write(documents.begin("u" * DOCUMENT_BYTES, THREAD))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"schema_version":1}',
        golden("document-v1-new.json").replace(b'"schema_version":1', b'"schema_version":2'),
        golden("document-v1-new.json").replace(b'"runs":0', b'"runs":"0"'),
        golden("document-v1-new.json").replace(b'"runs":0', b'"runs":0,"more":1'),
        golden("document-v1-new.json").replace(b'"exchanges":[]', b'"exchanges":[{"content":"x"}]'),
        golden("document-v1-new.json") + b" " * DOCUMENT_BYTES,
    ],
)
def test_what_cannot_be_read_is_a_value_error_and_changes_nothing(document: bytes) -> None:
    target = supervisor("v3")
    say(target, "r-1", "kept")
    before = target.export_state()
    with pytest.raises(ValueError) as caught:
        target.restore_state(document)
    assert isinstance(caught.value, UnreadableDocument)
    assert target.export_state() == before


def test_another_users_document_is_refused() -> None:
    with pytest.raises(ValueError, match="another user"):
        supervisor("v3", user="eve").restore_state(golden("document-v1-both-paths.json"))


def test_a_document_holds_no_secret() -> None:
    v3 = create_supervisor_core(
        WebSocketContext("connection-handle", "ada", THREAD), Dependencies("v3", BuiltinAnswerer(), b"the-secret-key")
    )
    say(v3, "r-1", "hello")
    document = exported(v3)
    assert b"secret" not in document and b"connection-handle" not in document
    assert set(msgspec.json.decode(document)) == {"schema_version", "common", "v2", "v3"}
