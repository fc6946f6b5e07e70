"""The receipt of a rollback → the context of its page. Pure; the clock is in the view."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from msgspec import structs

from dashboards.charts import charts as charts_of
from dashboards.contexts import (
    ChartsSection,
    Fact,
    FiguresSection,
    HistorySection,
    ReceiptPage,
    ReceiptSection,
)
from dashboards.details import errors
from dashboards.markdown import figures_then
from dashboards.overview import chrome, entry_of, top
from dashboards.ports import Person
from dashboards.state import receipt as receipt_of
from rollout import formats
from rollout.views import ReceiptView, RolloutView, SeriesView

AFTER_S = 300.0
"""The charts of a receipt end so long after the rollback."""


def receipt_charts(view: RolloutView, done: ReceiptView, series: SeriesView) -> ChartsSection:
    """They go on until there is enough of the time after the rollback, and stand still then."""
    return charts_of(series, receipt_address(done.rollback.id), charts_end(view, done))


def charts_end(view: RolloutView, done: ReceiptView) -> float | None:
    """None: that is still to come."""
    end = done.rollback.at + AFTER_S
    return end if end <= view.now else None


def receipt_address(id: str) -> str:
    return f"/rollbacks/{quote(id, safe='')}"


def receipt_page(
    view: RolloutView, done: ReceiptView, charts: ChartsSection, person: Person, csrf_token: str
) -> ReceiptPage:
    back = done.rollback
    address = receipt_address(back.id)
    return ReceiptPage(
        chrome=chrome(view, f"Rollback {back.id}", "other", person, f"/stream/receipt?{urlencode({'id': back.id})}"),
        csrf_token=csrf_token,
        top=top(view),
        receipt=ReceiptSection(
            id=back.id,
            done=receipt_of(view, back),
            facts=[
                Fact("came at", formats.day_clock(back.at)),
                Fact("from", f"{done.from_percentage} % of users on v3"),
                Fact(
                    "users with an error on v3",
                    formats.count(done.users_harmed),
                    "warn" if done.users_harmed else "plain",
                ),
                Fact("verified", formats.day_clock(back.verified_at) if back.verified_at else "not verified"),
            ],
            exports=[Fact("Markdown", f"{address}?format=markdown"), Fact("JSON", f"{address}?format=json")],
        ),
        figures=FiguresSection("when the command came", figures_then(done), [], judged=False),
        errors=structs.replace(errors(done.errors_only_on_v3, view.now), title="Errors only on v3", empty="None."),
        charts=charts,
        history=HistorySection([entry_of(entry, view.now) for entry in done.timeline], "", "Nothing is known of it."),
    )
