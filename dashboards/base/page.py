"""The base of every page: the contexts they share, and the frame with title, icon and the line about the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

from msgspec import Struct

from dashboards.base.person import Person
from dashboards.base.render import TemplateContext
from rollout import formats
from rollout.views import RolloutView

Tone: TypeAlias = Literal["good", "bad", "warn", "plain", "none"]
"""How a fact is coloured. `none` is grey: no data, which is neither good nor bad."""
PageName: TypeAlias = Literal["overview", "sessions", "errors", "history", "plan", "health", "try", "sign-in", "other"]
Icon: TypeAlias = Literal["idle", "progressing", "paused", "completed", "rolled_back", "rolling_back"]
_UNLEASH: dict[str, Tone] = {"embedded": "good", "in step": "good", "pending": "warn"}


class Chrome(Struct, frozen=True):
    """The frame around a page."""

    title: str
    icon: Icon
    page: PageName
    name: str = ""
    role: str = ""
    sections: str = ""
    """Address of what the page fetches anew while it is open; empty: the page does not change by itself."""
    every_s: float = 0.0
    """The page fetches it at most this often, whatever changes."""


class Fact(Struct, frozen=True):
    label: str
    value: str
    tone: Tone = "plain"


class Moment(Struct, frozen=True):
    """A time that may lie ahead, with its day."""

    text: str
    iso: str


class Top(Struct, frozen=True):
    """The line that says which service one looks at, and how it is."""

    as_of: str
    environment: str
    flag: str
    unleash: Fact
    cells: Fact


class ClickResult(Struct, frozen=True):
    """What became of the last click. It stands beside the rollback button or beside the other controls."""

    place: Literal["rollback", "controls", "note"]
    tone: Tone
    text: str


class Page(TemplateContext, frozen=True, kw_only=True):
    """A whole page; its template extends `base.html`."""

    chrome: Chrome
    csrf_token: str


class LivePage(Page, frozen=True, kw_only=True):
    """A page about the rollout, which changes by itself."""

    sections: ClassVar[tuple[str, ...]]
    """What it fetches again when it changes: fields of the page, ids of elements, templates in `sections/`."""
    top: Top


class MessagePartial(TemplateContext, frozen=True, kw_only=True):
    """The answer to a click, alone."""

    template = "partials/message.html"
    message: ClickResult


def title_of(name: str) -> str:
    return f"{name} – Crossfade"  # noqa: RUF001 - an en dash


def chrome(view: RolloutView, name: str, page: PageName, person: Person, sections: str = "") -> Chrome:
    """The frame for somebody who is signed in. The icon shows the state of the rollout on every page."""
    return Chrome(title_of(name), icon_of(view), page, person.name, person.role, sections)


def icon_of(view: RolloutView) -> Icon:
    return "rolling_back" if unverified(view) else view.phase


def unverified(view: RolloutView) -> bool:
    """Rolled back, but not, or not yet, observed to be so in every cell."""
    return view.phase == "rolled_back" and (view.last_rollback is None or view.last_rollback.verified_at is None)


def undurable(view: RolloutView) -> str:
    """Why the rollback in force would not be found again after a crash; empty: it would, or there is none."""
    return "" if view.lock is None or view.lock.durable else view.lock.durability or "not on disk"


def top(view: RolloutView) -> Top:
    age = "" if view.unleash == "embedded" else f", {formats.duration(view.flag_age_s)}"  # embedded: never old
    return Top(
        as_of=formats.clock(view.now),
        environment=view.environment,
        flag=view.flag,
        unleash=Fact("Unleash", f"Unleash {view.unleash}{age}", _UNLEASH.get(view.unleash, "bad")),
        cells=_cells(view),
    )


def _cells(view: RolloutView) -> Fact:
    silent = [cell for cell in view.cells if cell.silent]
    if not silent:
        return Fact("Cells", formats.plural(len(view.cells), "cell"), "good")
    names = ", ".join(f"{cell.name} silent for {formats.duration(cell.silent_s)}" for cell in silent)
    return Fact("Cells", f"{len(silent)} of {formats.plural(len(view.cells), 'cell')}: {names}", "bad")


def moment(at: float) -> Moment:
    return Moment(formats.day_clock(at), formats.iso(at))


def not_heard(cells: Sequence[str]) -> str:
    """Whose share of a list is missing; empty: nobody's."""
    return f"Not included, because not heard from: cell {', '.join(cells)}." if cells else ""
