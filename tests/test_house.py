"""The house rules of the imports, read from the source: who may know whom. A rule holds for whatever files exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "dashboards", "rollout")
OURS = (*PACKAGES, "ops", "tests")

# Modules of the standard library that neither look at the world nor draw chances.
PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "tomllib",
    "types",
    "typing",
}
CLOCKS = {"now", "utcnow", "today"}  # of datetime, which is allowed for its calendar


def module_of(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_of(module: str, root: Path = ROOT) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(source: str, module: str, *, package: bool = False) -> Iterator[str]:
    """Every module that a source may import, wherever the import stands; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + (1 if package else 0)]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def house() -> dict[str, set[str]]:
    """Module to what it imports, for all of ours but ops and tests."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            module = module_of(path)
            found[module] = set(imports(path.read_text("utf-8"), module, package=path.name == "__init__.py"))
    return found


HOUSE = house()


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def breaches(of: tuple[str, ...], never: tuple[str, ...]) -> list[str]:
    """`module → import` for every module of the first packages that imports something of the second."""
    return sorted(
        f"{module} → {name}"
        for module, names in HOUSE.items()
        if within(module, *of)
        for name in names
        if within(name, *never)
    )


def ours(module: str) -> set[str]:
    """The files of ours that a module imports; it does not count itself, nor the packages that it lies in."""
    return {name for name in HOUSE[module] if name in HOUSE and not within(module, name)}


def folder_of(module: str) -> str:
    """The folder that a file lies in; a package's `__init__` lies in its own."""
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """What can be reached from itself, in groups that reach each other, by name."""
    reach: dict[str, set[str]] = {}
    for start, first in arrows.items():
        seen, todo = set[str](), list(first)
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                todo += arrows.get(name, ())
        reach[start] = seen
    groups = {tuple(sorted(b for b in reach[a] if a in reach.get(b, ()))) for a in arrows if a in reach[a]}
    return [list(group) for group in sorted(groups)]


def reached(begins: tuple[str, ...]) -> set[str]:
    """The files of ours that are loaded when these are; a file brings the packages it lies in."""
    seen, todo = set[str](), list(begins)
    while todo:
        name = todo.pop()
        if name in HOUSE and name not in seen:
            seen.add(name)
            todo += [*HOUSE[name], name.rpartition(".")[0]]
    return seen


WAYS_TO_SUPERVISORS = ("app.supervisor.legacy", "app.supervisor.websocket")
"""Named by text in `app.supervisor.loading`, so that a worker imports its own path's only."""


BASE = (
    "app.errors",
    "app.settings",
    "app.settings_checks",
    "app.settings_reader",
    "app.origins",
    "app.message_types",
    "app.messages",
    "app.logs",
    "app.problem",
    "app.secret",
    "app.process_title",
    "app.daemon_thread",
    "app.verification_keys",
    "app.disk",
    "app.data_folder",
    "app.proxies",
)
KNOWS: dict[str, tuple[str, ...]] = {
    "rollout": (),
    "dashboards": ("rollout",),
    "app.link": ("rollout.names", "app.errors"),
    "app.supervisor": ("rollout.names", "app.errors", "app.message_types"),
    "app.worker": (
        "rollout.names", "app.errors", "app.message_types", "app.messages", "app.process_title", "app.link",
        "app.supervisor",
    ),
    "app.pool": ("rollout.names", "rollout.builds", *BASE, "app.link", "app.supervisor.faults"),
    "app.metrics": ("rollout", "app.errors", "app.pool.state"),
    "app.gateway": ("rollout", *BASE, "app.link", "app.metrics", "app.pool", "app.store.port"),
    "app.store": ("rollout", *BASE),
    "app.flags": ("rollout", *BASE),
    "app.fleet": ("rollout", *BASE, "app.link", "app.metrics", "app.pool.state", "app.gateway.ports", "app.store"),
    "app.control": (
        "rollout", *BASE, "dashboards", "app.fleet", "app.flags", "app.gateway", "app.metrics", "app.pool.source",
        "app.pool.state", "app.store",
    ),
    "app.api": ("rollout", *BASE, "dashboards", "app.control", "app.fleet", "app.gateway", "app.metrics", "app.store"),
    "app.loadtest": ("rollout", *BASE),
    "app.serve": ("rollout", "dashboards", "app"),
    "app.cli": ("rollout", "dashboards", "app"),
}  # fmt: skip
"""Which packages (or single files) each package may import, besides itself; whoever is not named is not imported."""


@pytest.mark.parametrize("package", KNOWS)
def test_nobody_imports_what_is_above(package: str) -> None:
    allowed = (*KNOWS[package], package)
    upwards = [
        f"{module} → {name}"
        for module in HOUSE
        if within(module, package)
        for name in ours(module)
        if not within(name, *allowed)
    ]
    assert sorted(upwards) == []


def test_every_file_has_its_place_in_the_table() -> None:
    homeless = [module for module in HOUSE if not within(module, *KNOWS, *BASE) and module not in PACKAGES]
    assert homeless == []


def test_the_foundation_knows_nobody_above() -> None:
    upwards = [
        f"{module} → {name}"
        for module in HOUSE
        if within(module, *BASE)
        for name in ours(module)
        if not within(name, *BASE, "rollout.names")
    ]
    assert upwards == []


def test_no_file_imports_itself_through_others() -> None:
    assert circles({module: ours(module) for module in HOUSE}) == []


def test_no_folder_imports_itself_through_others() -> None:
    folders: dict[str, set[str]] = {}
    for module in HOUSE:
        folder = folder_of(module)
        folders.setdefault(folder, set()).update({folder_of(name) for name in ours(module)} - {folder})
    assert circles(folders) == []


PROCESSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "worker": (
        ("app.worker.bootstrap", "app.worker.main", *WAYS_TO_SUPERVISORS),
        (
            "app.store", "app.control", "app.gateway", "app.api", "app.fleet", "app.pool", "app.metrics", "app.serve",
            "app.cli", "app.flags", "app.settings", "dashboards", "sqlalchemy", "aiosqlite", "asyncpg", "uvicorn",
            "structlog", "httpx",
        ),
    ),
    "gateway": (("app.serve.cell_bootstrap", "app.serve.cell_process", "app.serve.server"), ("app.worker", "app.cli")),
    "parent of cells": (
        ("app.serve.parent",),
        ("app.worker", "app.control", "app.api", "app.store", "dashboards", "litestar", "sqlalchemy"),
    ),
    "command": (("app.cli",), ("app.worker",)),
}  # fmt: skip
"""Each process: the files it begins with, and what no file that it loads, by whatever detour, may import."""


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_loads_what_is_not_its_business(process: str) -> None:
    begins, never = PROCESSES[process]
    found = [f"{module} → {name}" for module in reached(begins) for name in HOUSE[module] if within(name, *never)]
    assert sorted(found) == []


def imports_in_functions(source: str, module: str) -> set[str]:
    """What a source imports when it is called, not when it is loaded."""
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {name for each in functions for name in imports(ast.unparse(each), module) if within(name, *PACKAGES)}


def test_a_worker_has_loaded_all_of_ours_before_it_gives_our_names_back() -> None:
    """What it imported later would be people's module of that name, or none."""
    later = {
        module: names
        for module in reached(PROCESSES["worker"][0])
        if (names := imports_in_functions((ROOT / file_of(module)).read_text("utf-8"), module))
    }
    assert later == {"app.worker.bootstrap": {"app.worker.main", "app.worker.main.main"}}


def test_every_file_is_loaded_by_some_process() -> None:
    loaded = set[str]().union(*(reached(begins) for begins, _ in PROCESSES.values()))
    by_alembic = {module for module in HOUSE if within(module, "app.store.migrations")}
    assert sorted(set(HOUSE) - loaded - by_alembic) == []


@pytest.mark.parametrize(
    ("of", "never"),
    [
        (PACKAGES, ("ops", "tests")),
        (("app.supervisor.core",), ("litestar", "starlette", "uvicorn")),
    ],
    ids=["nobody imports ops or tests", "the core"],
)
def test_nobody_imports(of: tuple[str, ...], never: tuple[str, ...]) -> None:
    assert breaches(of, never) == []


@pytest.mark.parametrize(
    ("arrows", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_circles_are_found(arrows: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(arrows) == expected


def test_decisions_stand_on_the_pure_standard_library() -> None:
    foreign = sorted(
        f"{module} → {name}"
        for module, names in HOUSE.items()
        if within(module, "rollout")
        for name in names
        if name.partition(".")[0] not in PURE | {"rollout"}
        if not (module == "rollout.views" and within(name, "msgspec"))
    )
    assert foreign == []


def test_decisions_read_no_clock() -> None:
    read = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "rollout").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]
    assert read == []


def test_one_module_knows_the_legacy_path() -> None:
    """Removing v2 at the end is deleting one file and one line."""
    knowing = {module for module, names in HOUSE.items() if "app.supervisor.legacy" in names} - {
        "app.supervisor.legacy"
    }
    assert len(knowing) <= 1, knowing


def test_only_the_wiring_picks_adapters() -> None:
    adapters = ("app.flags.embedded", "app.flags.server")
    picking = {
        module
        for module, names in HOUSE.items()
        if any(within(name, *adapters) for name in names) and not within(module, "app.flags")
    }
    assert picking <= {"app.serve.service"}


def shared_threads(source: str) -> set[str]:
    """What a source would call in the event loop's default executor."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        by_default = node.args[:1] and isinstance(node.args[0], ast.Constant) and node.args[0].value is None
        if name == "to_thread" or (name == "run_in_executor" and by_default):
            found.add(ast.unparse(node))
    return found


def test_nothing_runs_in_the_default_executor() -> None:
    """Whoever fills it stops all others in it, a rollback among them. `app.daemon_thread` has a thread for one use."""
    sharing = {
        str(path.relative_to(ROOT)): found
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (found := shared_threads(path.read_text("utf-8")))
    }
    assert sharing == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("asyncio.to_thread(read)", {"asyncio.to_thread(read)"}),
        ("self.loop.run_in_executor(None, read, 1)", {"self.loop.run_in_executor(None, read, 1)"}),
        ("loop.run_in_executor(own, read)", set()),
    ],
)
def test_the_default_executor_is_found(source: str, found: set[str]) -> None:
    assert shared_threads(source) == found


TO_BE_COMPILED = ("app/messages.py", "app/message_types.py", "app/gateway/*.py", "app/link/*.py")


@pytest.mark.parametrize("path", [path for pattern in TO_BE_COMPILED for path in ROOT.glob(pattern)], ids=module_of)
def test_structs_stand_apart_from_code(path: Path) -> None:
    """A class of msgspec cannot be compiled, and the code of messages, gateway and link is to be."""
    structs, code = {"Struct"}, []
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and structs & {ast.unparse(base).rpartition(".")[2] for base in node.bases}:
            structs.add(node.name)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            code.append(node.name)
    assert structs == {"Struct"} or not code


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import app.cli as c, os.path", {"app.cli", "os.path"}),
        ("from app import cli", {"app", "app.cli"}),
        ("def f():\n    from app.cli import main", {"app.cli", "app.cli.main"}),
        ("from . import state", {"rollout", "rollout.state"}),
        ("from .state import Lock", {"rollout.state", "rollout.state.Lock"}),
        ("from ..app import cli", {"app", "app.cli"}),
        ("import importlib\nimportlib.import_module('app.supervisor.legacy')", {"importlib", "app.supervisor.legacy"}),
        ("if TYPE_CHECKING:\n    import litestar", {"litestar"}),
    ],
)
def test_the_reader_sees_every_kind_of_import(source: str, expected: set[str]) -> None:
    assert set(imports(source, "rollout.plan")) == expected


def blind_to_text(source: str) -> list[int]:
    """Lines of each `try` that expects what is no message, and not what is no text: that is no error of msgspec's."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Try)
        for caught in [{name for handler in node.handlers if handler.type for name in _names(handler.type)}]
        if caught & {"MsgspecError", "DecodeError"}
        and not caught & {"UnicodeError", "UnicodeDecodeError", "ValueError"}
    ]


def _names(kinds: ast.expr) -> set[str]:
    return {node.attr if isinstance(node, ast.Attribute) else node.id for node in ast.walk(kinds)
            if isinstance(node, ast.Attribute | ast.Name)}  # fmt: skip


def test_who_expects_bytes_that_are_no_message_expects_bytes_that_are_no_text() -> None:
    blind = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for line in blind_to_text(path.read_text("utf-8"))
    ]
    assert blind == []
    assert blind_to_text("try:\n    x()\nexcept msgspec.DecodeError:\n    pass") == [1]
