"""How the parts of the service are: store, cells, workers, and the settings as they were read at the start."""

from __future__ import annotations

from litestar import Response, get
from msgspec import Struct

from dashboards.base.page import Fact, LivePage, chrome, top
from dashboards.base.person import Person
from dashboards.base.visit import TheVisit, Visit, answer
from rollout import formats
from rollout.views import CellState, HealthView, RolloutView, SettingView, WorkerView


class SettingRow(Struct, frozen=True):
    variable: str
    value: str
    meaning: str


class WorkerRow(Struct, frozen=True):
    """The worker of one path in one cell."""

    cell: str
    path: str
    state: Fact
    build: str
    sessions: str
    memory: str
    restarts: str
    up: str


class CellRow(Struct, frozen=True):
    name: str
    heard: Fact
    sessions: str
    revision: str
    lock: str
    leads: bool
    """Whether it takes the steps that nobody commands."""


class HealthSection(Struct, frozen=True):
    facts: list[Fact]
    cells: list[CellRow]
    workers: list[WorkerRow]


class HealthPage(LivePage, frozen=True, kw_only=True):
    template = "health.html"
    sections = ("top", "health")
    health: HealthSection
    changed: list[SettingRow]
    """Settings that do not have their default."""
    defaults: list[SettingRow]
    """The others; those that have no effect yet come last."""


def health_page(view: RolloutView, health: HealthView, person: Person, csrf_token: str) -> HealthPage:
    defaults = [setting for setting in health.settings if setting.is_default]
    defaults.sort(key=lambda setting: setting.meaning.startswith("reserved"))
    return HealthPage(
        chrome=chrome(view, "Health", "health", person, "/sections/health"),
        csrf_token=csrf_token,
        top=top(view),
        health=HealthSection(
            _facts(view, health),
            [_cell(cell, health.leader) for cell in view.cells],
            [_worker(worker) for worker in health.workers],
        ),
        changed=[_setting(setting) for setting in health.settings if not setting.is_default],
        defaults=[_setting(setting) for setting in defaults],
    )


def _setting(setting: SettingView) -> SettingRow:
    return SettingRow(setting.variable, setting.value, setting.meaning.replace("`", ""))


def _facts(view: RolloutView, health: HealthView) -> list[Fact]:
    store = "does not answer; only a rollback works" if health.store_down else "answers"
    forced = "not set" if view.forced is None else f"{'true' if view.forced else 'false'}: it decides for everyone"
    record = f"revision {view.revision}, changed {formats.clock(view.changed_at)}" if view.revision else "new"
    return [
        Fact("store", f"{health.store} {store}", "bad" if health.store_down else "good"),
        _folder(health),
        Fact("flag in the environment", forced, "plain" if view.forced is None else "warn"),
        Fact("flag read", f"{formats.duration(view.flag_age_s)} ago", "plain"),
        Fact("Unleash", view.unleash, "bad" if view.unleash in ("unreachable", "changed outside") else "good"),
        _leader(view, health),
        Fact("record", record),
        Fact("audit", _audit(health)),
    ]


def _audit(health: HealthView) -> str:
    """How much there is of what is kept for ever."""
    if health.audit_entries is None or health.audit_bytes is None:
        return "not known while the store is away"
    return f"{formats.plural(health.audit_entries, 'row')}, about {formats.size(health.audit_bytes)}, kept for ever"


def _folder(health: HealthView) -> Fact:
    """Where the lock of a rollback is written."""
    if health.folder_trouble:
        return Fact("data folder", f"{health.folder}: {health.folder_trouble}", "bad")
    return Fact("data folder", f"{health.folder} has a place for the lock of a rollback", "good")


def _leader(view: RolloutView, health: HealthView) -> Fact:
    label = "automatic steps are taken by"
    if not health.leader:
        return Fact(label, "not known while the store is away" if health.store_down else "nobody just now", "warn")
    if any(cell.name == health.leader and cell.silent for cell in view.cells):
        return Fact(label, f"cell {health.leader}, which is silent", "warn")
    return Fact(label, f"cell {health.leader}", "plain")


def _cell(cell: CellState, leader: str) -> CellRow:
    ago = formats.duration(cell.silent_s)
    if cell.silent:
        heard = Fact("heard", f"silent for {ago}; its figures are that old", "bad")
    else:
        heard = Fact("heard", f"heard {ago} ago" if cell.silent_s else "answers", "good")
    return CellRow(
        cell.name,
        heard,
        formats.count(cell.sessions),
        formats.count(cell.revision),
        "locked on v2" if cell.has_lock else "no lock",
        cell.name == leader,
    )


def _worker(worker: WorkerView) -> WorkerRow:
    if worker.silent:
        state = Fact("worker", f"not known: its cell has been silent for {formats.duration(worker.silent_s)}", "bad")
    elif worker.available:
        state = Fact("worker", "serves", "good")
    else:
        state = Fact("worker", f"not available: {worker.reason or 'no reason is known'}", "bad")
    return WorkerRow(
        cell=worker.cell,
        path=worker.path,
        state=state,
        build=worker.build or "no data",
        sessions=formats.count(worker.sessions),
        memory="no data" if worker.memory_bytes is None else formats.size(worker.memory_bytes),
        restarts=formats.count(worker.restarts),
        up="no data" if worker.uptime_s is None else formats.duration(worker.uptime_s),
    )


async def show_health(visit: Visit) -> HealthPage:
    return health_page(await visit.source.rollout(), await visit.source.health(), visit.person, visit.csrf)


@get("/health")
async def get_health(visit: TheVisit) -> Response[str]:
    return answer(await show_health(visit))


ROUTES = (get_health,)
