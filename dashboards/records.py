"""The receipt of a rollback and the plan → the contexts of their pages. Pure; the clock is in the view."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from msgspec import structs

from dashboards import words
from dashboards.charts import charts as charts_of
from dashboards.contexts import (
    ChartsSection,
    Fact,
    FiguresSection,
    HistorySection,
    PlanCheck,
    PlanPage,
    ReceiptPage,
    ReceiptSection,
    StageRow,
)
from dashboards.details import errors
from dashboards.figures import plain_figures
from dashboards.overview import chrome, entry_of, top
from dashboards.ports import Person, PlanText
from dashboards.state import receipt as receipt_of
from dashboards.views import ReceiptView, RolloutView, SeriesView, StageView

NOT_THEN = ("Open sessions", "Users")
"""Where everybody was is counted when the sessions have begun to move; `sessions moved` says how many there were."""
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
                Fact("came at", words.day_clock(back.at)),
                Fact("from", f"{done.from_percentage} % of users on v3"),
                Fact(
                    "users with an error on v3",
                    words.count(done.users_harmed),
                    "warn" if done.users_harmed else "plain",
                ),
                Fact("verified", words.day_clock(back.verified_at) if back.verified_at else "not verified"),
            ],
            exports=[Fact("Markdown", f"{address}?format=markdown"), Fact("JSON", f"{address}?format=json")],
        ),
        figures=FiguresSection(
            "when the command came", [row for row in plain_figures(done.figures) if row.name not in NOT_THEN], []
        ),
        errors=structs.replace(errors(done.errors_only_on_v3, view.now), title="Errors only on v3", empty="None."),
        charts=charts,
        history=HistorySection([entry_of(entry, view.now) for entry in done.timeline], "", "Nothing is known of it."),
    )


def plan_page(
    view: RolloutView,
    plan: PlanText,
    person: Person,
    csrf_token: str,
    *,
    typed: str = "",
    checked: PlanText | None = None,
) -> PlanPage:
    """`typed` is the text that was checked."""
    return PlanPage(
        chrome=chrome(view, "Plan", "plan", person),
        csrf_token=csrf_token,
        top=top(view),
        name=plan.name,
        stages=_stages(plan.stages, view.stage),
        toml=plan.toml,
        typed=typed or plan.toml,
        check=None if checked is None else _check(checked),
    )


def _check(plan: PlanText) -> PlanCheck:
    if plan.problems:
        mistakes = words.plural(len(plan.problems), "mistake")
        return PlanCheck("bad", f"This plan has {mistakes}; nothing was changed.", plan.problems, [])
    headline = f"Plan {plan.name} is good. Nothing was changed: put it in force with `crossfade plan apply FILE.toml`."
    return PlanCheck("good", headline, [], _stages(plan.stages, None))


def _stages(stages: list[StageView], current: int | None) -> list[StageRow]:
    return [
        StageRow(
            number=index + 1,
            percentage=f"{stage.percentage} %",
            bake=words.duration(stage.bake_s),
            advance="by a person" if stage.advance == "person" else "automatically, when every guardrail passes",
            current=index == current,
        )
        for index, stage in enumerate(stages)
    ]
