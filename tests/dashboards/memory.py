"""A rollout in memory behind the pages: a real `Source` with phases, revisions and people, for tests and for looking.

It imports nothing of the service, so that the pages are tested against the contract alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal

import msgspec
from litestar import Litestar
from litestar.config.csrf import CSRFConfig

from dashboards.base.person import Person
from dashboards.base.source import CommandResult, PageRequest, Unavailable
from dashboards.errors import errors
from dashboards.overview import OverviewPage, overview_page
from dashboards.problem import TROUBLES, problem_page, trouble_of
from dashboards.router import SOURCE, make_router
from dashboards.sections.charts import charts
from rollout.names import PATHS, TokenRole, Verb
from rollout.plan import QUICK_PLAN, Plan
from rollout.views import (
    EVERYTHING,
    AuditEntry,
    AuditFilter,
    AuditPage,
    CellState,
    ChartMark,
    ErrorGroup,
    ErrorsView,
    HealthView,
    LockView,
    PathFigures,
    PathSeries,
    PlanView,
    Preview,
    ReceiptView,
    RollbackView,
    RolloutView,
    SeriesView,
    SessionsView,
    SessionView,
    SettingView,
    Span,
    StageView,
    UserView,
    VerdictView,
    WorkerView,
)

NOW = 1_790_000_000.0
VERBS: tuple[Verb, ...] = ("start", "set", "promote", "pause", "resume", "rollback", "undo", "unlock")
_ALLOWED: dict[str, tuple[Verb, ...]] = {
    "idle": ("start", "set", "rollback"),
    "progressing": ("set", "promote", "pause", "rollback"),
    "paused": ("set", "promote", "resume", "rollback"),
    "completed": ("rollback",),
    "rolled_back": ("rollback", "unlock", "undo"),
}


def path(name: Literal["v2", "v3"], **changes: object) -> PathFigures:
    stable = name == "v2"
    figures = PathFigures(
        path=name,
        role="stable" if stable else "canary",
        available=True,
        unavailable_reason=None,
        build="legacy-41f2" if stable else "b7c9e21",
        sessions=1674 if stable else 186,
        users=9020 if stable else 980,
        messages=61_204 if stable else 6_611,
        errors=257 if stable else 30,
        interrupted=0,
        rejected=14 if stable else 2,
        error_rate=0.0042 if stable else 0.0045,
        messages_per_second=102.0 if stable else 11.0,
        p50_ms=9.0 if stable else 7.0,
        p99_ms=38.0 if stable else 29.0,
        memory_bytes=93_323_264 if stable else 34_603_008,
        session_memory_bytes=47_104.0 if stable else 39_936.0,
        restarts=0,
        uptime_s=518_400.0 if stable else 7_200.0,
        since=NOW - 600,
    )
    return msgspec.structs.replace(figures, **changes)


NO_FIGURES = {
    "build": None,
    "sessions": 0,
    "users": 0,
    "messages": 0,
    "errors": 0,
    "rejected": 0,
    "error_rate": None,
    "messages_per_second": 0.0,
    "p50_ms": None,
    "p99_ms": None,
    "memory_bytes": None,
    "session_memory_bytes": None,
    "uptime_s": None,
}


def verdicts() -> list[VerdictView]:
    return [
        VerdictView(
            guardrail="errors",
            verdict="pass",
            words="no harm found; would have seen 2x",
            evidence=0.6,
            limit=100.0,
            detail="users with an error 12 of 980",
        ),
        VerdictView(guardrail="slow", verdict="pass", words="no harm found", evidence=0.1, limit=100.0, detail=""),
        VerdictView(
            guardrail="memory", verdict="pass", words="within the limit", evidence=0.85, limit=1.2, detail="ratio"
        ),
        VerdictView(
            guardrail="crashes", verdict="pass", words="none", evidence=0.1, limit=2.0, detail="2 in 10 min fail"
        ),
        VerdictView(
            guardrail="shown not worse",
            verdict="inconclusive",
            words="too early: about 31 more users",
            evidence=7.4,
            limit=20.0,
            detail="",
        ),
    ]


def no_verdicts() -> list[VerdictView]:
    return [
        VerdictView(guardrail=name, verdict="insufficient_data", words="no data", evidence=None, limit=100.0, detail="")
        for name in ("errors", "slow", "memory", "crashes")
    ]


def receipt(**changes: object) -> RollbackView:
    done = RollbackView(
        id="r1",
        at=NOW - 2,
        by="guardrail errors",
        reason="9 of 98 users on v3 had a first error; evidence 1,240x, rolls back at 100x",
        new_stopped_ms=3.1,
        existing_moved_ms=41.0,
        sessions_to_move=186,
        sessions_moved=186,
        closed=0,
        interrupted=1,
        verified_at=NOW - 1,
        cells=["a", "b"],
        silent_cells=[],
    )
    return msgspec.structs.replace(done, **changes)


def rollout(phase: str = "progressing", percentage: int = 10, **changes: object) -> RolloutView:
    """A rollout as the service would show it in that phase; anything may be changed."""
    ready = _ALLOWED[phase]
    values: dict[str, object] = {
        "phase": phase,
        "percentage": percentage,
        "stage": 1 if phase == "progressing" else None,
        "stage_started_at": NOW - 600 if phase == "progressing" else None,
        "next_percentage": 50 if phase == "progressing" else None,
        "next_at": NOW + 1076 if phase == "progressing" else None,
        "plan": PlanView(
            name="quick",
            stages=[
                StageView(percentage=share, bake_s=1676.0, advance="automatic" if share == 10 else "person")
                for share in (0, 10, 50, 100)
            ],
        ),
        "revision": 17,
        "reason": "canary after staging run",
        "changed_by": "ada",
        "changed_at": NOW - 600,
        "environment": "production",
        "flag": "USE_WEBSOCKET_SUPERVISOR_V3",
        "flag_age_s": 0.4,
        "unleash": "in step",
        "forced": None,
        "lock": None,
        "last_rollback": None,
        "paths": [path("v2"), path("v3")],
        "verdicts": verdicts() if phase in ("progressing", "paused") else no_verdicts(),
        "cells": [
            CellState(name=name, revision=17, sessions=930, silent_s=0.1, silent=False, has_lock=phase == "rolled_back")
            for name in ("a", "b")
        ],
        "moving": 0,
        "allowed": {verb: "" if verb in ready else f"not while {phase.replace('_', ' ')}" for verb in VERBS},
        "undo_until": NOW + 480 if phase == "rolled_back" else None,
        "now": NOW,
    }
    if phase == "idle":
        values["paths"] = [path("v2", sessions=1860, users=10_000), path("v3", **NO_FIGURES)]
    if phase == "completed":
        values["paths"] = [path("v2", **NO_FIGURES), path("v3", sessions=1860, users=10_000)]
    if phase == "rolled_back":
        values["lock"] = LockView(generation=4, since=NOW - 2, by="guardrail errors", reason="errors on v3")
        values["last_rollback"] = receipt()
        values["paths"] = [path("v2", sessions=1860, users=10_000), path("v3", **NO_FIGURES)]
    return msgspec.convert(msgspec.to_builtins(values | changes), RolloutView)


def entry(
    number: int, what: str = "set 10 %", reason: str = "canary after staging run", who: str = "ada"
) -> AuditEntry:
    return AuditEntry(
        id=number,
        at=NOW - 60 * (20 - number),
        who=who,
        role="manager",
        source="page",
        what=what,
        reason=reason,
        revision=number,
        before={},
        after={},
        figures={},
    )


def group(code: str, *, only: bool = False, path: Literal["v2", "v3"] = "v3", reference: str = "8f2c11") -> ErrorGroup:
    return ErrorGroup(
        code=code,
        fingerprint="KeyError in tools",
        path=path,
        count=38,
        users=9,
        only_on_v3=only,
        first_at=NOW - 300,
        last_at=NOW - 5,
        reference=reference,
    )


def session(
    user_id: str, name: Literal["v2", "v3"] = "v2", reason: str = "flag", connection_id: str = "c1"
) -> SessionView:
    return SessionView(
        connection_id=connection_id,
        user_id=user_id,
        path=name,
        reason=reason,
        state="idle",
        cell="a",
        connected_at=NOW - 60,
        messages=3,
        queued=0,
        epoch=1,
    )


def user_view(user_id: str = "ada", **changes: object) -> UserView:
    user = UserView(user_id=user_id, path="v3", reason="flag", bucket=7, percentage=10, pin=None, sessions=[])
    return msgspec.structs.replace(user, **changes)


def worker(cell: str = "a", name: Literal["v2", "v3"] = "v3", **changes: object) -> WorkerView:
    up = WorkerView(
        cell=cell,
        silent_s=0.1,
        silent=False,
        path=name,
        available=True,
        reason=None,
        build="legacy-41f2" if name == "v2" else "b7c9e21",
        sessions=465,
        memory_bytes=34_603_008,
        restarts=0,
        uptime_s=7_200.0,
    )
    return msgspec.structs.replace(up, **changes)


def some_series(span: Span) -> SeriesView:
    """Three points, the middle one a gap, and a mark in the last."""
    path = PathSeries(
        messages=[10, None, 0],
        errors=[1, None, 0],
        p50_ms=[5.0, None, None],
        p99_ms=[38.0, None, None],
        sessions=[1674, None, 1680],
        session_memory_bytes=[47_104, None, 47_000],
        memory_bytes=[90_000_000, None, 90_000_000],
    )
    mark = ChartMark(at=NOW - 3, word="10 %", who="ada", what="set 10 %", reason="")
    return SeriesView(span=span, start=NOW - 15, step_s=5, points=3, paths={"v2": path, "v3": path}, marks=[mark])


def overview(
    view: RolloutView | None = None, entries: Sequence[AuditEntry] = (), role: TokenRole = "manager"
) -> OverviewPage:
    """The overview's context, with everything that can stand on it."""
    page = AuditPage(items=list(entries), next=1 if entries else None)
    return overview_page(
        view or rollout(),
        page,
        Person("ada", role),
        previews={},
        charts=charts(some_series("15m"), "/"),
        errors=errors([group("thread_missing", only=True)], NOW),
        csrf_token="t" * 128,
    )


class MemorySource:
    """Holds one rollout; commands change it, and every change ticks the open streams."""

    def __init__(self, view: RolloutView | None = None, role: TokenRole | None = "manager") -> None:
        self.view = view or rollout()
        self.audit = [entry(3), entry(2, "started the rollout"), entry(1, "wrote a note", "support hears nothing bad")]
        self.signed_in = None if role is None else Person("ada", role)
        self.commands: list[tuple[Verb, int | None, str, int | None, str]] = []
        self.refusal = ""
        self.previews_asked = 0
        self.wanted = EVERYTHING
        """What the audit was last searched for."""
        self.groups = [group("thread_missing", only=True), group("agent_timeout", path="v2")]
        self.people = [session("ada"), session("bob/2", "v3", "pinned")]
        self.in_force = QUICK_PLAN
        self.plans: list[tuple[str, str, str]] = []
        """Those put in force: name, reason, person."""
        self.somebody: UserView | None = None
        """Whoever is asked for; None: a user on v3."""
        self.without_state = 0
        """Sessions that would lose their state by the next change."""
        self.leader = "a"
        self.folder_trouble = ""
        self.workers = [worker(cell, name) for cell in ("a", "b") for name in PATHS]
        self.done: ReceiptView | None = None
        """The receipt `r1`; None: made of the rollout's last rollback."""
        self.missing: list[str] = []
        """Cells that were not heard."""
        self.notes: list[str] = []
        self.pins: list[tuple[str, str | None, str]] = []
        self.unavailable = False
        self.left = asyncio.Event()
        """Set when a stream has stopped listening."""
        self.end_at_once = False
        self._ticks: set[asyncio.Queue[bool]] = set()

    async def rollout(self) -> RolloutView:
        return self.view

    async def events(self, before: int | None, limit: int, wanted: AuditFilter = EVERYTHING) -> AuditPage:
        self.wanted = wanted
        rest = [
            item
            for item in self.audit
            if (before is None or item.id < before) and wanted.text in f"{item.who} {item.what} {item.reason}"
        ]
        return AuditPage(items=rest[:limit], next=rest[limit - 1].id if len(rest) > limit else None)

    async def exported(self, before: int | None, limit: int, wanted: AuditFilter) -> AuditPage:
        if self.unavailable:
            raise Unavailable
        return await self.events(before, limit, wanted)

    async def previews(self, percentages: Collection[int]) -> Mapping[int, Preview]:
        self.previews_asked += 1
        return {percentage: self._preview(percentage) for percentage in percentages}

    def _preview(self, percentage: int) -> Preview:
        more = percentage - self.view.percentage
        return Preview(
            percentage=percentage,
            users_to_v3=max(0, more) * 100,
            users_to_v2=max(0, -more) * 100,
            sessions_to_v3=max(0, more) * 18,
            sessions_to_v2=max(0, -more) * 18,
            sessions_without_state=self.without_state,
            missing_cells=self.missing,
        )

    async def act(
        self,
        verb: Verb,
        percentage: int | None,
        reason: str,
        revision: int | None,
        person: Person,
        *,
        full: bool = False,
    ) -> CommandResult:
        self.commands.append((verb, 100 if full else percentage, reason, revision, person.name))
        if self.refusal:
            return CommandResult(self.refusal)
        if verb != "rollback" and revision != self.view.revision:
            return CommandResult("someone else changed it first: ada set 10 %")
        phase = {"rollback": "rolled_back", "pause": "paused", "resume": "progressing", "unlock": "idle"}
        share = {"rollback": 0, "unlock": 0}.get(verb, self.view.percentage) if percentage is None else percentage
        after = rollout(phase.get(verb, "progressing"), share, revision=self.view.revision + 1)
        if verb == "rollback":
            done = receipt(by=person.name, reason=reason)
            after = msgspec.structs.replace(after, last_rollback=done)
        self.audit.insert(0, entry(len(self.audit) + 1, verb, reason, person.name))
        self.show(after)
        return CommandResult()

    async def plan(self) -> Plan:
        return self.in_force

    async def apply_plan(self, plan: Plan, reason: str, revision: int | None, person: Person) -> CommandResult:
        if self.refusal:
            return CommandResult(self.refusal)
        if revision != self.view.revision:
            return CommandResult("the rollout changed meanwhile: bob did plan other", stale=True)
        self.in_force = plan
        self.plans.append((plan.name, reason, person.name))
        self.show(msgspec.structs.replace(self.view, revision=self.view.revision + 1))
        return CommandResult()

    async def series(self, span: Span, until: float | None = None) -> SeriesView:
        return some_series(span)

    async def errors(self) -> ErrorsView:
        return ErrorsView(items=self.groups, missing_cells=self.missing)

    async def receipt(self, id: str) -> ReceiptView | None:
        if self.unavailable:
            raise Unavailable
        if id != "r1":
            return None
        return self.done or ReceiptView(
            rollback=self.view.last_rollback or receipt(),
            from_percentage=10,
            users_harmed=9,
            errors_only_on_v3=[one for one in self.groups if one.only_on_v3],
            figures=[path("v2"), path("v3")],
            timeline=self.audit[::-1],
        )

    async def note(self, text: str, person: Person) -> CommandResult:
        if not self.refusal:
            self.notes.append(f"{person.name}: {text}")
        return CommandResult(self.refusal)

    async def health(self) -> HealthView:
        settings = [
            SettingView(variable="CROSSFADE_NOTIFY", value="unset", is_default=True, meaning="reserved: targets"),
            SettingView(variable="CROSSFADE_BIND", value="127.0.0.1:8000", is_default=True, meaning="address and port"),
            SettingView(variable="CROSSFADE_SECRET", value="set, not shown", is_default=False, meaning="key"),
        ]
        return HealthView(
            store="sqlite",
            store_down=self.unavailable,
            folder="/var/lib/crossfade",
            folder_trouble=self.folder_trouble,
            settings=settings,
            leader=self.leader,
            audit_entries=None if self.unavailable else 1234,
            audit_bytes=None if self.unavailable else 1_500_000,
            workers=self.workers,
        )

    async def sessions(
        self, search: str, path: Literal["v2", "v3"] | None, limit: int, after: tuple[str, str] | None = None
    ) -> SessionsView:
        found = [one for one in self.people if search in one.user_id and path in (None, one.path)]
        rest = [one for one in found if after is None or (one.user_id, one.connection_id) > after]
        return SessionsView(
            items=rest[:limit],
            before=len(found) - len(rest),
            matching=len(found),
            total=len(self.people),
            missing_cells=self.missing,
        )

    async def user(self, user_id: str) -> UserView:
        return self.somebody or user_view(
            user_id,
            pin="v3" if user_id == "bob/2" else None,
            sessions=[one for one in self.people if one.user_id == user_id],
            missing_cells=self.missing,
        )

    async def pin(self, user_id: str, path: Literal["v2", "v3"] | None, reason: str, person: Person) -> CommandResult:
        if not self.refusal:
            self.pins.append((user_id, path, reason))
        return CommandResult(self.refusal)

    def show(self, view: RolloutView) -> None:
        self.view = view
        for queue in self._ticks:
            queue.put_nowait(True)

    def end(self) -> None:
        """The service stops: every stream ends."""
        for queue in self._ticks:
            queue.put_nowait(False)

    async def changes(self) -> AsyncIterator[None]:
        queue: asyncio.Queue[bool] = asyncio.Queue()
        self._ticks.add(queue)
        if self.end_at_once:
            queue.put_nowait(False)
        try:
            while await queue.get():
                yield
        finally:
            self._ticks.discard(queue)
            self.left.set()

    @property
    def listeners(self) -> int:
        return len(self._ticks)

    def person(self, request: PageRequest) -> Person | None:
        return self.signed_in

    def why_nobody(self, request: PageRequest) -> str:
        return ""

    async def stays(self, request: PageRequest) -> bool:
        return self.signed_in is not None


def make_app(source: MemorySource) -> Litestar:
    """The pages with nothing of the service but CSRF protection, as the service configures it."""
    app = Litestar(
        route_handlers=[make_router()],
        csrf_config=CSRFConfig(secret="a secret of tests only"),
        exception_handlers=dict.fromkeys(TROUBLES, lambda request, error: problem_page(request, trouble_of(error))),
        openapi_config=None,
    )
    app.state[SOURCE] = source
    return app
