"""The state of a service's parts, for people: workers, store, and the settings as they were read, without secrets."""

from __future__ import annotations

from collections.abc import Mapping

from app.control.views import Snapshot
from app.pool.state import PathState
from app.settings import Settings, describe, shown_value, variable_of
from app.store.port import AuditSize
from rollout.names import PATHS, PathName
from rollout.views import HealthView, SettingView, WorkerView


def health_view(
    snapshot: Snapshot, leader: str = "", folder_trouble: str = "", audit: AuditSize | None = None
) -> HealthView:
    """The store, the data folder, the settings and every worker; `leader` is the cell that holds the store's lease."""
    return HealthView(
        store=shown_value("store", snapshot.settings.store),
        store_down=snapshot.store_down,
        folder=snapshot.settings.data,
        folder_trouble=folder_trouble,
        settings=settings_view(snapshot.settings),
        leader=leader or (snapshot.cell.name if snapshot.fleet.alone else ""),
        audit_entries=None if audit is None else audit.entries,
        audit_bytes=None if audit is None else audit.size_bytes,
        workers=workers_view(snapshot),
    )


def workers_view(snapshot: Snapshot) -> list[WorkerView]:
    """The workers of every cell, each as its cell reported it last."""
    return [
        WorkerView(
            cell=name,
            silent_s=snapshot.fleet.silent_s(name),
            silent=snapshot.fleet.silent(name),
            path=path,
            available=state.available,
            reason=state.reason,
            build=state.build,
            sessions=state.sessions,
            memory_bytes=state.memory_bytes,
            restarts=state.restarts,
            uptime_s=state.uptime_s,
        )
        for name in snapshot.fleet.names()
        for path, state in _states(snapshot, name).items()
    ]


def _states(snapshot: Snapshot, name: str) -> Mapping[PathName, PathState]:
    if name == snapshot.cell.name:
        return {path: snapshot.cell.path_state(path) for path in PATHS}
    other = snapshot.fleet.others().get(name)
    return {} if other is None else other.paths


def settings_view(settings: Settings) -> list[SettingView]:
    """All settings, in the order in which they are declared."""
    defaults = Settings()
    rows = []
    for name, described in zip(Settings.__struct_fields__, describe(), strict=True):
        value = getattr(settings, name)
        rows.append(
            SettingView(
                variable=variable_of(name),
                value=shown_value(name, value),
                is_default=value == getattr(defaults, name),
                meaning=described.meaning,
            )
        )
    return rows
