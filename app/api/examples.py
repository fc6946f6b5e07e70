"""Examples of calls and answers for the schema, made from the real types; a test compares them with real answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

import msgspec
from litestar.openapi.spec import Example
from msgspec import Struct

from app.api.commands import (
    Alert,
    AlertsBody,
    LoadBody,
    NoteBody,
    PercentageBody,
    PinBody,
    PlanBody,
    PromoteBody,
    ReasonBody,
    StartBody,
)
from app.problem import encode_problem, problem_of
from rollout.plan import QUICK_PLAN
from rollout.plan_writer import dump_toml
from rollout.views import CellState, PathFigures, PlanView, RolloutView, StageView, VerdictView

NOW: Final = 1_790_000_000.0


class _Null(Enum):
    """Stands for None, which Litestar would leave out of an example; the value of an Enum it keeps."""

    NULL = None


def _example(summary: str, value: Struct | Mapping[str, Any]) -> Example:
    return Example(summary=summary, value=_with_nulls(msgspec.to_builtins(value)))


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_nulls(each) for each in value]
    return _Null.NULL if value is None else value


START: Final = [_example("The plan's first stage", StartBody(reason="canary of 2026-09"))]
SET: Final = [_example("A quarter of the users", PercentageBody(percentage=25, reason="looks good"))]
PROMOTE: Final = [
    _example("The next stage", PromoteBody(reason="a week without harm")),
    _example("Everybody", PromoteBody(full=True, reason="decided in the review")),
]
REASON: Final = [_example("With a reason", ReasonBody(reason="support reports lost threads"))]
NOTE: Final = [_example("A remark", NoteBody(text="support hears nothing bad"))]
PIN: Final = [_example("A tester", PinBody(path="v3", reason="tests the new agent"))]
PLAN: Final = [_example("The seed `quick`", PlanBody(toml=dump_toml(QUICK_PLAN), reason="a rehearsal"))]
LOAD: Final = [
    _example("A fix", LoadBody(factory="acme.supervisor:create", build="3.1.2", live=True, reason="fixes lost threads"))
]
ALERTS: Final = [
    _example(
        "What rolls back",
        AlertsBody(
            version="4",
            alerts=[
                Alert(
                    status="firing",
                    labels={"alertname": "CrossfadeV3Errors", "crossfade_action": "rollback"},
                    annotations={"summary": "7.5% of the messages on v3 end with an error"},
                )
            ],
        ),
    )
]
REVISION: Final = [Example(summary="As `ETag` said", value='"7"')]


def _figures(path: Literal["v2", "v3"], sessions: int, messages: int, errors: int) -> PathFigures:
    return PathFigures(
        path=path,
        role="stable" if path == "v2" else "canary",
        available=True,
        unavailable_reason=None,
        build="eb444a96f2ac" if path == "v2" else "3.1.2",
        sessions=sessions,
        users=sessions,
        messages=messages,
        errors=errors,
        interrupted=0,
        rejected=0,
        error_rate=errors / messages,
        messages_per_second=messages / 900,
        p50_ms=12.1,
        p99_ms=38.4,
        memory_bytes=91_000_000,
        session_memory_bytes=47_104.0,
        restarts=0,
        uptime_s=86_400.0,
        since=NOW - 900,
    )


ROLLOUT: Final = [
    _example(
        "A tenth of the users on v3",
        RolloutView(
            phase="progressing",
            percentage=10,
            stage=1,
            stage_started_at=NOW - 900,
            next_percentage=100,
            next_at=NOW + 603_900,
            plan=PlanView(
                name="default",
                stages=[
                    StageView(percentage=percentage, bake_s=604_800.0, advance="person") for percentage in (0, 10, 100)
                ],
            ),
            revision=7,
            reason="canary of 2026-09",
            changed_by="ada",
            changed_at=NOW - 900,
            environment="production",
            flag="USE_WEBSOCKET_SUPERVISOR_V3",
            flag_age_s=0.4,
            unleash="embedded",
            forced=None,
            lock=None,
            last_rollback=None,
            paths=[_figures("v2", 1674, 13_500, 27), _figures("v3", 186, 1500, 3)],
            verdicts=[
                VerdictView(
                    guardrail="crashes",
                    verdict="pass",
                    words="no harm found",
                    evidence=0.0,
                    limit=2.0,
                    detail="0 deaths of v3's workers in 10 min; 2 roll back",
                )
            ],
            cells=[CellState(name="a", revision=7, sessions=1860, silent_s=0.0, silent=False, has_lock=False)],
            moving=0,
            allowed={"rollback": "", "start": "it is possible while the rollout is idle"},
            undo_until=None,
            now=NOW,
        ),
    )
]


def _refusal(status: int, detail: str, kind: str = "", title: str = "", **members: object) -> list[Example]:
    problem = problem_of(status, detail, kind, title)
    return [_example(problem.title, msgspec.json.decode(encode_problem(problem, members)))]


_BAD_VALUE: Final = 'percentage is "10"; allowed: a whole number, 0 to 100'
PROBLEMS: Final[Mapping[int, Sequence[Example]]] = {
    400: _refusal(400, "If-Match must be a revision in quotes, such as \"7\", not '7'"),
    401: _refusal(401, "sign in: send `Authorization: Bearer TOKEN`, or open the pages and sign in there"),
    403: _refusal(403, "eve has the role viewer; this needs the role oncall"),
    404: _refusal(404, "there was no rollback '9-0'"),
    409: _refusal(
        409,
        "resume is not possible while the rollout is progressing: it is possible while the rollout is paused",
        "not_in_phase",
        "Not possible now",
        phase="progressing",
    ),
    412: _refusal(
        412,
        "the rollout changed meanwhile: ada did set 25 % at 2026-09-21 13:46:40 UTC (revision 8, the command is based "
        "on 7); look at it again, then repeat the command",
        "stale_revision",
        "Somebody was faster",
        revision=8,
        who="ada",
        what="set 25 %",
        at=NOW,
    ),
    413: _refusal(413, "the body of this call has 131072 bytes at most"),
    414: _refusal(414, "a request line has 8192 bytes at most"),
    415: _refusal(415, "send the body with `Content-Type: application/json`; it came as 'text/plain'"),
    422: _refusal(422, _BAD_VALUE, errors=[{"source": "body", "key": "percentage", "message": _BAD_VALUE}]),
    428: _refusal(
        428,
        "say on which revision this is based (now 7); only a rollback needs none",
        "revision_missing",
        "Say what this is based on",
        revision=7,
    ),
    503: _refusal(
        503,
        "the store cannot be reached; nothing was changed, and only a rollback works without it",
        "store_unavailable",
        "Store unavailable",
    ),
}
