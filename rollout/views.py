"""What a page, the control API and the command line may see of a rollout: declared values, no behaviour.

The service fills them; templates see nothing else. All times are Unix seconds (UTC), all durations carry their unit.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from rollout.names import PathName

Span = Literal["15m", "1h", "24h", "30d"]
"""How far back a chart looks."""


class PathFigures(Struct, frozen=True, kw_only=True):
    """One path in all cells, since `since`; None: no data, which is neither good nor bad."""

    path: PathName
    role: Literal["stable", "canary"]
    available: bool
    unavailable_reason: str | None
    build: str | None
    sessions: int
    users: int
    messages: int
    """Finished messages of the window, the denominator of `error_rate`; interrupted and rejected are not among them."""
    errors: int
    interrupted: int
    rejected: int
    error_rate: float | None
    messages_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    memory_bytes: int | None
    """PSS of the worker."""
    session_memory_bytes: float | None
    """Anonymous PSS above the warm baseline, per session."""
    restarts: int
    uptime_s: float | None
    since: float | None = None
    """When the window of these figures began; None: not said."""
    exports_state: bool | None = None
    """Whether its sessions take their state along when they leave it; None: not known."""


class VerdictView(Struct, frozen=True, kw_only=True):
    guardrail: str
    verdict: Literal["pass", "fail", "inconclusive", "insufficient_data"]
    words: str
    evidence: float | None
    limit: float | None
    detail: str


class Durability(Struct, frozen=True):
    """Whether a lock would be found again after a crash of its host, and where it is kept or why it is not."""

    durable: bool
    words: str


class LockView(Struct, frozen=True, kw_only=True):
    generation: int
    since: float
    by: str
    reason: str
    durable: bool = True
    """Whether it would be found again after a crash of the host that says this."""
    durability: str = ""
    """Where it is kept, or why it is not durable: `not on disk: no space`."""


class CellState(Struct, frozen=True, kw_only=True):
    """A cell, as it said last."""

    name: str
    revision: int
    sessions: int
    silent_s: float
    """Seconds since the cell was heard."""
    silent: bool
    """It was not heard for so long that what is shown of it may be wrong; the service decides how long that is."""
    has_lock: bool


class RollbackView(Struct, frozen=True, kw_only=True):
    """What a rollback did, by observation. `verified_at` None: in force, not (yet) verified."""

    id: str
    at: float
    by: str
    reason: str
    new_stopped_ms: float | None
    existing_moved_ms: float | None
    sessions_to_move: int
    sessions_moved: int
    closed: int
    interrupted: int
    verified_at: float | None
    cells: list[str]
    silent_cells: list[str]
    without_state: int = 0
    """Of the sessions moved, the ones that could not take their state along, because v3's build exports none."""
    durable: bool = True
    """False: its lock is in force, and a crash of the host would end it. Verified or not is another question."""
    durability: str = ""
    """Why it is not durable; empty: it is."""


class StageView(Struct, frozen=True, kw_only=True):
    percentage: int
    bake_s: float
    advance: Literal["person", "automatic"]


class PlanView(Struct, frozen=True, kw_only=True):
    name: str
    stages: list[StageView]


class RolloutView(Struct, frozen=True, kw_only=True):
    """`GET /api/rollout`."""

    phase: Literal["idle", "progressing", "paused", "completed", "rolled_back"]
    percentage: int
    stage: int | None
    """Index into `plan.stages`; None when off the plan's clock."""
    stage_started_at: float | None
    next_percentage: int | None
    next_at: float | None
    plan: PlanView
    revision: int
    reason: str
    changed_by: str
    changed_at: float
    environment: str
    flag: str
    flag_age_s: float
    unleash: Literal["embedded", "in step", "pending", "changed outside", "unreachable"]
    forced: bool | None
    """`USE_WEBSOCKET_SUPERVISOR_V3`, if it is set."""
    lock: LockView | None
    last_rollback: RollbackView | None
    paths: list[PathFigures]
    verdicts: list[VerdictView]
    cells: list[CellState]
    moving: int
    """Sessions that still wait for the end of a message to be handed over."""
    allowed: dict[str, str]
    """Verb → empty when it is possible now, else the reason why it is not."""
    undo_until: float | None
    now: float
    frozen_until: float | None = None
    """Until when a freeze window of the plan keeps the rollout from advancing by itself; None: none does now."""
    build_notes: list[str] = []
    """Sentences for a person: that cells run different builds of v3, or that a host's changed setting is served."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    id: int
    at: float
    who: str
    role: str
    source: str
    """From where: cli, page, api, schedule, the address."""
    what: str
    reason: str
    revision: int
    before: dict[str, object]
    after: dict[str, object]
    figures: dict[str, object]


class AuditPage(Struct, frozen=True, kw_only=True):
    """`GET /api/rollout/events`; `next` is the id to go on from, None at the end."""

    items: list[AuditEntry]
    next: int | None


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries of the audit are meant; empty or None: any.

    Texts are parts of words, and capitals of a to z count as small letters.
    """

    who: str = ""
    what: str = ""
    text: str = ""
    """In who, what, why or from where."""
    since: float | None = None
    """Unix seconds, this one included."""
    until: float | None = None
    """Unix seconds, this one not."""


EVERYTHING = AuditFilter()


class Preview(Struct, frozen=True, kw_only=True):
    """`GET /api/rollout/preview`: what a percentage would do, before anyone clicks. Users are those seen here."""

    percentage: int
    users_to_v3: int
    users_to_v2: int
    sessions_to_v3: int
    sessions_to_v2: int
    sessions_without_state: int = 0
    """Of these, the ones that cannot take their state along, because the path they leave exports none."""
    missing_cells: list[str] = []
    """Cells that were not heard, and whose users are not counted here."""


class SessionView(Struct, frozen=True, kw_only=True):
    connection_id: str
    user_id: str
    path: PathName
    reason: str
    state: str
    cell: str
    connected_at: float
    messages: int
    queued: int
    epoch: int


class UserView(Struct, frozen=True, kw_only=True):
    """`GET /api/users/{id}`: where this user is, and why."""

    user_id: str
    path: PathName
    reason: str
    bucket: int
    percentage: int
    pin: PathName | None
    sessions: list[SessionView]
    missing_cells: list[str] = []
    """Cells that were not heard, or are on other hosts: this user may have sessions there too."""


class ErrorGroup(Struct, frozen=True, kw_only=True):
    code: str
    fingerprint: str
    path: PathName
    count: int
    users: int
    only_on_v3: bool
    first_at: float
    last_at: float
    reference: str


class ErrorsView(Struct, frozen=True, kw_only=True):
    """The error groups, those seen only on v3 first."""

    items: list[ErrorGroup]
    missing_cells: list[str] = []
    """Cells that were not heard, or are on other hosts: what they have seen is not among these."""


class GivenUp(Struct, frozen=True, kw_only=True):
    """A cell that a person gave up: a rollback was verified without it."""

    cell: str
    by: str
    at: float
    reason: str


class ReceiptView(Struct, frozen=True, kw_only=True):
    """`GET /api/rollbacks/{id}`: what a rollback did, and what was so at that moment."""

    rollback: RollbackView
    from_percentage: int
    users_harmed: int
    """Distinct users with an error on v3 in the error groups of that moment (each group tells 1000 users apart)."""
    errors_only_on_v3: list[ErrorGroup]
    figures: list[PathFigures]
    """Both paths when the command came."""
    timeline: list[AuditEntry] = []
    """The audit around it, oldest first; filled when it is shown."""
    given_up: list[GivenUp] = []
    """Cells that were given up while it waited for them; filled when it is shown."""


class SessionsView(Struct, frozen=True, kw_only=True):
    """Some of the open sessions by user, and how many there are."""

    items: list[SessionView]
    before: int = 0
    """How many of those that fit come before these."""
    matching: int
    """How many fit the search; `items` may be fewer."""
    total: int
    missing_cells: list[str] = []
    """Cells that were not heard, or are on other hosts: their sessions are not among these."""


class SettingView(Struct, frozen=True, kw_only=True):
    """One setting as it was read at start; a secret says only whether it is set."""

    variable: str
    value: str
    is_default: bool
    meaning: str


class WorkerView(Struct, frozen=True, kw_only=True):
    """The worker of one path in one cell, as that cell said last."""

    cell: str
    silent_s: float
    """Seconds since the cell was heard."""
    silent: bool
    """As of `CellState`: what is shown here may be wrong."""
    path: PathName
    available: bool
    reason: str | None
    """Why it does not serve."""
    build: str | None
    sessions: int
    memory_bytes: int | None
    restarts: int
    uptime_s: float | None


class HealthView(Struct, frozen=True, kw_only=True):
    """The parts of the service besides the rollout itself, which `RolloutView` shows."""

    store: str
    store_down: bool
    settings: list[SettingView]
    folder: str = ""
    """Where the data folder is."""
    folder_trouble: str = ""
    """Why it keeps nothing, or has no place for the lock of a rollback, in words; empty: it is as it should be."""
    leader: str = ""
    """The cell that takes the steps that nobody commands; empty: not known, or none just now."""
    audit_entries: int | None = None
    """How many entries the audit has, which is kept for ever; None: not known while the store is away."""
    audit_bytes: int | None = None
    workers: list[WorkerView] = []
    """By cell and path."""


class PathSeries(Struct, frozen=True, kw_only=True):
    """One path over time, one value a point; None: no data, where a line ends."""

    messages: list[int | None]
    """Finished messages: the denominator of `errors`."""
    errors: list[int | None]
    p50_ms: list[float | None]
    p99_ms: list[float | None]
    sessions: list[int | None]
    session_memory_bytes: list[int | None]
    memory_bytes: list[int | None]


class ChartMark(Struct, frozen=True, kw_only=True):
    """Something that somebody or the plan did, for a line on the charts."""

    at: float
    word: str
    """Short: `10 %`, `rolled back`, `note`."""
    who: str
    what: str
    reason: str


class SeriesView(Struct, frozen=True, kw_only=True):
    """`GET /api/series`: point `i` covers the `step_s` seconds from `start + i * step_s` (Unix seconds) on."""

    span: Span
    start: float
    step_s: int
    points: int
    paths: dict[PathName, PathSeries]
    marks: list[ChartMark]
    """The oldest first."""


class Loaded(Struct, frozen=True, kw_only=True):
    """What a load of v3 did."""

    build: str
    previous_build: str | None
    sessions_moved: int
    seconds: float
    """From the new worker being checked to the old one being empty."""
    cells: list[str] = []
    """That serve it now."""
    missing_cells: list[str] = []
    """Of other hosts, which have files of their own; or that have not said yet that they serve it."""
