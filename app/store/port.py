"""What the service asks of a store, and the values it keeps; records are text here, whatever they mean.

Every call raises `StoreUnavailable` when the store cannot be reached. It must not know of SQL or of any phase or verb.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.errors import CrossfadeError
from rollout.names import PathName
from rollout.views import EVERYTHING, AuditEntry, AuditFilter, AuditPage

TokenRole = Literal["viewer", "oncall", "manager"]
TokenKind = Literal["bearer", "code", "session"]

AUDIT_PAGE = 200
"""Most audit entries in one answer."""


class RevisionTaken(CrossfadeError):
    """Another writer saved a record since the one this change is based on was read; nothing was written."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """The control record as its owner wrote it."""

    revision: int
    text: str


@dataclass(frozen=True, slots=True)
class StoredRollback:
    """What is known of one rollback; `text` is rewritten when more of it was observed."""

    id: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A way in: a bearer token, a sign-in code that is good once, or the browser session that such a code began.

    Only the digest of its secret is kept.
    """

    digest: str
    name: str
    role: TokenRole
    kind: TokenKind
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Whether it opens anything at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class StoredResume:
    """What a client that lost its socket may come back to; both parts are written and read by the gateway only."""

    digest: str
    """Of the resume token."""
    document: bytes | None
    """The session's last committed state document."""
    outcomes: bytes
    """The rest of the session: its last outcomes, known ids and the like."""
    expires_at: float


@dataclass(frozen=True, slots=True)
class SeriesChunk:
    """A few slots of a cell's time series, of `step_s` seconds each, the last of them from `at` (Unix seconds) on."""

    cell: str
    step_s: int
    at: int
    data: bytes
    """Written and read by the series' owner only."""


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A registered cell: whatever is reported done needs a word from each of them."""

    name: str
    host: str
    revision: int
    """Of the record that was in force in it."""
    report: str
    """What else it said; written and read by the registry's owner only."""
    silent_s: float = 0.0
    """Seconds since it was saved, by the store's clock; saving ignores it."""


class Store(Protocol):
    """One store for all cells that belong together."""

    async def open(self) -> None:
        """Bring the tables up to date and check that it answers; when it does not, later calls try again."""
        ...

    async def close(self) -> None:
        """Give everything back; every later call raises `StoreUnavailable`."""
        ...

    async def load_record(self) -> StoredRecord | None:
        """The control record; None before the first was saved."""
        ...

    async def save_record(self, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        """Replace the record of revision `expected` (None: there is none) and write the audit entry, both or neither.

        Raises `RevisionTaken` when the stored revision is another one.
        """
        ...

    def changes(self) -> AsyncGenerator[int, None]:
        """The record's revision, now and whenever it or the pins may have changed, until the consumer stops.

        Never one that is lower than the last. Raises nothing: while the store is down it is silent, and when it is
        back the revision comes again. Stop it (`aclose`, or cancel the task) before `close`.
        """
        ...

    async def append_audit(self, entry: AuditEntry) -> None:
        """Add an entry; its `id` is given by the store. Entries are never changed."""
        ...

    async def load_audit(
        self, before: int | None = None, limit: int = 50, wanted: AuditFilter = EVERYTHING
    ) -> AuditPage:
        """Entries that are wanted, the newest first, of ids lower than `before`; at most `AUDIT_PAGE`.

        An outage's entries are written late, so the order of ids and that of times differ.
        """
        ...

    async def save_rollback(self, rollback: StoredRollback) -> None: ...

    async def load_rollback(self, id: str | None = None) -> StoredRollback | None:
        """One rollback, or the last one."""
        ...

    async def load_pins(self) -> Mapping[str, PathName]: ...

    async def save_pin(self, user_id: str, path: PathName | None, entry: AuditEntry) -> None:
        """Pin a user, or with None unpin; the audit entry is written with it."""
        ...

    async def save_token(self, token: Token) -> None: ...

    async def load_tokens(self) -> Sequence[Token]:
        """All bearer tokens and sessions, revoked and expired ones too."""
        ...

    async def find_token(self, digest: str) -> Token | None: ...

    async def revoke_token(self, digest: str, now: float) -> bool:
        """Whether this call revoked it: of several at the same time, exactly one is told yes."""
        ...

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None: ...

    async def take_resume(self, digest: str, now: float) -> StoredResume | None:
        """The document, once: who takes it has it alone. None: unknown, taken or expired."""
        ...

    async def delete_resumes(self, now: float) -> int:
        """Forget those that expired; how many they were."""
        ...

    async def save_series(self, chunks: Sequence[SeriesChunk], older_than: Mapping[int, int]) -> None:
        """Add chunks, replacing those of the same cell, step and time; `older_than` says by step what to forget."""
        ...

    async def load_series(self, cell: str) -> Sequence[SeriesChunk]:
        """All chunks of a cell, the oldest first."""
        ...

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take a lease that is free, has run out or is held already, for `ttl_s` from now by the store's clock."""
        ...

    async def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back, if it is held, so that the next one need not wait until it runs out."""
        ...

    async def load_lease(self, name: str) -> str | None:
        """Who holds a lease now."""
        ...

    async def save_cell(self, cell: StoredCell) -> None:
        """Register a cell, or say that it lives and what is in force in it."""
        ...

    async def load_cells(self) -> Sequence[StoredCell]:
        """All registered cells by name, silent ones too, until somebody removes them."""
        ...

    async def remove_cell(self, name: str) -> None:
        """A cell that was stopped as planned, or that a person gave up, is waited for no longer."""
        ...
