"""What each template may use: one declared value per template, and per section one of its fields.

Everything is ready to be shown (text, or a whole number for a bar); it must hold no service object and no markup.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Tone: TypeAlias = Literal["good", "bad", "warn", "plain", "none"]
"""How a fact is coloured. `none` is grey: no data, which is neither good nor bad."""
Icon: TypeAlias = Literal["idle", "progressing", "paused", "completed", "rolled_back", "rolling_back"]


class Chrome(Struct, frozen=True):
    """The frame around every page."""

    title: str
    icon: Icon
    page: Literal["overview", "history", "try", "sign-in"]
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


class Share(Struct, frozen=True):
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
    shares: list[Share]
    changed: str


class Receipt(Struct, frozen=True):
    """What a rollback did, as far as it was observed."""

    tone: Tone
    headline: str
    facts: list[Fact]
    by: str
    silent: str


class RollbackSection(Struct, frozen=True):
    label: str
    enabled: bool
    why_not: str
    effect: str
    receipt: Receipt | None


class Control(Struct, frozen=True):
    """One button: what it would do, said before the click, or why it cannot be clicked now."""

    verb: str
    label: str
    enabled: bool
    note: str
    percentage: int | None = None
    current: bool = False


class ControlsSection(Struct, frozen=True):
    revision: int
    presets: list[Control]
    custom: Control
    verbs: list[Control]
    undo: Control
    unlock: Control


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


class Message(Struct, frozen=True):
    """What became of the last click. It stands beside the rollback button or beside the other controls."""

    place: Literal["rollback", "controls"]
    tone: Tone
    text: str


class OverviewPage(Struct, frozen=True, kw_only=True):
    """`overview.html`, and its sections under `sections/`, each named like its field."""

    chrome: Chrome
    csrf_token: str
    message: Message | None
    top: Top
    state: StateSection
    rollback: RollbackSection
    controls: ControlsSection
    figures: FiguresSection
    history: HistorySection


class TryPage(Struct, frozen=True, kw_only=True):
    """`try.html`: a client of one's own beside the rollback button."""

    chrome: Chrome
    csrf_token: str
    message: Message | None
    top: Top
    state: StateSection
    rollback: RollbackSection


class HistoryPage(Struct, frozen=True, kw_only=True):
    """`history.html`."""

    chrome: Chrome
    csrf_token: str
    top: Top
    history: HistorySection


class SignInPage(Struct, frozen=True, kw_only=True):
    """`sign_in.html`; `problem` is empty until a token was refused."""

    chrome: Chrome
    csrf_token: str
    problem: str


class ActPartial(Struct, frozen=True, kw_only=True):
    """`partials/message.html`: the message alone."""

    message: Message


class EffectPartial(Struct, frozen=True, kw_only=True):
    """`partials/effect.html`: what a percentage that is being typed would do."""

    text: str
    tone: Tone


Page: TypeAlias = OverviewPage | TryPage | HistoryPage | SignInPage

TEMPLATES: dict[str, type[Struct]] = {
    "overview.html": OverviewPage,
    "try.html": TryPage,
    "history.html": HistoryPage,
    "sign_in.html": SignInPage,
    "partials/message.html": ActPartial,
    "partials/effect.html": EffectPartial,
}
