"""The plan in force, and another one beside it → the context of the plan's page. Pure; the clock is in the view."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards import plans
from dashboards.contexts import ClickResult, Moment, PlanCheck, PlanPage, PlanSection, StageRow
from dashboards.controls import why_not_role
from dashboards.overview import chrome, top
from dashboards.ports import Person
from rollout import formats
from rollout.plan import Plan
from rollout.plan_writer import dump_toml
from rollout.views import RolloutView


def plan_page(
    view: RolloutView,
    plan: Plan,
    person: Person,
    csrf_token: str,
    *,
    typed: str | None = None,
    unreadable: str = "",
    message: ClickResult | None = None,
) -> PlanPage:
    """`typed` is the text to check; None: the plan in force is checked. `unreadable` says why there is no text."""
    text = dump_toml(plan) if typed is None else typed
    found = [unreadable] if unreadable else plans.check(text)
    return PlanPage(
        chrome=chrome(view, "Plan", "plan", person, "/stream/plan"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        plan=_in_force(view, plan),
        typed=text,
        check=_mistakes(found) if isinstance(found, list) else _compared(view, plan, found, text, person),
    )


def _in_force(view: RolloutView, plan: Plan) -> PlanSection:
    scheduled = view.next_at if view.phase == "idle" else None
    reason = f": {view.reason}" if view.reason else ""
    changed_at = formats.clock(view.changed_at)
    return PlanSection(
        name=plan.name,
        stages=_stages(plan, view.stage),
        rules=plans.rules(plan),
        starts=None if scheduled is None else _moment(scheduled),
        frozen_until=None if view.frozen_until is None else _moment(view.frozen_until),
        changed=f"Revision {view.revision}, last changed by {view.changed_by} at {changed_at}{reason}"
        if view.changed_at
        else "Nothing was changed yet.",
        toml=dump_toml(plan),
    )


def _mistakes(problems: Sequence[str]) -> PlanCheck:
    headline = f"This plan has {formats.plural(len(problems), 'mistake')}; nothing was changed."
    return PlanCheck(tone="bad", headline=headline, problems=list(problems))


def _compared(view: RolloutView, old: Plan, new: Plan, text: str, person: Person) -> PlanCheck:
    changes = plans.changes(old, new)
    if not changes:
        headline = f"Plan {new.name} has no mistakes; it says the same as the plan in force."
        return PlanCheck(tone="good", headline=headline, problems=[], stages=_stages(new, None), rules=plans.rules(new))
    return PlanCheck(
        tone="good",
        headline=f"Plan {new.name} has no mistakes; nothing was changed yet.",
        problems=[],
        stages=_stages(new, None),
        rules=plans.rules(new),
        changes=changes,
        effect=_effect(view, new),
        toml=text,
        revision=view.revision,
        why_not=view.allowed.get("plan", "") or why_not_role(person, "plan"),
    )


def _effect(view: RolloutView, plan: Plan) -> str:
    """What `advance` makes of the command, said beforehand."""
    if view.phase == "rolled_back":
        return "Moves nobody: everyone stays on v2, and the lock stays."
    if view.phase == "completed":
        return "Moves nobody: it counts from the next start on."
    if view.phase == "idle":
        if plan.start_at is not None and plan.start_at > view.now:
            return "Moves nobody now: it starts by itself when its time has come."
        passed = " (its start_at has passed)" if plan.start_at is not None else ""
        return f"Moves nobody now: a person starts it{passed}."
    if view.stage is None:
        return f"Moves nobody: the percentage stays {view.percentage} %, off the plan's clock."
    stage = plan.stage_at(view.percentage)
    bake = formats.plan_duration(plan.stages[stage].bake_s)
    return (
        f"Moves nobody: the percentage stays {view.percentage} %. "
        f"Stage {stage + 1} of {len(plan.stages)} begins anew and bakes {bake}."
    )


def _stages(plan: Plan, current: int | None) -> list[StageRow]:
    return [
        StageRow(
            number=index + 1,
            percentage=f"{plan.percentage_of(index)} %",
            bake=formats.plan_duration(stage.bake_s),
            advance="by a person" if stage.advance == "person" else "automatically, when every guardrail passes",
            current=index == current,
        )
        for index, stage in enumerate(plan.stages)
    ]


def _moment(at: float) -> Moment:
    return Moment(formats.day_clock(at), formats.iso(at))
