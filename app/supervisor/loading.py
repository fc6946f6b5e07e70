"""Loads what a path serves, `builtin` or a custom factory, as a `contract.PathServing`.

This is the only module that refers to every way of making a supervisor, v2's included.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

from app.errors import FactoryError
from app.supervisor.adapter import FactoryAnswerer
from app.supervisor.agents import DEFAULT_AGENT, check_agent_setting
from app.supervisor.builtin import BuiltinAnswerer
from app.supervisor.context import RequestContext, WebSocketContext
from app.supervisor.contract import Opening, PathServing, SessionSupervisor
from app.supervisor.core import Dependencies, create_supervisor_core
from app.supervisor.fault_injection import FaultInjected
from app.supervisor.faults import Faults
from app.supervisor.http import open_request
from app.supervisor.importing import build_of_package, digest_of_files, import_factory, one_line
from app.supervisor.isolation import is_code, subject
from rollout.names import PathName

BUILTIN = "builtin"

OpenSession: TypeAlias = Callable[[Opening, Dependencies], SessionSupervisor]

# How each path makes a supervisor for a WebSocket. By name, so that a worker imports only the code of its path.
_WEBSOCKET = {
    "v2": "app.supervisor.legacy:open_through_mock_request",
    "v3": "app.supervisor.websocket:open_websocket",
}


def load_path(
    spec: str,
    path: PathName,
    *,
    thread_secret: bytes,
    agent: str = DEFAULT_AGENT,
    faults: Faults | None = None,
    build: str | None = None,
    make_room: Callable[[], None] = lambda: None,
) -> PathServing:
    """What `path` serves: `builtin`, or the factory `package.module:factory`.

    `faults` may be replaced while sessions are open. `build` is the build's id; without one, it is a digest of the
    loaded code. A custom factory is called here for two test contexts, in the running event loop if there is one. An
    async factory is not; it is assumed to export state, which the worker's sample document then confirms or not.
    `make_room` is called when everything of ours is imported and nothing custom is yet.
    Raises `FactoryError`, or `SettingError` for an unknown agent.
    """
    faults = faults or Faults()
    if spec == BUILTIN:
        serving = _load_builtin(path, check_agent_setting(agent), thread_secret, faults, build)
        make_room()
        return serving
    make_room()
    return _load_custom(spec, path, thread_secret, faults, build)


def _load_builtin(path: PathName, agent: str, secret: bytes, faults: Faults, build: str | None) -> PathServing:
    target = _WEBSOCKET.get(path)
    if target is None:
        raise FactoryError(f"{path}: this path has no built-in supervisor any more; allowed: `package.module:factory`")
    open_websocket = _resolve(path, target)

    async def make(opening: Opening) -> SessionSupervisor:
        dependencies = Dependencies(path, BuiltinAnswerer(agent), secret)
        open_session = open_request if opening.transport == "http" else open_websocket
        return FaultInjected(open_session(opening, dependencies), faults)

    return PathServing(make, build or _build_of_builtin(path), exports_state=True)


def _load_custom(spec: str, path: PathName, secret: bytes, faults: Faults, build: str | None) -> PathServing:
    factory = import_factory(spec)

    async def make(opening: Opening) -> SessionSupervisor:
        context = RequestContext.of(opening) if opening.transport == "http" else WebSocketContext.of(opening)
        custom = factory(context)
        if inspect.isawaitable(custom):
            custom = await custom
        return FaultInjected(
            create_supervisor_core(context, Dependencies(path, FactoryAnswerer(custom, spec), secret)), faults
        )

    exports_state = _try(spec, factory)
    return PathServing(make, build or build_of_package(spec), exports_state)


def _try(spec: str, factory: Callable[..., object]) -> bool:
    """Make two test supervisors; returns whether they export state. Raises `FactoryError` if they are not usable."""
    if inspect.iscoroutinefunction(factory):
        return True
    with _naming(spec):
        first = factory(WebSocketContext("crossfade-check-1", "crossfade-check-1"))
        if inspect.isawaitable(first):
            if inspect.iscoroutine(first):
                first.close()
            return True
        second = factory(WebSocketContext("crossfade-check-2", "crossfade-check-2"))
    answerer = FactoryAnswerer(first, spec)
    if subject(first) is subject(second) and not is_code(first):
        raise FactoryError(f"{spec} returned the same object for two users; it must make one for each session")
    for custom in (first, second):
        _close_now(custom)
    return answerer.exports_state


def _close_now(custom: object) -> None:
    """Close a test supervisor, as far as that is possible without waiting."""
    close = getattr(custom, "close", None)
    result = close() if callable(close) else None
    if inspect.iscoroutine(result):
        try:
            result.send(None)
        except StopIteration:
            return
        except RuntimeError:
            # It needs a running task; nobody waits for a test object, so that does not matter.
            return
        result.close()


@contextmanager
def _naming(spec: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise FactoryError(f"{spec} failed for a test context: {one_line(error)}") from error


def _resolve(path: PathName, target: str) -> OpenSession:
    module, _, name = target.partition(":")
    try:
        return cast(OpenSession, getattr(importlib.import_module(module), name))
    except ModuleNotFoundError as error:
        raise FactoryError(
            f"the built-in supervisor of {path} needs {error.name!r}, which this interpreter ({sys.executable}) does "
            "not have"
        ) from error


def _build_of_builtin(path: PathName) -> str:
    folder = Path(__file__).parent
    return digest_of_files(((file.name, file) for file in folder.glob("*.py")), path)
