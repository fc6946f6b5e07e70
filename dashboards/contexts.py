"""What each template may use: one declared value per template, and per section one of its fields.

Everything is ready to be shown (text, or a whole number for a bar); it must hold no service object and no markup.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from dashboards.search import Search
from rollout.names import PathName

Tone: TypeAlias = Literal["good", "bad", "warn", "plain", "none"]
"""How a fact is coloured. `none` is grey: no data, which is neither good nor bad."""
PageName: TypeAlias = Literal["overview", "sessions", "errors", "history", "plan", "health", "try", "sign-in", "other"]
Icon: TypeAlias = Literal["idle", "progressing", "paused", "completed", "rolled_back", "rolling_back"]


class Chrome(Struct, frozen=True):
    """The frame around every page."""

    title: str
    icon: Icon
    page: PageName
    name: str = ""
    role: str = ""
    stream: str = ""
    """Path of the page's event stream; empty: the page does not change by itself."""


class Fact(Struct, frozen=True):
    label: str
    value: str
    tone: Tone = "plain"


class Top(Struct, frozen=True):
    """The line that says what one looks at."""

    as_of: str
    environment: str
    flag: str
    unleash: Fact
    cells: Fact


class PathShare(Struct, frozen=True):
    """v2 beside v3 of one quantity; `v3_percent` None: there is none of either."""

    label: str
    v2: str
    v3: str
    v3_percent: float | None
    v3_share: str


class StateSection(Struct, frozen=True):
    """Where we are, what is next, and what is still missing."""

    title: str
    icon: Icon
    badge: str
    tone: Tone
    headline: str
    next: str
    missing: list[str]
    notes: list[Fact]
    shares: list[PathShare]
    changed: str
    welcome: bool
    """Nobody is connected and nothing was counted yet: the page says what a newcomer may do."""


class Receipt(Struct, frozen=True):
    """What a rollback did, as far as it was observed."""

    tone: Tone
    headline: str
    facts: list[Fact]
    by: str
    silent: str
    address: str
    """The page with all that is known of this rollback."""
    summary: str
    """The facts that matter most, in one clause."""
    past: bool
    """It is no longer in force."""


class RollbackSection(Struct, frozen=True):
    label: str
    enabled: bool
    why_not: str
    effect: str
    receipt: Receipt | None


class Control(Struct, frozen=True):
    """One button: what it would do, said before the click, or why it cannot be clicked now."""

    key: str
    """Names it among all buttons: `pause`, `set-10`, `promote-full`."""
    verb: str
    label: str
    enabled: bool
    note: str
    percentage: int | None = None
    current: bool = False
    full: bool = False
    """`promote` past every stage that is left."""


class NotNow(Struct, frozen=True):
    """Buttons that cannot be pressed for one and the same reason."""

    reason: str
    controls: list[Control]


class ControlsSection(Struct, frozen=True):
    revision: int
    presets: list[Control]
    custom: Control | None
    """None: it stands among those that cannot be pressed."""
    verbs: list[Control]
    not_now: list[NotNow]


class Figure(Struct, frozen=True):
    """One number with what it is measured on; an empty `value` is no data."""

    value: str
    detail: str = ""


class Bar(Struct, frozen=True):
    """A verdict: words first, then the evidence, then a bar on a logarithmic scale; `fill` None: no data."""

    words: str
    tone: Tone
    evidence: str
    detail: str
    fill: float | None
    mark: float
    meter: bool = True
    """False: there is no evidence to draw."""


class Row(Struct, frozen=True):
    name: str
    v2: Figure
    v3: Figure
    difference: str
    bars: list[Bar]


class FiguresSection(Struct, frozen=True):
    window: str
    rows: list[Row]
    problems: list[str]
    basis: str = ""
    """What the verdicts rest on where that is not evidence; said once for all."""
    builds: dict[PathName, str] = {}
    """What runs on each path; one that is not here is not said."""
    judged: bool = True
    """False: there are no verdicts, and no column for them."""


class ChartRow(Struct, frozen=True):
    """One row of the table behind a chart; an empty value is no data."""

    at: str
    at_iso: str
    v2: str
    v3: str
    marks: str


class Chart(Struct, frozen=True):
    key: str
    """What the script draws: a field of the series, or `error_rate`."""
    title: str
    unit: str
    rows: list[ChartRow]


class SpanLink(Struct, frozen=True):
    span: str
    label: str
    address: str
    current: bool


class ChartsSection(Struct, frozen=True):
    span: str
    data: str
    """Address of the numbers."""
    live: bool
    """False: an hour that is past, which the script need not ask for again."""
    spans: list[SpanLink]
    charts: list[Chart]


class Entry(Struct, frozen=True):
    at: str
    at_iso: str
    who: str
    source: str
    what: str
    reason: str
    revision: int


class HistorySection(Struct, frozen=True):
    items: list[Entry]
    older: str
    """Address of the page before, empty at the end."""
    empty: str
    """Said where there is no entry."""


class NoteForm(Struct, frozen=True):
    """The box for a remark; `why_not` is empty when this person may leave one."""

    why_not: str


class ErrorRow(Struct, frozen=True):
    code: str
    fingerprint: str
    path: str
    only_on_v3: bool
    count: str
    users: str
    first: str
    first_iso: str
    last: str
    last_iso: str
    reference: str


class ErrorsSection(Struct, frozen=True):
    rows: list[ErrorRow]
    more: str
    """How many groups are not shown; empty: all are."""
    title: str = "Errors"
    empty: str = "No errors since the service started."
    missing: str = ""
    """Whose errors are not among these."""


class SessionRow(Struct, frozen=True):
    user_id: str
    user: str
    """Address of the user's page."""
    path: str
    why: str
    state: str
    messages: str
    queued: str
    since: str
    since_iso: str
    connection_id: str


class SessionsSection(Struct, frozen=True):
    rows: list[SessionRow]
    summary: str
    hint: bool = False
    """Say how to get some."""
    missing: str = ""
    """Whose sessions are not among these."""
    more: str = ""
    """Address of the next page; empty at the end."""
    first: str = ""
    """Address of the first page; empty on it."""


class UserSection(Struct, frozen=True):
    """Where one user is, and why."""

    id: str
    headline: str
    why: str
    facts: list[Fact]
    pin: str
    """The path this user is pinned to, or empty."""
    why_no_pin: str
    """Empty when this person may pin."""


class ReceiptSection(Struct, frozen=True):
    """All that was observed of one rollback, in figures."""

    id: str
    done: Receipt
    facts: list[Fact]
    exports: list[Fact]
    """What it is called, and its address."""


class StageRow(Struct, frozen=True):
    number: int
    percentage: str
    bake: str
    advance: str
    current: bool


class Moment(Struct, frozen=True):
    """A time that may lie ahead, with its day."""

    text: str
    iso: str


class PlanSection(Struct, frozen=True):
    """The plan in force."""

    name: str
    stages: list[StageRow]
    rules: list[str]
    """What it says besides its stages."""
    starts: Moment | None
    """When it starts by itself."""
    frozen_until: Moment | None
    """When the freeze window that holds now is over."""
    changed: str
    toml: str


class PlanCheck(Struct, frozen=True, kw_only=True):
    """What `crossfade plan check` says of a text, and what it would change."""

    tone: Tone
    headline: str
    problems: list[str]
    stages: list[StageRow] = []
    rules: list[str] = []
    changes: list[str] = []
    effect: str = ""
    """What becomes of the users when it is put in force; empty: it cannot be, or is already."""
    toml: str = ""
    revision: int = 0
    """Of the rollout that it was compared with."""
    why_not: str = ""
    """Empty when this person may put it in force."""


class SettingRow(Struct, frozen=True):
    variable: str
    value: str
    meaning: str


class WorkerRow(Struct, frozen=True):
    """The worker of one path in one cell."""

    cell: str
    path: str
    state: Fact
    build: str
    sessions: str
    memory: str
    restarts: str
    up: str


class CellRow(Struct, frozen=True):
    name: str
    heard: Fact
    sessions: str
    revision: str
    lock: str
    leads: bool
    """Whether it takes the steps that nobody commands."""


class HealthSection(Struct, frozen=True):
    facts: list[Fact]
    cells: list[CellRow]
    workers: list[WorkerRow]


class ClickResult(Struct, frozen=True):
    """What became of the last click. It stands beside the rollback button or beside the other controls."""

    place: Literal["rollback", "controls", "note"]
    tone: Tone
    text: str


class OverviewPage(Struct, frozen=True, kw_only=True):
    """`overview.html`, and its sections under `sections/`, each named like its field."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    state: StateSection
    rollback: RollbackSection
    controls: ControlsSection
    figures: FiguresSection
    charts: ChartsSection
    note: NoteForm
    history: HistorySection
    errors: ErrorsSection


class TryPage(Struct, frozen=True, kw_only=True):
    """`try.html`: a client of one's own beside the rollback button."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    state: StateSection
    rollback: RollbackSection


class HistoryPage(Struct, frozen=True, kw_only=True):
    """`history.html`."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    search: Search
    exports: list[Fact]
    """What it is called, and its address."""
    note: NoteForm
    history: HistorySection


class SessionsPage(Struct, frozen=True, kw_only=True):
    """`sessions.html`."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    search: str
    path: str
    sessions: SessionsSection
    pinned: str
    """The user that the form for pins begins with."""
    why_no_pin: str
    """Empty when this person may pin."""


class UserPage(Struct, frozen=True, kw_only=True):
    """`user.html`: where one user is, and why."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    user: UserSection
    sessions: SessionsSection


class ErrorsPage(Struct, frozen=True, kw_only=True):
    """`errors.html`."""

    chrome: Chrome
    csrf_token: str
    top: Top
    errors: ErrorsSection


class ReceiptPage(Struct, frozen=True, kw_only=True):
    """`receipt.html`: one rollback, all that was observed."""

    chrome: Chrome
    csrf_token: str
    top: Top
    receipt: ReceiptSection
    figures: FiguresSection
    errors: ErrorsSection
    charts: ChartsSection
    history: HistorySection


class PlanPage(Struct, frozen=True, kw_only=True):
    """`plan.html`: the plan in force beside what `plan check` says of it or of another one."""

    chrome: Chrome
    csrf_token: str
    message: ClickResult | None
    top: Top
    plan: PlanSection
    typed: str
    check: PlanCheck


class HealthPage(Struct, frozen=True, kw_only=True):
    """`health.html`."""

    chrome: Chrome
    csrf_token: str
    top: Top
    health: HealthSection
    changed: list[SettingRow]
    """Settings that were set to something."""
    defaults: list[SettingRow]
    """The others, those that have no effect yet at the end."""


class ProblemPage(Struct, frozen=True, kw_only=True):
    """`problem.html`: what was asked for is not there, or not now."""

    chrome: Chrome
    csrf_token: str
    headline: str
    text: str


class SignInPage(Struct, frozen=True, kw_only=True):
    """`sign_in.html`; `problem` is empty until somebody was refused."""

    chrome: Chrome
    csrf_token: str
    problem: str
    notice: str
    """What happened before, if anything is worth saying."""
    back: str
    """Address of the page that comes after signing in."""


class ActPartial(Struct, frozen=True, kw_only=True):
    """`partials/message.html`: the message alone."""

    message: ClickResult


class EffectPartial(Struct, frozen=True, kw_only=True):
    """`partials/effect.html`: what a percentage that is being typed would do."""

    text: str
    tone: Tone


class ServedPartial(Struct, frozen=True, kw_only=True):
    """`partials/served.html`: where a client of one's own is, and why; told to the page, never to the client."""

    path: PathName
    why: str


LivePage: TypeAlias = (
    OverviewPage | TryPage | HistoryPage | SessionsPage | UserPage | ErrorsPage | ReceiptPage | PlanPage | HealthPage
)
"""The pages that change by themselves."""

TEMPLATES: dict[str, type[Struct]] = {
    "overview.html": OverviewPage,
    "try.html": TryPage,
    "history.html": HistoryPage,
    "sessions.html": SessionsPage,
    "user.html": UserPage,
    "errors.html": ErrorsPage,
    "receipt.html": ReceiptPage,
    "plan.html": PlanPage,
    "health.html": HealthPage,
    "problem.html": ProblemPage,
    "sign_in.html": SignInPage,
    "partials/message.html": ActPartial,
    "partials/effect.html": EffectPartial,
    "partials/served.html": ServedPartial,
}
