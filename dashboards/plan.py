"""The plan in force, beside what `plan check` says of it or of another plan, and the button that applies that one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.response import Redirect
from msgspec import Struct, structs

from dashboards import plan_text
from dashboards.base.page import ClickResult, LivePage, Moment, Tone, chrome, moment, top
from dashboards.base.person import Person, why_not_role
from dashboards.base.visit import Form, TheVisit, Visit, answer
from rollout import formats
from rollout.plan import Plan
from rollout.plan_writer import dump_toml
from rollout.views import RolloutView

_REVISION = re.compile(r"\d{1,15}", re.ASCII)

PLAN_FORM_BYTES = 1024 * 1024
"""A plan as long as one may be, encoded for a form."""


class StageRow(Struct, frozen=True):
    number: int
    percentage: str
    bake: str
    advance: str
    current: bool


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
    """What happens to the users when it is applied; empty: it cannot be, or is in force already."""
    toml: str = ""
    revision: int = 0
    """Of the rollout that it was compared with."""
    why_not: str = ""
    """Empty when this person may apply it."""


class PlanPage(LivePage, frozen=True, kw_only=True):
    template = "plan.html"
    sections = ("top", "plan")
    message: ClickResult | None
    plan: PlanSection
    typed: str
    check: PlanCheck


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
    found = [unreadable] if unreadable else plan_text.check(text)
    return PlanPage(
        chrome=chrome(view, "Plan", "plan", person, "/sections/plan"),
        csrf_token=csrf_token,
        message=message,
        top=top(view),
        plan=_in_force(view, plan),
        typed=text,
        check=_mistakes(found) if isinstance(found, list) else _compared(view, plan, found, text, person),
    )


def _in_force(view: RolloutView, plan: Plan) -> PlanSection:
    scheduled = view.next_at if view.phase == "idle" else None
    return PlanSection(
        name=plan.name,
        stages=_stages(plan, view.stage),
        rules=plan_text.rules(plan),
        starts=None if scheduled is None else moment(scheduled),
        frozen_until=None if view.frozen_until is None else moment(view.frozen_until),
        changed=_changed(view),
        toml=dump_toml(plan),
    )


def _changed(view: RolloutView) -> str:
    if not view.changed_at:
        return "Nothing has been changed yet."
    reason = f": {view.reason}" if view.reason else ""
    return f"Revision {view.revision}, last changed by {view.changed_by} at {formats.clock(view.changed_at)}{reason}"


def _mistakes(problems: Sequence[str]) -> PlanCheck:
    headline = f"This plan has {formats.plural(len(problems), 'mistake')}; nothing was changed."
    return PlanCheck(tone="bad", headline=headline, problems=list(problems))


def _compared(view: RolloutView, old: Plan, new: Plan, text: str, person: Person) -> PlanCheck:
    changes = plan_text.changes(old, new)
    found = PlanCheck(
        tone="good",
        headline=f"Plan {new.name} has no mistakes; it says the same as the plan in force.",
        problems=[],
        stages=_stages(new, None),
        rules=plan_text.rules(new),
    )
    if not changes:
        return found
    return structs.replace(
        found,
        headline=f"Plan {new.name} has no mistakes; nothing has been changed yet.",
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


async def show_plan(
    visit: Visit, typed: str | None = None, *, unreadable: str = "", message: ClickResult | None = None
) -> PlanPage:
    view, plan = await visit.source.rollout(), await visit.source.plan()
    return plan_page(view, plan, visit.person, visit.csrf, typed=typed, unreadable=unreadable, message=message)


@get("/plan")
async def get_plan(visit: TheVisit) -> Response[str]:
    return answer(await show_plan(visit))


@post("/plan/check", status_code=200, request_max_body_size=PLAN_FORM_BYTES)
async def post_check(visit: TheVisit) -> Response[str]:
    """What `crossfade plan check` says of a text or a file, and what it would change. Changes nothing."""
    try:
        typed = await _text_of_form(visit)
    except UnicodeDecodeError:
        return answer(await show_plan(visit, "", unreadable="this file is not UTF-8 text"))
    return answer(await show_plan(visit, typed))


async def _text_of_form(visit: Visit) -> str:
    """The file that was chosen, or what was typed. Raises UnicodeDecodeError."""
    form = await visit.request.form()
    file = form.get("file")
    if isinstance(file, UploadFile) and (content := await file.read()):
        return content.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    return str(form.get("toml", "")).replace("\r\n", "\n")


@post("/plan/apply", request_max_body_size=PLAN_FORM_BYTES)
async def post_apply(visit: TheVisit, data: Form) -> Response[Any]:
    """Put a plan in force, based on the revision with which it was compared."""
    typed, revision = data.get("toml", ""), data.get("revision", "")
    plan = plan_text.check(typed)
    if isinstance(plan, list) or not _REVISION.fullmatch(revision):
        return answer(await show_plan(visit, typed), 422)
    done = await visit.source.apply_plan(plan, data.get("reason", "").strip(), int(revision), visit.person)
    if done.ok:
        return Redirect("/plan", status_code=303)
    message = ClickResult("controls", "bad", f"Refused: {done.refusal}")
    return answer(await show_plan(visit, typed, message=message), 412 if done.stale else 409)


ROUTES = (get_plan, post_check, post_apply)
