"""The addresses of the pages beside the overview: sessions, users, errors, history, receipts, plan, health.

They ask the `Source`, build a declared context and render it; nothing here decides anything about a rollout.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from litestar import Controller, MediaType, Response, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect, Stream

from dashboards import plans
from dashboards.charts import no_charts
from dashboards.contexts import (
    ClickResult,
    ErrorsPage,
    HealthPage,
    HistoryPage,
    PlanPage,
    ReceiptPage,
    SessionsPage,
    UserPage,
)
from dashboards.details import errors_page, health_page, key_of, sessions_page, user_address, user_page
from dashboards.export import MEDIA_TYPES, PIECE, Kind, export
from dashboards.markdown import to_markdown
from dashboards.overview import history_page
from dashboards.plan_page import plan_page
from dashboards.records import charts_end, receipt_charts, receipt_page
from dashboards.search import search_of
from dashboards.visit import VISIT, NotThere, TheVisit, Visit, page
from rollout.names import PathName
from rollout.views import AuditPage, ReceiptView, Span

SHOWN = 100
"""Sessions on one page."""
PAGE_OF_HISTORY = 50
_REVISION = re.compile(r"\d{1,15}", re.ASCII)
Form: TypeAlias = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


async def show_sessions(visit: Visit, message: ClickResult | None = None) -> SessionsPage:
    search, wanted = visit.query("q"), visit.query("path")
    path: PathName | None = "v2" if wanted == "v2" else "v3" if wanted == "v3" else None
    after = key_of(str(visit.request.query_params.get("after", "")))
    found = await visit.source.sessions(search, path, SHOWN, after)
    return sessions_page(
        await visit.source.rollout(),
        found,
        visit.person,
        visit.csrf,
        search=search,
        path=path or "",
        after=after,
        message=message,
    )


async def show_user(visit: Visit, user_id: str | None = None, message: ClickResult | None = None) -> UserPage:
    """Without an id, that of the address's query is meant: a stream's."""
    wanted = visit.named if user_id is None else user_id
    view, user = await visit.source.rollout(), await visit.source.user(wanted)
    return user_page(view, user, visit.person, visit.csrf, message)


async def show_receipt(visit: Visit) -> ReceiptPage:
    """Without charts, which a stream leaves alone: the page's script asks for their numbers."""
    view, done = await visit.source.rollout(), await _receipt(visit, visit.named)
    return receipt_page(view, done, no_charts(), visit.person, visit.csrf)


async def show_errors(visit: Visit) -> ErrorsPage:
    found = await visit.source.errors()
    return errors_page(await visit.source.rollout(), found, visit.person, visit.csrf)


async def show_history(visit: Visit, before: int | None = None, message: ClickResult | None = None) -> HistoryPage:
    search = search_of(visit.query)
    try:
        audit = await visit.source.events(before, PAGE_OF_HISTORY, search.wanted())
    except ValueError as wrong:
        audit, message = AuditPage(items=[], next=None), ClickResult("note", "bad", f"{wrong}.")
    view = await visit.source.rollout()
    older = before is not None
    return history_page(view, audit, visit.person, visit.csrf, search=search, older=older, message=message)


async def show_plan(
    visit: Visit, typed: str | None = None, *, unreadable: str = "", message: ClickResult | None = None
) -> PlanPage:
    view, plan = await visit.source.rollout(), await visit.source.plan()
    return plan_page(view, plan, visit.person, visit.csrf, typed=typed, unreadable=unreadable, message=message)


async def show_health(visit: Visit) -> HealthPage:
    return health_page(await visit.source.rollout(), await visit.source.health(), visit.person, visit.csrf)


class DetailPages(Controller):
    include_in_schema = False
    dependencies = VISIT

    @get("/sessions")
    async def sessions(self, visit: TheVisit) -> Response[str]:
        return page("sessions.html", await show_sessions(visit))

    # A user id may contain a slash, so it is all the rest of the address.
    @get("/users/{user_id:path}")
    async def user(self, visit: TheVisit, user_id: FromPath[str]) -> Response[str]:
        return page("user.html", await show_user(visit, user_id.removeprefix("/")))

    @post("/pins")
    async def pin(self, visit: TheVisit, data: Form) -> Response[Any]:
        """Pin a user to a path, or with the empty path let the hash decide again."""
        user_id, wanted = data.get("user_id", ""), data.get("path", "")
        path: PathName | None = "v2" if wanted == "v2" else "v3" if wanted == "v3" else None
        if not user_id:
            missing = ClickResult("controls", "bad", "Refused: say which user")
            return page("sessions.html", await show_sessions(visit, missing), 422)
        outcome = await visit.source.pin(user_id, path, data.get("reason", "").strip(), visit.person)
        if outcome.ok:
            return Redirect(user_address(user_id), status_code=303)
        message = ClickResult("controls", "bad", f"Refused: {outcome.refusal}")
        return page("user.html", await show_user(visit, user_id, message), 409)

    @get("/errors")
    async def errors(self, visit: TheVisit) -> Response[str]:
        return page("errors.html", await show_errors(visit))

    @get("/history")
    async def history(self, visit: TheVisit, before: FromQuery[int | None] = None) -> Response[str]:
        return page("history.html", await show_history(visit, before))

    @get([f"/history.{kind}" for kind in MEDIA_TYPES])
    async def export(self, visit: TheVisit) -> Response[Any]:
        """All that is looked for, however much it is."""
        kind: Kind = "csv" if visit.request.url.path.endswith(".csv") else "jsonl"
        try:
            wanted = search_of(visit.query).wanted()
        except ValueError as wrong:
            return Response(f"{wrong}\n", media_type=MediaType.TEXT, status_code=422)
        pieces = await export(kind, None, lambda before: visit.source.exported(before, PIECE, wanted))
        return Stream(
            pieces,
            media_type=MEDIA_TYPES[kind],
            headers={"Content-Disposition": f'attachment; filename="crossfade-history.{kind}"'},
            status_code=200,
        )

    @post("/notes")
    async def note(self, visit: TheVisit, data: Form) -> Response[Any]:
        text = data.get("text", "").strip()
        refusal = (await visit.source.note(text, visit.person)).refusal if text else "a note needs words"
        if not refusal:
            return Redirect("/" if data.get("back") == "overview" else "/history", status_code=303)
        message = ClickResult("note", "bad", f"Refused: {refusal}")
        return page("history.html", await show_history(visit, message=message), 409)

    @get("/rollbacks/{id:str}")
    async def receipt(
        self,
        visit: TheVisit,
        id: FromPath[str],
        format: FromQuery[Literal["html", "markdown", "json"]] = "html",
        span: FromQuery[Span] = "15m",
    ) -> Response[Any]:
        done = await _receipt(visit, id)
        if format == "json":
            return Response(done, media_type=MediaType.JSON, status_code=200)
        if format == "markdown":
            return Response(to_markdown(done), media_type="text/markdown", status_code=200)
        view = await visit.source.rollout()
        series = await visit.source.series(span, charts_end(view, done))
        charts = receipt_charts(view, done, series)
        return page("receipt.html", receipt_page(view, done, charts, visit.person, visit.csrf))

    @get("/plan")
    async def plan(self, visit: TheVisit) -> Response[str]:
        return page("plan.html", await show_plan(visit))

    @post("/plan/check", status_code=200)
    async def check(self, visit: TheVisit) -> Response[str]:
        """What `crossfade plan check` says of a text or a file, and what it would change. Changes nothing."""
        try:
            typed = await _text_of_form(visit)
        except UnicodeDecodeError:
            return page("plan.html", await show_plan(visit, "", unreadable="this file is no text in UTF-8"))
        return page("plan.html", await show_plan(visit, typed))

    @post("/plan/apply")
    async def apply(self, visit: TheVisit, data: Form) -> Response[Any]:
        """Put a plan in force; it is based on the revision with which it was compared."""
        typed, revision = data.get("toml", ""), data.get("revision", "")
        plan = plans.check(typed)
        if isinstance(plan, list) or not _REVISION.fullmatch(revision):
            return page("plan.html", await show_plan(visit, typed), 422)
        outcome = await visit.source.apply_plan(plan, data.get("reason", "").strip(), int(revision), visit.person)
        if outcome.ok:
            return Redirect("/plan", status_code=303)
        message = ClickResult("controls", "bad", f"Refused: {outcome.refusal}")
        return page("plan.html", await show_plan(visit, typed, message=message), 412 if outcome.stale else 409)

    @get("/health")
    async def health(self, visit: TheVisit) -> Response[str]:
        return page("health.html", await show_health(visit))


async def _text_of_form(visit: Visit) -> str:
    """The file that was chosen, or what was typed. Raises UnicodeDecodeError."""
    form = await visit.request.form()
    file = form.get("file")
    if isinstance(file, UploadFile) and (content := await file.read()):
        return content.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    return str(form.get("toml", "")).replace("\r\n", "\n")


async def _receipt(visit: Visit, id: str) -> ReceiptView:
    done = await visit.source.receipt(id)
    if done is None:
        raise NotThere(f"There was no rollback {id}.")
    return done
