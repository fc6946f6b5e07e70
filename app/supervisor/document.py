"""The state document that a handover carries: `{schema_version, common, v2, v3}`, versioned, bounded, JSON.

Both paths use `common`. Each path owns its part; the other path's part stays byte for byte as it was. A document never
contains tokens, sockets or handles.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from app.supervisor.contract import DOCUMENT_BYTES
from app.supervisor.errors import DocumentTooLarge, UnreadableDocument
from rollout.names import PathName

SCHEMA_VERSION = 1
EXCHANGES = 10
EXCHANGE_CHARACTERS = 1000
PART_BYTES = 6 * 1024
"""Largest part of one path; two of them leave room for `common`, so neither path can fill the document."""

NOTHING = Raw(b"null")

_encoder = msgspec.json.Encoder()


class Exchange(Struct, frozen=True, forbid_unknown_fields=True):
    """One message and its answer, each cut to `EXCHANGE_CHARACTERS`."""

    run_id: str
    thread: str
    content: str
    answer: str


class Common(Struct, frozen=True, forbid_unknown_fields=True):
    """What both paths use. The exchanges, oldest first, stay bytes, because a document is written per message."""

    user: str
    thread: str
    runs: int
    exchanges: tuple[Raw, ...] = ()


class StateDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """A state document. A path's part is `null` until the path has state to keep."""

    schema_version: int
    common: Common
    v2: Raw = NOTHING
    v3: Raw = NOTHING

    def part(self, path: PathName) -> Raw:
        """The part of `path`."""
        return self.v2 if path == "v2" else self.v3


class _Version(Struct):
    schema_version: int


_decoder = msgspec.json.Decoder(StateDocument)
_version_decoder = msgspec.json.Decoder(_Version)
_exchange_decoder = msgspec.json.Decoder(Exchange)


def begin(user: str, thread: str) -> StateDocument:
    """The document of a new session."""
    return StateDocument(SCHEMA_VERSION, Common(user, thread, 0))


def read(data: bytes) -> StateDocument:
    """The document in `data`. Raises `UnreadableDocument`, a `ValueError`, if this build cannot read it."""
    if len(data) > DOCUMENT_BYTES:
        raise UnreadableDocument(f"the document has {len(data)} bytes; at most {DOCUMENT_BYTES} are allowed")
    try:
        version = _version_decoder.decode(data).schema_version
        if version != SCHEMA_VERSION:
            raise UnreadableDocument(f"the document has schema_version {version}; this build reads {SCHEMA_VERSION}")
        document = _decoder.decode(data)
        for exchange in document.common.exchanges:
            _exchange_decoder.decode(exchange)
        # Copied, because a Raw keeps the whole of `data` alive and a session may live for days.
        common = document.common
        kept = tuple(exchange.copy() for exchange in common.exchanges)
        document = StateDocument(
            version, Common(common.user, common.thread, common.runs, kept), document.v2.copy(), document.v3.copy()
        )
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise UnreadableDocument(f"this is not a state document: {error}") from None
    return document


def exchanges(document: StateDocument, thread: str) -> list[Exchange]:
    """The kept exchanges of one thread, oldest first."""
    every = map(_exchange_decoder.decode, document.common.exchanges)
    return [exchange for exchange in every if exchange.thread == thread]


def advance(document: StateDocument, exchange: Exchange, path: PathName, part: bytes) -> StateDocument:
    """The document after one more run on `path`, whose part (JSON) is now `part`. Raises `DocumentTooLarge`."""
    if len(part) > PART_BYTES:
        raise DocumentTooLarge(f"the part of {path} has {len(part)} bytes; at most {PART_BYTES} are allowed")
    common = document.common
    cut = Exchange(exchange.run_id, exchange.thread, _cut(exchange.content), _cut(exchange.answer))
    kept = (*common.exchanges, Raw(_encoder.encode(cut)))[-EXCHANGES:]
    after = Common(common.user, common.thread, common.runs + 1, kept)
    if path == "v2":
        return StateDocument(SCHEMA_VERSION, after, Raw(part), document.v3)
    return StateDocument(SCHEMA_VERSION, after, document.v2, Raw(part))


def switch(document: StateDocument, thread: str) -> StateDocument:
    """The document after the session switched to another thread."""
    common = document.common
    moved = Common(common.user, thread, common.runs, common.exchanges)
    return StateDocument(SCHEMA_VERSION, moved, document.v2, document.v3)


def write(document: StateDocument) -> tuple[StateDocument, bytes]:
    """The document, without its oldest exchanges if it was too large, and its bytes, at most `DOCUMENT_BYTES`.

    Raises `DocumentTooLarge` if it does not fit even without exchanges.
    """
    data = _encoder.encode(document)
    if len(data) <= DOCUMENT_BYTES:
        return document, data
    common, over = document.common, len(data) - DOCUMENT_BYTES
    kept = list(common.exchanges)
    while over > 0 and kept:
        over -= len(bytes(kept.pop(0))) + 1
    fitting = StateDocument(
        SCHEMA_VERSION, Common(common.user, common.thread, common.runs, tuple(kept)), document.v2, document.v3
    )
    data = _encoder.encode(fitting)
    if len(data) > DOCUMENT_BYTES:
        raise DocumentTooLarge(
            f"the document has {len(data)} bytes without any exchange; at most {DOCUMENT_BYTES} are allowed"
        )
    return fitting, data


def _cut(text: str) -> str:
    return text if len(text) <= EXCHANGE_CHARACTERS else text[: EXCHANGE_CHARACTERS - 1] + "…"
