"""The plan's page: what a text would change, said before the click, and what becomes of the click."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from dashboards import plan_text
from rollout.plan import DEFAULT_PLAN, QUICK_PLAN, Plan, Query, Stage
from rollout.plan_writer import dump_toml
from rollout.schedule import FreezeOnce, FreezeWeekly
from rollout.views import RolloutView
from tests.dashboards.memory import NOW, rollout
from tests.dashboards.pages import Pages, open_pages

FIRST, TENTH, ALL = DEFAULT_PLAN.stages
CHRISTMAS = FreezeOnce(1_798_070_400.0, 1_798_848_000.0)


def plan_of(*stages: Stage, **more: Any) -> Plan:
    return Plan(more.pop("name", "default"), stages or DEFAULT_PLAN.stages, **more)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (plan_of(), []),
        (plan_of(name="weekly"), ["Its name is weekly instead of default."]),
        (plan_of(FIRST, Stage(10, 3600.0), ALL), ["Stage 10 %: bakes 1h instead of 7d."]),
        (
            plan_of(FIRST, Stage(10, 90.0, ("errors",), "automatic"), ALL),
            [
                "Stage 10 %: bakes 1m30s instead of 7d, now it advances by itself when every guardrail passes, "
                "watched by errors instead of errors, slow, memory, crashes and sample_ratio."
            ],
        ),
        (
            plan_of(FIRST, TENTH, Stage(50, 60.0, ()), ALL),
            ["Stage 50 % is new: bakes 1m, a person advances it, watched by no guardrail."],
        ),
        (plan_of(FIRST, ALL), ["Stage 10 % is removed (it bakes 7d)."]),
        (
            plan_of(holdback=7, ramp_per_second=20, start_at=1_798_070_400.0),
            [
                "Starts by itself at 2026-12-24T00:00:00Z.",
                "While the last stage bakes 7 % are held back on v2.",
                "A ramp moves 20 sessions a second.",
            ],
        ),
        (plan_of(new_connections_only=True), ["A ramp moves new connections only."]),
        (
            plan_of(freezes=(CHRISTMAS, FreezeWeekly(("sat", "sun")), FreezeWeekly(("fri",), 18 * 60))),
            [
                "Freeze is new: from 2026-12-24T00:00:00Z until 2027-01-02T00:00:00Z.",
                "Freeze is new: every sat and sun (UTC).",
                "Freeze is new: every fri 18:00-24:00 (UTC).",
            ],
        ),
        (
            plan_of(queries=(Query("refunds", "rate(refunds[5m])", 0.5),)),
            ["Guardrail is new: refunds: rate(refunds[5m]) fails above 0.5."],
        ),
    ],
)
def test_differences_are_said_stage_by_stage(new: Plan, said: list[str]) -> None:
    assert plan_text.changes(DEFAULT_PLAN, new) == said


def test_the_way_back_is_said_too() -> None:
    rich = plan_of(holdback=7, ramp_per_second=20, start_at=NOW, freezes=(CHRISTMAS,))
    assert plan_text.changes(rich, DEFAULT_PLAN) == [
        "A person starts it.",
        "At 100 % nobody is held back, except 5 % where evidence decides.",
        "A ramp moves open sessions too, all at once.",
        "Freeze is removed: from 2026-12-24T00:00:00Z until 2027-01-02T00:00:00Z.",
    ]


def plan_page(pages: Pages) -> str:
    return html.unescape(pages.get("/plan").text)


def upload(pages: Pages, content: bytes, text: str) -> httpx.Response:
    files = {"file": ("plan.toml", content, "application/toml")}
    return pages.client.post("/plan/check", data=pages.signed({"toml": text}), files=files)


SLOWER = dump_toml(QUICK_PLAN).replace('"3m"', '"2h"')


def hidden(answer: httpx.Response, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', answer.text)
    assert found is not None, name
    return html.unescape(found.group(1))


def test_the_plan_in_force_stands_beside_what_the_check_says_of_it(pages: Pages) -> None:
    page = plan_page(pages)
    assert "Plan quick</h1>" in page
    assert "<strong>now</strong>" in page
    assert "Plan quick has no mistakes; it says the same as the plan in force." in page
    assert "/plan/apply" not in page, "there is nothing to apply"


def test_mistakes_come_with_line_and_field_and_nothing_is_lost(pages: Pages) -> None:
    typed = 'name = "x"\n[[stage]]\npercentage = 140\nbake = "</textarea>"\n'
    answer = pages.send("/plan/check", toml=typed)
    assert "This plan has 2 mistakes; nothing was changed." in answer.text
    assert "line 3: stage[1].percentage: 140 is not allowed: a whole number from 0 to 100" in answer.text
    assert html.escape(typed).replace("&#x27;", "'").replace("&quot;", "&#34;") in answer.text
    assert "/plan/apply" not in answer.text
    assert pages.source.plans == []


def test_what_would_change_is_said_and_then_done_with_a_reason(pages: Pages) -> None:
    checked = pages.send("/plan/check", toml=SLOWER)
    assert "Stage 10 %: bakes 2h instead of 3m." in checked.text
    assert "Moves nobody: the percentage stays 10 %. Stage 2 of 3 begins anew and bakes 2h." in checked.text
    assert pages.source.plans == []
    fields = {name: hidden(checked, name) for name in ("toml", "revision")}
    done = pages.send("/plan/apply", fields, reason=" support is small tonight ")
    assert (done.status_code, done.headers["location"]) == (303, "/plan")
    assert pages.source.plans == [("quick", "support is small tonight", "ada")]
    assert "<td>2h</td>" in plan_page(pages)


@pytest.mark.parametrize("content", [SLOWER.encode(), b"\xef\xbb\xbf" + SLOWER.replace("\n", "\r\n").encode()])
def test_a_file_counts_before_the_text(pages: Pages, content: bytes) -> None:
    answer = upload(pages, content, "what stood there")
    assert "Stage 10 %: bakes 2h instead of 3m." in answer.text
    assert hidden(answer, "toml") == SLOWER


def test_without_a_file_the_text_of_the_same_form_counts(pages: Pages) -> None:
    assert "Stage 10 %: bakes 2h" in upload(pages, b"", SLOWER).text


def test_what_is_no_text_is_said(pages: Pages) -> None:
    assert "this file is not UTF-8 text" in upload(pages, b"\xff\xfe\x00", "").text
    assert "at most 100,000 characters; this text has 100,001" in pages.send("/plan/check", toml="#" * 100_001).text


def test_somebody_was_faster(pages: Pages) -> None:
    fields = {name: hidden(pages.send("/plan/check", toml=SLOWER), name) for name in ("toml", "revision")}
    pages.source.show(rollout(revision=18))
    answer = pages.send("/plan/apply", fields)
    assert answer.status_code == 412
    assert 'role="alert">Refused: the rollout changed meanwhile: bob did plan other' in answer.text
    assert hidden(answer, "revision") == "18", "compared again with what is in force now"
    assert hidden(answer, "toml") == SLOWER
    assert pages.source.plans == []


def test_a_refusal_is_said_and_a_made_up_form_is_not_taken(pages: Pages) -> None:
    pages.source.refusal = "the store is away"
    answer = pages.send("/plan/apply", toml=SLOWER, revision="17")
    assert answer.status_code == 409
    assert "Refused: the store is away" in answer.text
    for fields in ({"toml": SLOWER}, {"toml": SLOWER, "revision": "all"}, {"toml": "x", "revision": "17"}):
        assert pages.send("/plan/apply", fields).status_code == 422
    assert pages.source.plans == []


def test_a_form_from_elsewhere_is_refused(pages: Pages) -> None:
    pages.client.get("/plan")
    answer = pages.client.post("/plan/apply", data={"toml": SLOWER, "revision": "17"}, follow_redirects=False)
    assert answer.status_code == 403
    assert pages.source.plans == []


def test_those_who_may_not_see_why() -> None:
    with open_pages("oncall") as pages:
        answer = pages.send("/plan/check", toml=SLOWER)
        assert "needs the role manager; you are oncall" in answer.text
        assert re.search(r'<button type="submit" class="primary" disabled>Apply', answer.text)


@pytest.mark.parametrize(
    ("view", "effect"),
    [
        (rollout("idle", 0), "Moves nobody now: a person starts it."),
        (rollout("paused", 10), "Moves nobody: the percentage stays 10 %, off the plan's clock."),
        (rollout("paused", 10, stage=1), "Stage 2 of 3 begins anew and bakes 2h."),
        (rollout("completed", 100), "Moves nobody: it counts from the next start on."),
        (rollout("rolled_back", 0), "Moves nobody: everyone stays on v2, and the lock stays."),
    ],
)
def test_the_effect_is_said_for_every_phase(view: RolloutView, effect: str) -> None:
    with open_pages(view=view) as pages:
        assert effect in html.unescape(pages.send("/plan/check", toml=SLOWER).text)


@pytest.mark.parametrize(
    ("start_at", "effect"),
    [
        (NOW + 60, "Moves nobody now: it starts by itself when its time has come."),
        (NOW - 60, "Moves nobody now: a person starts it (its start_at has passed)."),
    ],
)
def test_a_scheduled_start_counts_only_ahead(start_at: float, effect: str) -> None:
    with open_pages(view=rollout("idle", 0)) as pages:
        toml = dump_toml(plan_of(name="later", start_at=start_at))
        assert effect in html.unescape(pages.send("/plan/check", toml=toml).text)


def test_a_scheduled_start_and_a_freeze_are_shown_with_their_times() -> None:
    view = rollout("idle", 0, next_at=NOW + 86_400, frozen_until=NOW + 3600)
    with open_pages(view=view) as pages:
        pages.source.in_force = plan_of(start_at=NOW + 86_400, freezes=(CHRISTMAS,))
        page = plan_page(pages)
        assert '<strong>Starts by itself</strong> at <time datetime="2026-09-22T14:13:20+00:00">' in page
        assert '<strong>Frozen</strong> until <time datetime="2026-09-21T15:13:20+00:00">' in page
        assert "Frozen from 2026-12-24T00:00:00Z until 2027-01-02T00:00:00Z: nothing advances by itself." in page
    with open_pages() as pages:
        page = plan_page(pages)
        assert "Starts by itself" not in page
        assert "Frozen" not in page
