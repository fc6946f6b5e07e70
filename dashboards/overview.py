"""The overview: state, rollback, comparison and controls on one page, and what its buttons do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from litestar import MediaType, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from msgspec import Struct

from dashboards.base.page import ClickResult, LivePage, MessagePartial, Tone, chrome, top
from dashboards.base.person import Person
from dashboards.base.render import TemplateContext, partial, render, render_section
from dashboards.base.source import Source
from dashboards.base.visit import Form, TheVisit, Visit, answer
from dashboards.errors import ErrorsSection, heard_errors
from dashboards.history import HistorySection, NoteForm, history, note_form
from dashboards.sections.charts import ChartsSection, charts, no_charts
from dashboards.sections.controls import PRESETS, ControlsSection, controls, effect, why_not
from dashboards.sections.figures import FiguresSection, figures
from dashboards.sections.rollback import RollbackSection, rollback
from dashboards.sections.state import StateSection, state
from rollout.names import Verb
from rollout.views import AuditPage, Preview, RolloutView, Span

RECENT = 8
RECENT_ERRORS = 5
PREVIEWS_S = 5.0
_PREVIEWS = "dashboard_previews"
_DONE: Mapping[Verb, str] = {
    "start": "Started",
    "set": "Set",
    "promote": "Promoted",
    "pause": "Paused",
    "resume": "Resumed",
    "rollback": "The rollback is in force; what it did is shown here",
    "undo": "The rollback is undone",
    "unlock": "Unlocked",
}


class OverviewPage(LivePage, frozen=True, kw_only=True):
    template = "overview.html"
    sections = ("top", "state", "rollback", "controls", "figures", "history", "errors")
    message: ClickResult | None
    state: StateSection
    rollback: RollbackSection
    controls: ControlsSection
    figures: FiguresSection
    charts: ChartsSection
    note: NoteForm
    history: HistorySection
    errors: ErrorsSection


class EffectPartial(TemplateContext, frozen=True, kw_only=True):
    """What a percentage that is being typed would do."""

    template = "partials/effect.html"
    text: str
    tone: Tone


def overview_page(
    view: RolloutView,
    audit: AuditPage,
    person: Person,
    *,
    previews: Mapping[int, Preview],
    charts: ChartsSection,
    errors: ErrorsSection,
    csrf_token: str,
    message: ClickResult | None = None,
) -> OverviewPage:
    now = state(view)
    return OverviewPage(
        chrome=chrome(view, now.title, "overview", person, "/sections/overview"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        state=now,
        rollback=rollback(view, why_not(view, person, "rollback")),
        controls=controls(view, person, previews),
        figures=figures(view),
        charts=charts,
        note=note_form(person),
        history=history(audit, view.now),
        errors=errors,
    )


async def show_overview(visit: Visit, message: ClickResult | None = None, span: Span | None = None) -> OverviewPage:
    """Without a span there are no charts: an open page leaves them alone, and its script asks for the numbers."""
    source = visit.source
    previews: Previews = visit.request.app.state.setdefault(_PREVIEWS, Previews())
    view = await source.rollout()
    return overview_page(
        view,
        await source.events(None, RECENT),
        visit.person,
        previews=await previews.of(source, view.revision),
        charts=no_charts() if span is None else charts(await source.series(span), "/"),
        errors=heard_errors(await source.errors(), view.now, RECENT_ERRORS),
        csrf_token=visit.csrf,
        message=message,
    )


class Previews:
    """Previews of the presets: asked for again after a few seconds or a change, however many pages are open."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: Mapping[int, Preview] = {}
        self._until = 0.0
        self._revision = -1

    async def of(self, source: Source, revision: int) -> Mapping[int, Preview]:
        if self._clock() >= self._until or revision != self._revision:
            self._kept = await source.previews(PRESETS)
            self._until, self._revision = self._clock() + PREVIEWS_S, revision
        return self._kept


# -- routes -----------------------------------------------------------------------------------------------------------


@get("/")
async def get_overview(visit: TheVisit, span: FromQuery[Span] = "15m") -> Response[str]:
    return answer(await show_overview(visit, span=span))


@get("/preview")
async def get_preview(visit: TheVisit, typed: FromQuery[str] = "") -> Response[str]:
    """What the percentage being typed would do; the page's script asks at each change of the field."""
    number = _whole(typed)
    if number is None:
        return answer(EffectPartial(text="a whole percentage, 0 to 100", tone="warn" if typed else "plain"))
    return answer(EffectPartial(text=effect((await visit.source.previews([number]))[number]), tone="plain"))


@post("/act/{verb:str}")
async def post_act(visit: TheVisit, verb: FromPath[Verb], data: Form) -> Response[Any]:
    """One click. With a script the changed sections come back, without one the page does."""
    if verb not in _DONE:
        raise NotFoundException
    command = _command_of(data)
    if isinstance(command, str):
        message = click_result(verb, None, command)
    else:
        done = await visit.source.act(
            verb, command.percentage, command.reason, command.revision, visit.person, full=command.full
        )
        message = click_result(verb, 100 if command.full else command.percentage, done.refusal)
    refused = message.tone == "bad"
    status = 409 if refused else 200
    if visit.scripted:
        return Response("".join(await _fragments(visit, message)), media_type=MediaType.HTML, status_code=status)
    if refused:
        return answer(await show_overview(visit, message, "15m"), status)
    return Redirect("/", status_code=303)


ROUTES = (get_overview, get_preview, post_act)


# -- a click ----------------------------------------------------------------------------------------------------------


class _Command(Struct, frozen=True):
    percentage: int | None
    reason: str
    revision: int | None
    full: bool


def _command_of(form: Mapping[str, str]) -> _Command | str:
    """The fields of the form, or what is wrong with them. What is typed counts only with the button beside it."""
    text = form.get("typed", "") if "custom" in form else form.get("percentage", "")
    number = _whole(text)
    if number is None and (text or "custom" in form):
        return "a percentage is a whole number, 0 to 100"
    revision = form.get("revision", "")
    return _Command(
        number, form.get("reason", "").strip(), int(revision) if _digits(revision) else None, "full" in form
    )


def _whole(text: str) -> int | None:
    return int(text) if _digits(text) and int(text) <= 100 else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def click_result(verb: Verb, percentage: int | None, refusal: str) -> ClickResult:
    """What became of a click, to stand in the place where the click was."""
    place: Literal["rollback", "controls"] = "rollback" if verb == "rollback" else "controls"
    if refusal:
        return ClickResult(place, "bad", f"Refused: {refusal}")
    target = f" to {percentage} %" if percentage is not None and verb in ("set", "promote") else ""
    return ClickResult(place, "good", f"{_DONE[verb]}{target}.")


async def _fragments(visit: Visit, message: ClickResult) -> list[str]:
    """What a click changes on the page it came from."""
    told = _told(message)
    if visit.live:
        # It fetches its sections next: the same here would be of a moment before.
        return told
    now = await show_overview(visit, message)
    return [partial(name, render_section(name, now)) for name in now.sections] + told


def _told(message: ClickResult) -> list[str]:
    """The message in its place, and what an earlier click left in the other place gone."""
    text = render(MessagePartial(message=message))
    return [
        partial(f"message-{place}", text if place == message.place else "", "innerHTML")
        for place in ("rollback", "controls")
    ]
