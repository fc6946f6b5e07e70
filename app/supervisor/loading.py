"""Loads what a path serves, `builtin` or people's own factory, as a `contract.PathServing`.

The one place that knows every way to make a supervisor, v2's among them; it must not know of the link or the gateway.
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

# How each path makes a supervisor for a WebSocket. By name, so that a worker imports only its own path's way.
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

    `faults` may be replaced while sessions live. `build` is the build's id; not given, a digest of the code loaded.
    People's factory is tried here with two scratch contexts, in the running event loop if there is one. An async one
    cannot be: of it it is taken that it exports state, and a sample's `export_state()` tells.
    `make_room` is called when everything of ours is imported and nothing of people's is yet.
    Raises `FactoryError`, or `SettingError` for an agent that there is not.
    """
    faults = faults or Faults()
    if spec == BUILTIN:
        serving = _load_builtin(path, check_agent_setting(agent), thread_secret, faults, build)
        make_room()
        return serving
    make_room()
    return _load_own(spec, path, thread_secret, faults, build)


def _load_builtin(path: PathName, agent: str, secret: bytes, faults: Faults, build: str | None) -> PathServing:
    target = _WEBSOCKET.get(path)
    if target is None:
        raise FactoryError(f"{path}: there is no built-in supervisor of this path any more")
    open_websocket = _resolve(path, target)

    async def make(opening: Opening) -> SessionSupervisor:
        dependencies = Dependencies(path, BuiltinAnswerer(agent), secret)
        open_session = open_request if opening.transport == "http" else open_websocket
        return FaultInjected(open_session(opening, dependencies), faults)

    return PathServing(make, build or _build_of_builtin(path), exports_state=True)


def _load_own(spec: str, path: PathName, secret: bytes, faults: Faults, build: str | None) -> PathServing:
    factory = import_factory(spec)

    async def make(opening: Opening) -> SessionSupervisor:
        context = RequestContext.of(opening) if opening.transport == "http" else WebSocketContext.of(opening)
        made = factory(context)
        if inspect.isawaitable(made):
            made = await made
        return FaultInjected(
            create_supervisor_core(context, Dependencies(path, FactoryAnswerer(made, spec), secret)), faults
        )

    exports_state = _try(spec, factory)
    return PathServing(make, build or build_of_package(spec), exports_state)


def _try(spec: str, factory: Callable[..., object]) -> bool:
    """Make two supervisors for nobody: whether they export state. Raises `FactoryError` when they are not usable."""
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
        raise FactoryError(f"{spec} made the same object for two users; it makes one for each session")
    for made in (first, second):
        _close_now(made)
    return answerer.exports_state


def _close_now(made: object) -> None:
    """Close a scratch supervisor as far as it goes without waiting."""
    close = getattr(made, "close", None)
    result = close() if callable(close) else None
    if inspect.iscoroutine(result):
        try:
            result.send(None)
        except StopIteration:
            return
        except RuntimeError:
            # It needs a running task; it was a scratch object, and nobody waits for it.
            return
        result.close()


@contextmanager
def _naming(spec: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise FactoryError(f"{spec} failed when it was tried: {one_line(error)}") from error


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
