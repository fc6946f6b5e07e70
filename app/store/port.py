"""The interface of a store and the values that it keeps; a record is text here, whatever it means.

Every call raises `StoreUnavailable` when the store cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.errors import CrossfadeError
from rollout.names import PathName, TokenRole
from rollout.views import EVERYTHING, AuditEntry, AuditFilter, AuditPage

TokenKind = Literal["bearer", "code", "session"]

AUDIT_PAGE = 200
"""Most audit entries in one answer."""


class RevisionTaken(CrossfadeError):
    """Another writer has saved the record since this change's base was read; nothing was written."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """The control record, as text of its owner's format."""

    revision: int
    text: str


@dataclass(frozen=True, slots=True)
class AuditSize:
    """About how much audit there is: it is never read as a whole to find out."""

    entries: int
    size_bytes: int
    """Of all texts in it, without indexes."""


@dataclass(frozen=True, slots=True)
class StoredRollback:
    """The receipt of one rollback; `text` is rewritten as more of it is observed. `at` in Unix seconds."""

    id: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A credential: a bearer token, a sign-in code that works once, or the browser session that such a code began.

    Only the digest of its secret is kept. Times in Unix seconds.
    """

    digest: str
    name: str
    role: TokenRole
    kind: TokenKind
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Whether it is accepted at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def ended_at(self, now: float) -> float:
        """When it was no longer accepted: `now` for one that still is."""
        return min(each for each in (self.revoked_at, self.expires_at, now) if each is not None)


@dataclass(frozen=True, slots=True)
class StoredResume:
    """What a client that lost its socket may resume; the gateway alone writes and reads the parts."""

    digest: str
    """Of the resume token."""
    document: bytes | None
    """The session's last committed state document."""
    outcomes: bytes
    """The rest of the session: its last outcomes, known message ids and so on."""
    expires_at: float
    """Unix seconds."""
    holder: str
    """The cell that has the session; empty: none, whoever claims it may go on with it."""


@dataclass(frozen=True, slots=True)
class ClaimedResume:
    """A resume that was claimed, and the cell that has its session, as long as that has not given it up."""

    resume: StoredResume
    previous: str
    """Empty: nobody has the session any more, and `resume` is its last state."""


@dataclass(frozen=True, slots=True)
class SeriesChunk:
    """Some slots of a cell's time series, of `step_s` seconds each; the last one begins at `at` (Unix seconds)."""

    cell: str
    step_s: int
    at: int
    data: bytes
    """In the format of the series' owner."""


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A registered cell. Nothing counts as done in the fleet before every registered cell has confirmed it."""

    name: str
    host: str
    revision: int
    """Revision of the record that was in force in the cell."""
    report: str
    """The rest of its report, in the format of the register's owner."""
    silent_s: float = 0.0
    """Seconds since the row was saved, by the store's clock; ignored when saving."""


class Store(Protocol):
    """The store of one cell, or of all cells of a fleet."""

    async def open(self) -> None:
        """Bring the tables up to date. If the store does not answer, later calls try again."""
        ...

    async def close(self) -> None:
        """Close all connections; every later call raises `StoreUnavailable`."""
        ...

    async def load_record(self) -> StoredRecord | None:
        """The control record; None before the first one is saved."""
        ...

    async def save_record(self, record: StoredRecord, expected: int | None, entry: AuditEntry) -> None:
        """Replace the record of revision `expected` (None: there is none yet) and add the audit entry, both or neither.

        Raises `RevisionTaken` when the stored revision is another one.
        """
        ...

    async def rewrite_record(self, record: StoredRecord) -> None:
        """Replace the text of the record of this revision, without a notification or an audit entry.

        For changes that nobody decided. Raises `RevisionTaken` if the stored revision is another one or there is none.
        """
        ...

    def changes(self) -> AsyncGenerator[int, None]:
        """Yields the record's revision, now and whenever the record or the pins may have changed.

        Revisions never go down. It does not raise: it yields nothing while the store is down, and the revision again
        when the store is back. Stop it (`aclose`, or cancel the task) before `close`.
        """
        ...

    async def append_audit(self, entry: AuditEntry) -> None:
        """Add an entry; the store chooses its `id`. Entries are never changed."""
        ...

    async def load_audit(
        self, before: int | None = None, limit: int = 50, wanted: AuditFilter = EVERYTHING
    ) -> AuditPage:
        """Entries that match `wanted`, the newest first, with ids below `before`; at most `AUDIT_PAGE`.

        Entries of an outage are written late, so ids and times can be in different order.
        """
        ...

    async def save_rollback(self, rollback: StoredRollback) -> None: ...

    async def load_rollback(self, id: str | None = None) -> StoredRollback | None:
        """This rollback, or the last one; None: there is none."""
        ...

    async def delete_rollbacks(self, keep: int, most: int) -> int:
        """Delete up to `most` receipts, the oldest first, but none of the newest `keep`; returns how many."""
        ...

    async def measure_audit(self) -> AuditSize:
        """About how much audit there is."""
        ...

    async def load_pins(self) -> Mapping[str, PathName]: ...

    async def save_pin(self, user_id: str, path: PathName | None, entry: AuditEntry) -> None:
        """Pin a user, or unpin with None, and add the audit entry, both or neither."""
        ...

    async def save_token(self, token: Token) -> None: ...

    async def load_tokens(self) -> Sequence[Token]:
        """All bearer tokens and sessions, including revoked and expired ones."""
        ...

    async def find_token(self, digest: str) -> Token | None: ...

    async def renew_token(self, digest: str, expires_at: float) -> bool:
        """Let it expire at another time; whether there is such a token that was not revoked."""
        ...

    async def delete_tokens(self, kinds: Collection[TokenKind], ended_before: float, most: int) -> int:
        """Delete up to `most` tokens of these kinds that expired or were revoked before then; returns how many."""
        ...

    async def revoke_token(self, digest: str, now: float) -> bool:
        """Whether this call revoked it: of several at the same time, exactly one returns true."""
        ...

    async def save_resumes(self, resumes: Sequence[StoredResume]) -> None:
        """Save them, but none that another cell than its `holder` has claimed meanwhile."""
        ...

    async def claim_resume(self, digest: str, holder: str, now: float) -> ClaimedResume | None:
        """Make this cell the holder, and say who has the session; the last of several that claim it is to get it.

        None: unknown, spent or expired.
        """
        ...

    async def look_at_resume(self, digest: str, holder: str) -> ClaimedResume | None:
        """What this cell has claimed, as it is now; None: it is gone, or another cell has claimed it."""
        ...

    async def wanted_resumes(self, holder: str) -> Sequence[str]:
        """Digests of sessions that others have claimed, and that this cell has not given up yet."""
        ...

    async def give_up_resume(self, digest: str, holder: str, last: StoredResume | None) -> None:
        """This cell no longer has the session that was claimed from it; `last`: its last state, None: as it is."""
        ...

    async def release_resumes(self, holder: str) -> None:
        """This cell ends: nobody need ask it for what it held."""
        ...

    async def spend_resumes(self, digests: Sequence[str], holder: str) -> None:
        """Delete those that this cell had: nobody can resume with their tokens, even if somebody has claimed one."""
        ...

    async def delete_resumes(self, now: float, most: int) -> int:
        """Delete up to `most` expired ones; returns how many there were."""
        ...

    async def save_series(self, chunks: Sequence[SeriesChunk], older_than: Mapping[int, int]) -> None:
        """Save chunks, replacing those of the same cell, step and time.

        Delete what the cells of these chunks have that is `older_than` a time, by step.
        """
        ...

    async def delete_series(self, older_than: Mapping[int, int], most: int) -> int:
        """Delete up to `most` chunks that are `older_than` a time, by step, of any cell; returns how many.

        Those of other steps go when they are older than any of these.
        """
        ...

    async def load_series(self, cell: str) -> Sequence[SeriesChunk]:
        """All chunks of a cell, the oldest first."""
        ...

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take a lease, or keep one's own, for `ttl_s` from now by the store's clock. False: somebody else holds it."""
        ...

    async def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back, if it is held, so that the next holder need not wait until it expires."""
        ...

    async def load_lease(self, name: str) -> str | None:
        """The holder of a lease; None: nobody."""
        ...

    async def save_cell(self, cell: StoredCell) -> None:
        """Register a cell, or update its row."""
        ...

    async def load_cells(self) -> Sequence[StoredCell]:
        """All registered cells by name, including silent ones."""
        ...

    async def remove_cell(self, name: str) -> None:
        """Remove a cell that was stopped as planned, or that a person gave up."""
        ...
