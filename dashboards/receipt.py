"""The receipt of a rollback: everything that was observed of it, as a page, as Markdown and as JSON."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlencode

from litestar import MediaType, Response, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct, structs

from dashboards.base.page import Fact, LivePage, chrome, top
from dashboards.base.person import Person
from dashboards.base.visit import NotThere, TheVisit, Visit, answer
from dashboards.errors import ErrorsSection, errors
from dashboards.history import HistorySection, entry_of
from dashboards.markdown import figures_then, to_markdown
from dashboards.sections.charts import ChartsSection, charts, no_charts
from dashboards.sections.figures import FiguresSection
from dashboards.sections.rollback import ObservedRollback, observed, receipt_address
from rollout import formats
from rollout.views import ReceiptView, RolloutView, SeriesView, Span

AFTER_S = 300.0
"""The charts of a receipt end this long after the rollback."""


class ReceiptSection(Struct, frozen=True):
    """All that was observed of one rollback, in figures."""

    id: str
    done: ObservedRollback
    facts: list[Fact]
    exports: list[Fact]
    """What another form of it is called, and its address."""


class ReceiptPage(LivePage, frozen=True, kw_only=True):
    template = "receipt.html"
    sections = ("top", "receipt", "errors", "history")
    receipt: ReceiptSection
    figures: FiguresSection
    errors: ErrorsSection
    charts: ChartsSection
    history: HistorySection


def receipt_page(
    view: RolloutView, done: ReceiptView, charts: ChartsSection, person: Person, csrf_token: str
) -> ReceiptPage:
    back = done.rollback
    return ReceiptPage(
        chrome=chrome(view, f"Rollback {back.id}", "other", person, f"/sections/receipt?{urlencode({'id': back.id})}"),
        csrf_token=csrf_token,
        top=top(view),
        receipt=_section(view, done),
        figures=FiguresSection("when the command came", figures_then(done), [], judged=False),
        errors=structs.replace(errors(done.errors_only_on_v3, view.now), title="Errors only on v3", empty="None."),
        charts=charts,
        history=HistorySection([entry_of(entry, view.now) for entry in done.timeline], "", "No entries."),
    )


def _section(view: RolloutView, done: ReceiptView) -> ReceiptSection:
    back, harmed = done.rollback, done.users_harmed
    address = receipt_address(back.id)
    return ReceiptSection(
        id=back.id,
        done=observed(view, back),
        facts=[
            Fact("came at", formats.day_clock(back.at)),
            Fact("from", f"{done.from_percentage} % of users on v3"),
            Fact("users with an error on v3", formats.count(harmed), "warn" if harmed else "plain"),
            Fact("verified", formats.day_clock(back.verified_at) if back.verified_at else "not verified"),
        ],
        exports=[Fact("Markdown", f"{address}?format=markdown"), Fact("JSON", f"{address}?format=json")],
    )


def receipt_charts(view: RolloutView, done: ReceiptView, series: SeriesView) -> ChartsSection:
    """They go on until they show enough of the time after the rollback, and stand still from then on."""
    return charts(series, receipt_address(done.rollback.id), charts_end(view, done))


def charts_end(view: RolloutView, done: ReceiptView) -> float | None:
    """None: that is still to come."""
    end = done.rollback.at + AFTER_S
    return end if end <= view.now else None


async def show_receipt(visit: Visit) -> ReceiptPage:
    """Without charts, which an open page leaves alone: its script asks for the numbers."""
    view, done = await visit.source.rollout(), await _receipt(visit, visit.id)
    return receipt_page(view, done, no_charts(), visit.person, visit.csrf)


async def _receipt(visit: Visit, id: str) -> ReceiptView:
    done = await visit.source.receipt(id)
    if done is None:
        raise NotThere(f"There was no rollback {id}.")
    return done


@get("/rollbacks/{id:str}")
async def get_receipt(
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
    return answer(receipt_page(view, done, receipt_charts(view, done, series), visit.person, visit.csrf))


ROUTES = (get_receipt,)
